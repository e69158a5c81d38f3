"""The recipe of one run: baseline, search, refit, one look at the test rows, record."""

from __future__ import annotations

import logging
import shlex
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import _safe_indexing

from runner.compute import choose_n_jobs
from runner.config.overrides import to_override
from runner.errors import ExperimentError
from runner.estimator.base import ConfigEstimator
from runner.estimator.saved import save_estimator
from runner.preparation import Experiment
from runner.results.environment import describe_environment
from runner.results.report import ReportDetails, write_report
from runner.results.run_directory import RunDirectory
from runner.results.schema import DataSummary, Evaluation, Result, Timing, TrialCounts
from runner.results.statistics import compare, test_interval
from runner.results.trials import searched_paths, trials_table, write_trials
from runner.search.halving import SuccessiveHalving, n_fits_by_rung
from runner.search.none import NoSearch
from runner.search.progress import progress
from runner.search.record import FitEntry, FitRecord
from runner.search.scoring import FoldScorer, Predictions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """A configuration with its cross-validated scores and, after refitting, the test rows'."""

    evaluation: Evaluation
    estimator: ConfigEstimator
    predictions: Predictions


def run_experiment(experiment: Experiment, directory: RunDirectory) -> Result:
    """Run a checked experiment and leave its record in `directory`.

    Returns
    -------
    Result
        What ``result.json`` says.

    Raises
    ------
    ExperimentError
        When every fit failed; the record says so too.
    """
    started = time.perf_counter()
    outline = _outline(experiment)
    try:
        result = _run(experiment, directory, outline, started)
    except Exception as error:
        directory.write_result(failed(outline, error))
        raise
    directory.write_result(result)
    return result


def failed(outline: Result, error: BaseException) -> Result:
    """The record of a run that ended with `error`."""
    described = {"type": type(error).__name__, "message": str(error)}
    return replace(outline, status="failed", error=described)


def _outline(experiment: Experiment) -> Result:
    """What is known before anything is trained."""
    config, data = experiment.config, experiment.data
    names = {group: config.choices.get(group, "") for group in ("data", "model", "search")}
    return Result(
        status="completed",
        task=data.task,
        name={**names, "data": data.name},
        seed=config.seed,
        scoring=experiment.scoring.refit,
        overrides=config.overrides,
        environment=describe_environment(),
        data=DataSummary(
            n_train=data.n_train,
            n_test=data.n_test,
            shape=data.shape,
            n_classes=None if data.classes is None else len(data.classes),
            fingerprint=data.fingerprint,
        ),
    )


def _run(
    experiment: Experiment, directory: RunDirectory, outline: Result, started: float
) -> Result:
    estimator = clone(experiment.estimator).set_params(record=str(directory.record))
    scorer = FoldScorer(experiment.scoring)
    n_candidates, n_fits = planned_fits(experiment)
    logger.info("%d candidates × %d folds", n_candidates, experiment.n_splits)
    n_jobs = choose_n_jobs(
        experiment.config.compute, n_fits, experiment.is_network, partial(_fit_s, experiment)
    )

    with progress(directory.record, n_fits, experiment.n_splits, experiment.scoring.refit):
        search_started = time.perf_counter()
        search = _search(experiment, estimator, scorer, n_jobs, directory)
        search_s = time.perf_counter() - search_started
        baseline_cv = None
        if experiment.searches:
            baseline_cv = _cross_validate(experiment, estimator, scorer, n_jobs)

    trials = trials_table(search.cv_results_, refit=experiment.scoring.refit)
    write_trials(trials, directory.trials)
    _log_failures(directory)
    best_cv = _best(experiment, trials, baseline_cv)
    shutil.rmtree(directory.states, ignore_errors=True)

    refit_started = time.perf_counter()
    best = _judge(experiment, best_cv)
    refit_s = time.perf_counter() - refit_started
    baseline = None if baseline_cv is None else best
    if baseline_cv is not None and baseline_cv is not best_cv:
        baseline = _judge(experiment, baseline_cv)

    result = replace(
        outline,
        best=best.evaluation,
        baseline=baseline.evaluation if baseline else None,
        comparison=_compare(experiment, best, baseline) if baseline else None,
        trials=_counts(search, experiment.n_splits),
        timing=Timing(time.perf_counter() - started, search_s, refit_s),
    )
    _write_best_overrides(experiment, result, directory)
    save_estimator(best.estimator, directory.model)
    details = _details(experiment, best, baseline)
    write_report(directory.report, result, trials, details)
    return replace(result, timing=Timing(time.perf_counter() - started, search_s, refit_s))


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


def _fit_s(experiment: Experiment) -> float:
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


# Search -------------------------------------------------------------------------------------------


def _cross_validate(
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


def _search(
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
        _log_failures(directory)
        raise ExperimentError(f"every fit failed; the last with {failures[-1].error}") from error


def _fit(search: Any, experiment: Experiment) -> Any:
    data = experiment.data
    groups = {} if data.groups_train is None else {"groups": data.groups_train}
    with warnings.catch_warnings():
        # Both are said in our own words: failures from the record, the budget by the plan.
        warnings.simplefilter("ignore", FitFailedWarning)
        warnings.filterwarnings("ignore", "The total space of parameters|One or more of the test")
        return search.fit(data.X_train, data.y_train, **groups)


def _log_failures(directory: RunDirectory) -> None:
    failures = [entry for entry in FitRecord(directory.record) if entry.status == "failed"]
    for candidate, entry in {entry.candidate: entry for entry in failures}.items():
        n_folds = sum(other.candidate == candidate for other in failures)
        logger.warning("a candidate failed on %d folds: %s", n_folds, _describe(entry))
        logger.debug("%s", entry.trace)


def _describe(entry: FitEntry) -> str:
    return f"{entry.error} (candidate {entry.candidate})"


def _best(experiment: Experiment, trials: pd.DataFrame, baseline: Evaluation | None) -> Evaluation:
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


# Test rows ----------------------------------------------------------------------------------------


def _judge(experiment: Experiment, evaluation: Evaluation) -> Judged:
    """Refit on all training rows, and score the test rows."""
    data, scoring = experiment.data, experiment.scoring
    estimator = clone(experiment.estimator).set_params(**evaluation.params)
    estimator.fit(data.X_train, data.y_train)
    predictions = Predictions.of(estimator, data.X_test)
    rows = np.arange(data.n_test)
    test = scoring.scores(predictions, rows, data.y_test)

    def score(sample: np.ndarray) -> float:
        return scoring.score(scoring.refit, predictions, sample, data.y_test[sample])

    interval = test_interval(
        scoring.refit,
        data.y_test,
        predictions.answers["predict"],
        score,
        experiment.config.seed,
    )
    return Judged(replace(evaluation, test=test, test_ci95=interval), estimator, predictions)


def _compare(experiment: Experiment, best: Judged, baseline: Judged) -> Any:
    return compare(
        experiment.data.task,
        experiment.data.y_test,
        best.predictions.answers["predict"],
        baseline.predictions.answers["predict"],
        experiment.config.seed,
    )


# Record -------------------------------------------------------------------------------------------


def _counts(search: Any, n_splits: int) -> TrialCounts:
    results = search.cv_results_
    splits = [results[f"split{i}_test_{_first_metric(results)}"] for i in range(n_splits)]
    n_rungs = results.get("iter")
    n_candidates = len(results["params"]) if n_rungs is None else int(np.sum(n_rungs == 0))
    return TrialCounts(
        n_candidates=n_candidates,
        n_fits=len(results["params"]) * n_splits,
        n_failed=int(np.sum(np.isnan(np.asarray(splits, dtype=float)))),
    )


def _first_metric(results: Mapping[str, Any]) -> str:
    name = next(key for key in results if key.startswith("split0_test_"))
    return str(name).removeprefix("split0_test_")


def _write_best_overrides(experiment: Experiment, result: Result, directory: RunDirectory) -> None:
    assert result.best is not None
    lines = []
    for path, value in result.best.params.items():
        line = to_override(path, value)
        if len(line.split()) > 1:
            logger.warning("best.overrides can't hold a value with spaces, left out: %s", line)
        else:
            lines.append(line)
    directory.write_text(directory.best_overrides, "".join(f"{line}\n" for line in lines))


def _details(experiment: Experiment, best: Judged, baseline: Judged | None) -> ReportDetails:
    command = ["python", "-m", "runner", *experiment.config.overrides]
    return ReportDetails(
        y_test=experiment.data.y_test,
        y_pred=best.predictions.answers["predict"],
        class_labels=None if experiment.data.classes is None else list(experiment.data.classes),
        winner_curves=best.estimator.history_ or None,
        baseline_curves=(baseline.estimator.history_ or None) if baseline else None,
        command=shlex.join(command),
    )
