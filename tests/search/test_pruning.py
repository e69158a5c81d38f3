"""Candidates that a pruner leaves after their first folds."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from command import run_command, start_command
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from runner.results.trials import trials_table
from runner.search.optuna import OptunaSearch
from runner.search.space import Space

X, Y = load_digits(return_X_y=True)
X, Y = X[:400], Y[:400]
FOLDS = StratifiedKFold(4, shuffle=True, random_state=0)
SPACE = Space.parse({"max_depth": {"low": 1, "high": 12}})
PRUNERS = [
    optuna.pruners.MedianPruner(n_startup_trials=4),
    optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    optuna.pruners.HyperbandPruner(min_resource=1, max_resource=4, reduction_factor=2),
]


def search(pruner: Any, estimator: Any = None, **arguments: Any) -> OptunaSearch:
    return OptunaSearch(
        estimator or DecisionTreeClassifier(random_state=0),
        SPACE,
        n_iter=14,
        sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=4),
        pruner=pruner,
        cv=FOLDS,
        **arguments,
    ).fit(X, Y)


def table(found: OptunaSearch) -> list[dict[str, Any]]:
    frame = trials_table(found.cv_results_).drop(columns="mean_fit_time")
    return json.loads(frame.to_json(orient="records", double_precision=15))


@pytest.mark.slow
@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: type(pruner).__name__)
def test_pruning_does_not_depend_on_n_jobs(pruner: Any) -> None:
    alone, together = (search(pruner, n_jobs=n_jobs) for n_jobs in (1, 2))
    assert table(alone) == table(together)
    assert "pruned" in {row["status"] for row in table(alone)}


def test_a_pruned_candidate_has_scores_of_its_folds_and_no_mean() -> None:
    found = search(PRUNERS[0])
    rows = trials_table(found.cv_results_)
    pruned = rows[rows["status"] == "pruned"]
    done = pruned[[f"split{i}_test_score" for i in range(4)]].notna().sum(axis=1)
    assert 0 < len(pruned) < 14
    assert list(done) == list(found.cv_results_["n_folds"][found.cv_results_["pruned"]])
    assert done.between(1, 3).all()
    assert pruned["mean_test_score"].isna().all()
    assert pruned["rank"].min() > rows[rows["status"] == "completed"]["rank"].max()
    assert np.isfinite(rows["mean_fit_time"]).all()
    states = [trial.state.name for trial in found.study_.trials]
    assert [s == "PRUNED" for s in states] == list(rows["status"] == "pruned")


def test_the_winner_and_what_is_not_pruned_score_as_without_a_pruner() -> None:
    pruned, whole = search(PRUNERS[0]), search(optuna.pruners.NopPruner())
    plain = search(None)
    assert table(whole) == table(plain)
    scores = {row["max_depth"]: row["mean_test_score"] for row in table(plain)}
    for row in table(pruned):
        if row["status"] == "completed" and row["max_depth"] in scores:
            assert row["mean_test_score"] == scores[row["max_depth"]]
    assert pruned.best_score_ == max(r["mean_test_score"] or 0 for r in table(pruned))
    assert pruned.predict(X).shape == Y.shape


def test_a_failed_candidate_is_no_pruned_one() -> None:
    class Fragile(DecisionTreeClassifier):
        def fit(self, X: Any, y: Any, **kwargs: Any) -> Any:
            if self.max_depth > 6:
                raise ValueError("too deep")
            return super().fit(X, y, **kwargs)

    found = search(PRUNERS[0], Fragile(random_state=0))
    statuses = {row["max_depth"]: row["status"] for row in table(found)}
    assert {statuses[depth] for depth in statuses if depth > 6} == {"failed"}
    assert "failed" not in {statuses[depth] for depth in statuses if depth <= 6}


def test_several_scorers_are_pruned_by_the_one_that_ranks() -> None:
    scoring = {"accuracy": make_scorer(accuracy_score), "constant": make_scorer(lambda y, p: 1.0)}
    found = search(PRUNERS[0], scoring=scoring, rank_by="accuracy", refit="accuracy")
    assert trials_table(found.cv_results_, refit="accuracy")["status"].isin(["pruned"]).any()
    assert found.predict(X).shape == Y.shape


PRUNED = (
    *("data=digits", "model=random_forest", "search=optuna", "search/pruner=median"),
    *("search.n_iter=16", "cv.n_splits=4", "space=none", "space.model.max_depth={low:1,high:12}"),
    *("compute.n_jobs=1", "model.n_estimators=60"),
)


def outcome(folder: Path) -> tuple[Any, list[Any]]:
    (directory,) = folder.glob("outputs/runs/*/*")
    result = json.loads((directory / "result.json").read_text())
    counts = {k: v for k, v in result["trials"].items() if k != "n_restored"}
    with (directory / "trials.csv").open() as file:
        rows = [
            {k: v for k, v in row.items() if k != "mean_fit_time"} for row in csv.DictReader(file)
        ]
    return (result["best"], counts), rows


def n_fits(folder: Path) -> int:
    records = list(folder.glob("outputs/runs/*/*/fits.jsonl"))
    return records[0].read_bytes().count(b'"completed"') if records else 0


@pytest.mark.slow
def test_a_killed_search_prunes_the_same_when_it_goes_on(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    process = start_command(*PRUNED, cwd=killed)
    while process.poll() is None and n_fits(killed) < 25:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (directory,) = killed.glob("outputs/runs/*/*")
    resumed = run_command("resume", str(directory), cwd=killed)
    assert resumed.code == 0, resumed.err
    done = run_command(*PRUNED, cwd=whole)
    assert done.code == 0, done.err
    assert outcome(killed) == outcome(whole)
    assert n_fits(killed) == n_fits(whole)
    counts = done.result["trials"]
    assert counts["n_pruned"] > 0
    assert counts["n_failed"] == 0
    assert counts["n_fits"] < 16 * 4
    assert f"{counts['n_pruned']} of 16 candidates were pruned" in done.out
