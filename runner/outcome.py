"""What a finished search came to: the winner, counts and times."""

from __future__ import annotations

import itertools
import logging
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from runner.errors import ExperimentError
from runner.estimator.base import ConfigEstimator
from runner.preparation import Experiment
from runner.results.schema import Evaluation, TrialCounts
from runner.results.trials import searched_paths
from runner.search.record import FitRecord

logger = logging.getLogger(__name__)


def leave_out_skipped(search: Any, record: FitRecord) -> None:
    """Drop candidates that the time budget kept from being evaluated on every fold."""
    results = search.cv_results_
    failed = {entry.candidate for entry in record.failed()}
    scores = results[f"mean_test_{_first_metric(results)}"]
    pruned = results.get("pruned", np.zeros(len(scores), dtype=bool))
    elsewhere = results.get("elsewhere", np.zeros(len(scores), dtype=bool))
    kept = [
        not np.isnan(score) or is_known or _candidate_id(search.estimator, params) in failed
        for score, is_known, params in zip(
            scores, np.logical_or(pruned, elsewhere), results["params"], strict=True
        )
    ]
    logger.warning(
        "search.time_budget_s has passed: %d of %d candidates were evaluated", sum(kept), len(kept)
    )
    search.cv_results_ = {
        name: list(itertools.compress(values, kept))
        if isinstance(values, list)
        else values[np.array(kept)]
        for name, values in results.items()
    }


def take_over_times(search: Any, record: FitRecord) -> None:
    """Set fit times to what the fits took when they were done, be it before this search.

    Of those done by other processes, the record knows nothing.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    for entry in record.ended():
        if entry.status == "completed":
            seconds[entry.candidate].append(entry.fit_s)
    results = search.cv_results_
    times = (seconds.get(_candidate_id(search.estimator, params)) for params in results["params"])
    elsewhere = results.get("elsewhere", np.zeros(len(results["params"]), dtype=bool))
    told = np.where(elsewhere, results["mean_fit_time"], np.nan)
    results["mean_fit_time"] = np.array(
        [other if t is None else np.mean(t) for t, other in zip(times, told, strict=True)]
    )


def choose_winner(
    experiment: Experiment, trials: pd.DataFrame, baseline: Evaluation | None
) -> Evaluation:
    """The best candidate, or the baseline where no candidate beats it."""
    first = trials.sort_values("rank", kind="stable").iloc[0]
    if first["status"] in ("failed", "pruned"):
        raise ExperimentError("no candidate was scored on every fold; see run.log")
    params = {
        path: first[path]
        for path in searched_paths(trials)
        if not (isinstance(first[path], float) and np.isnan(first[path]))
    }
    best = evaluation(experiment, first, params)
    if baseline is not None and baseline.cv_mean >= best.cv_mean:
        return baseline
    return best


def mean_fit_s(
    estimator: ConfigEstimator, record: FitRecord, evaluation: Evaluation, trials: pd.DataFrame
) -> float:
    """Mean over folds of fitting and scoring the winner, in seconds.

    By the record, or what the run that evaluated it said in a shared study.
    """
    candidate = _candidate_id(estimator, evaluation.params)
    times = [
        entry.fit_s
        for entry in record.ended()
        if entry.candidate == candidate and entry.status == "completed"
    ]
    if not times and trials["mean_fit_time"].notna().any():
        times = [trials.sort_values("rank", kind="stable")["mean_fit_time"].iloc[0]]
    return float(np.mean(times)) if times else math.nan


def evaluation(experiment: Experiment, row: pd.Series, params: Mapping[str, Any]) -> Evaluation:
    """Read the cross-validated scores of one candidate from its row of the trials table."""
    folds = [name for name in row.index if str(name).startswith("split")]
    scorers = experiment.scoring.names
    columns = [f"mean_test_{name if len(scorers) > 1 else 'score'}" for name in scorers]
    return Evaluation(
        params=dict(params),
        cv_mean=float(row["mean_test_score"]),
        cv_std=float(row["std_test_score"]),
        cv_scores=[float(row[name]) for name in folds],
        test={},
        cv={name: float(row[column]) for name, column in zip(scorers, columns, strict=True)},
    )


def count_trials(search: Any, n_splits: int, done_before: set[tuple[str, str]]) -> TrialCounts:
    """Count the search's candidates and fits; `done_before` are (candidate, fold) restored."""
    results = search.cv_results_
    splits = [results[f"split{i}_test_{_first_metric(results)}"] for i in range(n_splits)]
    n_rungs = results.get("iter")
    n_possible = len(results["params"]) * n_splits
    n_fits = int(np.sum(results.get("n_folds", n_possible)))
    searched = {_candidate_id(search.estimator, params) for params in results["params"]}
    n_candidates = len(results["params"]) if n_rungs is None else int(np.sum(n_rungs == 0))
    return TrialCounts(
        n_candidates=n_candidates,
        n_fits=n_fits,
        n_failed=int(np.sum(np.isnan(np.asarray(splits, dtype=float)))) - (n_possible - n_fits),
        n_restored=sum(candidate in searched for candidate, _ in done_before),
        n_pruned=int(np.sum(results.get("pruned", 0))),
        n_elsewhere=int(np.sum(results.get("elsewhere", 0))),
    )


def _candidate_id(estimator: ConfigEstimator, params: Mapping[str, Any]) -> str:
    candidate: ConfigEstimator = clone(estimator)
    return candidate.set_params(**params).candidate_id()


def _first_metric(results: Mapping[str, Any]) -> str:
    name = next(key for key in results if key.startswith("split0_test_"))
    return str(name).removeprefix("split0_test_")
