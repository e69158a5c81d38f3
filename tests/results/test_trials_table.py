"""trials.csv from scikit-learn's own searches, and back from disk bit for bit."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV
from sklearn.tree import DecisionTreeClassifier

from runner.errors import RequestError
from runner.results.trials import read_trials, searched_paths, trials_table, write_trials


@pytest.fixture(scope="module")
def halving() -> HalvingRandomSearchCV:
    X, y = load_digits(return_X_y=True)
    space = {"criterion": ["gini", "entropy"], "min_samples_leaf": range(1, 7)}
    search = HalvingRandomSearchCV(
        DecisionTreeClassifier(random_state=0),
        space,
        resource="max_depth",
        min_resources=1,
        max_resources=9,
        n_candidates=9,
        cv=3,
        random_state=0,
    )
    return search.fit(X, y)


def _grid(params, **options):
    X, y = load_digits(return_X_y=True)
    search = GridSearchCV(SGDClassifier(max_iter=2, random_state=0), params, cv=3, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return search.fit(X[:300], y[:300])


def test_table_has_the_columns_of_the_contract_and_scikit_learns_scores():
    search = _grid({"alpha": [1e-4, 1.0, 100.0]})
    table = trials_table(search.cv_results_)
    assert list(table.columns) == [
        *("rank", "mean_test_score", "std_test_score"),
        *("split0_test_score", "split1_test_score", "split2_test_score"),
        *("mean_fit_time", "status", "alpha"),
    ]
    for column in table.columns[1:7]:
        assert list(table[column]) == list(search.cv_results_[column])
    assert list(table["rank"]) == list(search.cv_results_["rank_test_score"])
    assert list(table["alpha"]) == [1e-4, 1.0, 100.0]
    assert set(table["status"]) == {"completed"}


def test_more_than_ten_folds_stay_in_order():
    scores = {f"split{i}_test_score": [float(i)] for i in range(12)}
    results = {"mean_test_score": [0.5], "std_test_score": [0.1], "mean_fit_time": [1.0]}
    table = trials_table({**results, **dict(sorted(scores.items()))})
    assert [column for column in table if column.startswith("split")] == list(scores)


def test_a_conditional_parameter_is_missing_where_it_does_not_apply(tmp_path):
    space = [{"penalty": ["l2"]}, {"penalty": ["elasticnet"], "l1_ratio": [0.25, None]}]
    table = trials_table(_grid(space).cv_results_)
    write_trials(table, tmp_path / "trials.csv")
    assert math.isnan(table["l1_ratio"][0])
    lines = (tmp_path / "trials.csv").read_text().splitlines()
    assert [line.split(",")[-2:] for line in lines] == [
        ["penalty", "l1_ratio"],
        ["l2", ""],
        ["elasticnet", "0.25"],
        ["elasticnet", "null"],
    ]


def test_the_refit_metric_fills_the_plain_columns_and_all_metrics_stand_beside():
    search = _grid({"alpha": [1e-4, 100.0]}, scoring=["f1_macro", "accuracy"], refit="f1_macro")
    results = search.cv_results_
    table = trials_table(results, refit="f1_macro")
    assert list(table["mean_test_score"]) == list(results["mean_test_f1_macro"])
    assert list(table["split1_test_score"]) == list(results["split1_test_f1_macro"])
    assert list(table["mean_test_accuracy"]) == list(results["mean_test_accuracy"])
    assert list(table["std_test_f1_macro"]) == list(results["std_test_f1_macro"])
    assert searched_paths(table) == ["alpha"]
    with pytest.raises(ValueError, match="name the refit metric"):
        trials_table(results)


@pytest.mark.filterwarnings("ignore")
def test_a_failed_candidate_is_last_whatever_its_score():
    search = _grid({"alpha": [-1.0, 1e-4, 100.0]}, error_score=np.nan)
    table = trials_table(search.cv_results_, failed=[1])
    assert list(table["status"]) == ["failed", "failed", "completed"]
    assert list(table["rank"]) == [2, 2, 1]


def test_halving_shows_each_candidate_once_as_its_last_rung_left_it(halving):
    table = trials_table(halving.cv_results_)
    results = pd.DataFrame(halving.cv_results_)
    assert len(table) == halving.n_candidates_[0] == 9
    own = ["param_criterion", "param_min_samples_leaf"]
    first_rung = results[results["iter"] == 0]
    assert list(table["min_samples_leaf"]) == list(first_rung["param_min_samples_leaf"])
    for (_, row), (_, first) in zip(table.iterrows(), first_rung.iterrows(), strict=True):
        rungs = results[(results[own] == first[own]).all(axis=1)]
        assert row["max_depth"] == rungs["param_max_depth"].max()
        assert row["mean_test_score"] == rungs.iloc[-1]["mean_test_score"]


def test_halving_ranks_later_rungs_first_and_says_who_was_stopped(halving):
    table = trials_table(halving.cv_results_)
    winner = table[table["rank"] == 1]
    assert len(winner) == 1
    assert winner["mean_test_score"].item() == halving.best_score_
    assert {path: winner[path].item() for path in searched_paths(table)} == halving.best_params_
    assert (table["status"] == "completed").sum() == halving.n_candidates_[-1]
    assert set(table[table["rank"] > 1]["status"]) == {"stopped"}
    by_rank = table.sort_values("rank")
    assert list(by_rank["max_depth"]) == sorted(table["max_depth"], reverse=True)


def test_a_later_rung_outranks_a_better_score():
    results = {
        "iter": [0, 0, 1],
        "n_resources": [1, 1, 3],
        "mean_test_score": [0.9, 0.8, 0.5],
        "std_test_score": [0.0] * 3,
        "mean_fit_time": [1.0] * 3,
        "param_epochs": [1, 1, 3],
        "param_x": ["a", "b", "b"],
    }
    table = trials_table(results)
    assert list(table["x"]) == ["a", "b"]
    assert list(table["rank"]) == [2, 1]
    assert list(table["epochs"]) == [1, 3]


def test_candidates_drawn_twice_stay_two_rows():
    results = {
        "iter": [0, 0, 1, 1],
        "n_resources": [1, 1, 3, 3],
        "mean_test_score": [0.1, 0.2, 0.3, 0.4],
        "std_test_score": [0.0] * 4,
        "mean_fit_time": [1.0] * 4,
        "param_epochs": [1, 1, 3, 3],
        "param_units": [[8, 8]] * 4,
    }
    assert list(trials_table(results)["mean_test_score"]) == [0.3, 0.4]


score = st.floats(allow_infinity=False)
cell = (
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.sampled_from(["1", "1.0", "true", "null", "NaN", "nan", "None", "NA", "", " ", "[1]", '"'])
    | st.lists(st.integers() | st.text(max_size=3), max_size=3)
    | st.just(np.nan)
)


@given(st.lists(st.tuples(score, score, cell, cell), min_size=1, max_size=6))
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_written_table_reads_back_the_same_values(tmp_path, rows):
    means, stds, first, second = zip(*rows, strict=True)
    columns = {"rank": range(1, len(rows) + 1), "mean_test_score": means, "std_test_score": stds}
    table = pd.DataFrame(columns).assign(mean_fit_time=0.1, status="completed")
    table['model.a,"b"'] = pd.Series(list(first), dtype=object)
    table["model.c"] = pd.Series(list(second), dtype=object)
    write_trials(table, tmp_path / "trials.csv")
    read = read_trials(tmp_path / "trials.csv")
    assert list(read.columns) == list(table.columns)
    for name in table.columns:
        # repr tells 1 from 1.0 and True, and -0.0 from 0.0.
        assert [repr(value) for value in read[name].tolist()] == [
            repr(value) for value in table[name].tolist()
        ]


def test_tables_without_a_search_can_be_written_and_read(tmp_path):
    table = pd.DataFrame({"rank": [1], "mean_test_score": [0.5], "status": ["completed"]})
    write_trials(table, tmp_path / "trials.csv")
    pd.testing.assert_frame_equal(read_trials(tmp_path / "trials.csv"), table)


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "rank,status\nfirst,completed\n", None])
def test_what_is_not_a_table_of_trials_is_refused(tmp_path, content):
    path = tmp_path / "trials.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RequestError, match="not a readable table of trials"):
        read_trials(path)
