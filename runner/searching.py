"""Running the search and the baseline on the same folds, and choosing the winner."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import _safe_indexing

from runner.errors import ExperimentError, listing
from runner.estimator.base import ConfigEstimator
from runner.preparation import Experiment
from runner.results.run_directory import RunDirectory
from runner.results.schema import Evaluation, TrialCounts
from runner.results.trials import searched_paths, trials_table
from runner.search.halving import SuccessiveHalving, n_fits_by_rung
from runner.search.none import NoSearch
from runner.search.record import FitEntry, FitRecord
from runner.search.scoring import FoldScorer

logger = logging.getLogger(__name__)


def planned_fits(experiment: Experiment) -> tuple[int, int]:
    """Candidates of the search, and fits of search and baseline together."""
    search = experiment.make_search(experiment.estimator, None, None)
    n_evaluations = 1
    if isinstance(search, SuccessiveHalving):
        rungs = n_fits_by_rung(search.n_iter, search.rungs(), search.factor)
        n_candidates, n_evaluations = search.n_iter, sum(count for count, _ in rungs)
    elif isinstance(search, NoSearch):
        n_candidates = 1
    elif hasattr(search, "param_grid"):
        n_candidates = n_evaluations = experiment.space.grid_size()
    else:
        n_candidates = n_evaluations = experiment.config.search.n_iter
        if experiment.space.is_countable() and hasattr(search, "param_distributions"):
            n_candidates = n_evaluations = min(n_candidates, experiment.space.grid_size())
    n_baseline = 1 if experiment.searches else 0
    return n_candidates, (n_evaluations + n_baseline) * experiment.n_splits


def measure_fit_s(experiment: Experiment) -> float:
    """Measure how long the config as it is takes to fit on one fold, in seconds."""
    data = experiment.data
    rows, _ = next(experiment.splitter.split(data.X_train, data.y_train, data.groups_train))
    X, y = _safe_indexing(data.X_train, rows), data.y_train[rows]
    estimator = clone(experiment.estimator)
    try:
        if not experiment.is_network:
            return float(estimator.fit(X, y).fit_s_)
        # The first fit of an architecture compiles it; the second tells what one epoch costs.
        estimator.set_params(**{"training.epochs": 1}).fit(X, y)
        estimator.fit(X, y)
        more_epochs = experiment.config.training.epochs - 1
        return float(estimator.fit_s_ + more_epochs * estimator.model_.epoch_s_)
    except Exception as error:  # noqa: BLE001 - the same fit will fail again where it is recorded
        logger.debug("the fit to measure failed: %s", error)
        return 0.0


def run_search(
    experiment: Experiment,
    estimator: ConfigEstimator,
    scorer: FoldScorer,
    n_jobs: int,
    directory: RunDirectory,
) -> Any:
    config = experiment.config
    if config.search.arguments.get("resource") == "training.epochs":
        # The last rung is the configured number of epochs: schedules span that in every rung, and
        # each rung goes on where the one before it stopped.
        estimator = clone(estimator).set_params(
            horizon=config.training.epochs,
            states=str(directory.states),
            cache_mb=config.compute.cache_mb,
        )
    search = experiment.make_search(estimator, scorer, n_jobs)
    try:
        return _fit(search, experiment)
    except ValueError as error:
        failures = [entry for entry in FitRecord(directory.record) if entry.status == "failed"]
        if not failures:
            raise
        log_failures(directory)
        raise ExperimentError(f"every fit failed; the last with {failures[-1].error}") from error


def evaluate_baseline(
    experiment: Experiment, estimator: ConfigEstimator, scorer: FoldScorer, n_jobs: int
) -> Evaluation | None:
    """Score the config as it is on the search's folds; None when it fails."""
    baseline = NoSearch(
        estimator, scoring=scorer, n_jobs=n_jobs, refit=False, cv=experiment.splitter
    )
    try:
        _fit(baseline, experiment)
    except ValueError as error:
        logger.warning("the baseline failed: %s", str(error).splitlines()[-1])
        return None
    table = trials_table(baseline.cv_results_, refit=experiment.scoring.refit)
    if table["status"].iloc[0] == "failed":
        logger.warning("the baseline failed on at least one fold")
        return None
    leaves = experiment.estimator.leaves()
    params = {path: leaves[path] for path in experiment.space.dimensions}
    return _evaluation(table.iloc[0], params)


def _fit(search: Any, experiment: Experiment) -> Any:
    data = experiment.data
    groups = {} if data.groups_train is None else {"groups": data.groups_train}
    with warnings.catch_warnings():
        # Both are said in our own words: failures from the record, the budget by the plan.
        warnings.simplefilter("ignore", FitFailedWarning)
        warnings.filterwarnings("ignore", "The total space of parameters|One or more of the test")
        return search.fit(data.X_train, data.y_train, **groups)


def warn_of_damage(directory: RunDirectory) -> None:
    damaged = FitRecord(directory.record).damaged_lines()
    if damaged:
        lines = f"line{'s' if len(damaged) > 1 else ''} {listing(damaged)}"
        logger.warning("%s is damaged in %s: those fits don't count", directory.record.name, lines)


def log_failures(directory: RunDirectory) -> None:
    failures = [entry for entry in FitRecord(directory.record) if entry.status == "failed"]
    for candidate, entry in {entry.candidate: entry for entry in failures}.items():
        n_folds = sum(other.candidate == candidate for other in failures)
        logger.warning("a candidate failed on %d folds: %s", n_folds, _describe(entry))
        logger.debug("%s", entry.trace)


def _describe(entry: FitEntry) -> str:
    return f"{entry.error} (candidate {entry.candidate})"


def choose_winner(
    experiment: Experiment, trials: pd.DataFrame, baseline: Evaluation | None
) -> Evaluation:
    """The best candidate, or the baseline where no candidate beats it."""
    first = trials.sort_values("rank", kind="stable").iloc[0]
    if first["status"] == "failed":
        raise ExperimentError("every candidate failed on at least one fold; see run.log")
    params = {
        path: first[path]
        for path in searched_paths(trials)
        if not (isinstance(first[path], float) and np.isnan(first[path]))
    }
    best = _evaluation(first, params)
    if baseline is not None and baseline.cv_mean >= best.cv_mean:
        return baseline
    return best


def _evaluation(row: pd.Series, params: Mapping[str, Any]) -> Evaluation:
    folds = [name for name in row.index if str(name).startswith("split")]
    return Evaluation(
        params=dict(params),
        cv_mean=float(row["mean_test_score"]),
        cv_std=float(row["std_test_score"]),
        cv_scores=[float(row[name]) for name in folds],
        test={},
    )


def count_trials(search: Any, n_splits: int, done_before: set[tuple[str, str]]) -> TrialCounts:
    """Count the search's candidates and fits; `done_before` are (candidate, fold) restored."""
    results = search.cv_results_
    splits = [results[f"split{i}_test_{_first_metric(results)}"] for i in range(n_splits)]
    n_rungs = results.get("iter")
    searched = {
        clone(search.estimator).set_params(**params).candidate_id() for params in results["params"]
    }
    n_candidates = len(results["params"]) if n_rungs is None else int(np.sum(n_rungs == 0))
    return TrialCounts(
        n_candidates=n_candidates,
        n_fits=len(results["params"]) * n_splits,
        n_failed=int(np.sum(np.isnan(np.asarray(splits, dtype=float)))),
        n_restored=sum(candidate in searched for candidate, _ in done_before),
    )


def _first_metric(results: Mapping[str, Any]) -> str:
    name = next(key for key in results if key.startswith("split0_test_"))
    return str(name).removeprefix("split0_test_")
