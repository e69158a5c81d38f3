"""The project's own searches behave as scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from runner.search.halving import SuccessiveHalving
from runner.search.none import NoSearch
from runner.search.optuna import OptunaSearch
from runner.search.space import Space

X, Y = load_digits(return_X_y=True)
X, Y = X[:400], Y[:400]
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
SPACE = Space.parse(
    {"max_depth": {"low": 1, "high": 12}, "min_impurity_decrease": {"low": 0.0, "high": 0.1}}
)


def halving(**arguments: Any) -> SuccessiveHalving:
    return SuccessiveHalving(
        SGDClassifier(random_state=0),
        {"alpha": [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0]},
        **{
            "n_iter": 9,
            "resource": "max_iter",
            "max_resource": 20,
            "random_state": 0,
            "cv": FOLDS,
            **arguments,
        },
    )


@pytest.mark.parametrize(
    ("n_iter", "largest", "smallest", "factor", "rungs"),
    [
        (9, 20, 1, 3, [3, 7, 20]),
        (27, 27, 1, 3, [1, 3, 9, 27]),
        (2, 100, 1, 3, [100]),
        (100, 20, 10, 2, [10, 20]),
        (100, 1, 1, 3, [1]),
    ],
)
def test_rungs_end_at_the_largest(
    n_iter: int, largest: int, smallest: int, factor: int, rungs: list[int]
) -> None:
    search = halving(n_iter=n_iter, max_resource=largest, min_resource=smallest, factor=factor)
    assert search.rungs() == rungs


def test_halving_goes_on_with_the_best_third() -> None:
    results = halving().fit(X, Y).cv_results_
    rungs = np.asarray(results["iter"])
    assert np.bincount(rungs).tolist() == [9, 3, 1]
    assert [p["max_iter"] for p in results["params"]] == [3] * 9 + [7] * 3 + [20]
    first = np.asarray(results["mean_test_score"])[rungs == 0]
    best = {results["params"][i]["alpha"] for i in np.argsort(-first, kind="stable")[:3]}
    assert {p["alpha"] for p, rung in zip(results["params"], rungs, strict=True) if rung == 1} == (
        best
    )


@pytest.mark.parametrize("sampler", [optuna.samplers.TPESampler, optuna.samplers.RandomSampler])
def test_optuna_proposes_the_same_whatever_n_jobs(sampler: Any) -> None:
    tables = []
    for n_jobs in (1, 2):
        search = OptunaSearch(
            DecisionTreeClassifier(random_state=0),
            SPACE,
            n_iter=14,
            sampler=sampler(seed=1),
            cv=FOLDS,
            n_jobs=n_jobs,
        ).fit(X, Y)
        tables.append((search.cv_results_["params"], list(search.cv_results_["mean_test_score"])))
    assert tables[0] == tables[1]
    assert len(tables[0][0]) == 14


def test_optuna_learns_from_what_it_was_told() -> None:
    search = OptunaSearch(
        DecisionTreeClassifier(random_state=0),
        SPACE,
        n_iter=12,
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=4),
        cv=FOLDS,
    ).fit(X, Y)
    told = [trial.value for trial in search.study_.trials]
    assert told == pytest.approx(list(search.cv_results_["mean_test_score"]))


def test_failed_candidate_is_told_as_failed() -> None:
    class Fragile(DecisionTreeClassifier):
        def fit(self, X: Any, y: Any, **kwargs: Any) -> Any:
            if self.max_depth > 6:
                raise ValueError("too deep")
            return super().fit(X, y, **kwargs)

    search = OptunaSearch(
        Fragile(random_state=0),
        SPACE,
        n_iter=8,
        sampler=optuna.samplers.RandomSampler(seed=0),
        cv=FOLDS,
    )
    with pytest.warns(FitFailedWarning):
        search.fit(X, Y)
    states = {trial.state.name for trial in search.study_.trials}
    assert states == {"COMPLETE", "FAIL"}


def test_no_search_has_one_candidate_and_the_interface_of_a_search() -> None:
    search = NoSearch(DecisionTreeClassifier(random_state=0), cv=FOLDS).fit(X, Y)
    assert search.cv_results_["params"] == [{}]
    assert search.best_params_ == {}
    assert search.predict(X).shape == Y.shape


@pytest.mark.parametrize("search", [halving(), NoSearch(SGDClassifier(), cv=FOLDS)])
def test_clone_keeps_every_parameter(search: Any) -> None:
    copy = clone(search)
    assert repr(copy.get_params()) == repr(search.get_params())
