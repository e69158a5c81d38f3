"""Running the search and the baseline on the same folds, and choosing the winner."""

from __future__ import annotations

import itertools
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import _safe_indexing

from runner.errors import ExperimentError, listing
from runner.estimator.base import ConfigEstimator
from runner.interrupts import leave_interrupts_to_main
from runner.preparation import Experiment
from runner.results.schema import Evaluation, TrialCounts
from runner.results.trials import searched_paths, trials_table
from runner.search.halving import SuccessiveHalving, n_fits_by_rung
from runner.search.limits import Limits
from runner.search.none import NoSearch
from runner.search.record import FitEntry, FitRecord
from runner.search.scoring import FoldScorer
from runner.training.states import StateStore
from runner.worker_death import survive_deaths

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


def splits(experiment: Experiment) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers to train on and to score, of each fold."""
    data = experiment.data
    found: Iterator[tuple[np.ndarray, np.ndarray]] = experiment.splitter.split(
        data.X_train, data.y_train, data.groups_train
    )
    return found


@dataclass(frozen=True)
class Evaluator:
    """Evaluates configurations of an experiment on its folds, noting every fit in the record.

    ``states`` is where networks store how far they are; ``n_jobs`` the number of processes.
    """

    experiment: Experiment
    record: FitRecord
    states: StateStore
    n_jobs: int

    @cached_property
    def scorer(self) -> FoldScorer:
        return FoldScorer(self.experiment.scoring)

    def estimator(self, limits: Limits, **params: Any) -> ConfigEstimator:
        """The experiment's estimator, connected to record and states."""
        estimator: ConfigEstimator = clone(self.experiment.estimator)
        connected = {"record": self.record, "states": self.states, "limits": limits}
        return estimator.set_params(**{**connected, **params})

    def fit(self, make_search: Callable[[], Any]) -> Any:
        """Make and fit a search, through the deaths of worker processes; return it."""
        data, retries = self.experiment.data, self.experiment.config.search.retries
        groups = {} if data.groups_train is None else {"groups": data.groups_train}

        def search() -> Any:
            return make_search().fit(data.X_train, data.y_train, **groups)

        with (
            parallel_config("loky", initializer=leave_interrupts_to_main),
            warnings.catch_warnings(),
        ):
            # Said in our own words: failures from the record, the budget by the plan.
            warnings.simplefilter("ignore", FitFailedWarning)
            warnings.filterwarnings("ignore", "The total space of param|One or more of the test")
            return survive_deaths(search, self._repeat, self.record, retries)

    def _repeat(self, entry: FitEntry) -> None:
        """Do one fit once more, alone in a worker process."""
        timeout_s = self.experiment.config.search.trial_timeout
        candidate = self.estimator(Limits(timeout_s=timeout_s), **entry.params)
        fold = [split for split in splits(self.experiment) if self._is(entry, candidate, split[0])]
        if fold:
            # Two jobs, since one would run in this process; there is only one fit to do.
            alone = NoSearch(candidate, scoring=self.scorer, n_jobs=2, refit=False, cv=fold)
            alone.fit(self.experiment.data.X_train, self.experiment.data.y_train)

    def _is(self, entry: FitEntry, candidate: ConfigEstimator, rows: np.ndarray) -> bool:
        data = self.experiment.data
        checked = candidate.checked(_safe_indexing(data.X_train, rows), data.y_train[rows])
        fit = (candidate.candidate_id(), candidate.fold_id(*checked))
        return fit == (entry.candidate, entry.fold)


def run_search(evaluator: Evaluator) -> Any:
    """Run the configured search to its end, or to one of its limits, and return it.

    Raises
    ------
    ExperimentError
        When every fit failed, or more of them than ``search.max_failures`` allows.
    """
    experiment, config = evaluator.experiment, evaluator.experiment.config.search
    _, n_fits = planned_fits(experiment)
    limits = Limits(
        stop_at=None if config.time_budget_s is None else time.time() + config.time_budget_s,
        max_failures=config.most_failures(n_fits),
        timeout_s=config.trial_timeout,
    )
    estimator = evaluator.estimator(limits)
    if config.arguments.get("resource") == "training.epochs":
        # The last rung is the configured number of epochs: schedules span that in every rung, and
        # each rung goes on where the one before it stopped.
        estimator.set_params(
            horizon=experiment.config.training.epochs,
            states=replace(evaluator.states, keeps_finished=True),
        )
    make = partial(experiment.make_search, estimator, evaluator.scorer, evaluator.n_jobs)
    try:
        search = evaluator.fit(make)
    except ValueError as error:
        _refuse_failures(evaluator, n_fits)
        if not limits.is_over():
            raise
        raise ExperimentError(
            f"search.time_budget_s={config.time_budget_s:g} passed before a candidate was done"
        ) from error
    _refuse_failures(evaluator, n_fits)
    if limits.is_over():
        _leave_out_skipped(search, evaluator.record)
    return search


def _refuse_failures(evaluator: Evaluator, n_fits: int) -> None:
    record, config = evaluator.record, evaluator.experiment.config.search
    failures = record.failed()
    if not failures:
        return
    last = f"the last with {failures[-1].error}"
    if not any(entry.status == "completed" for entry in record):
        log_failures(record)
        raise ExperimentError(f"every fit failed; {last}")
    if len(failures) > config.most_failures(n_fits):
        log_failures(record)
        raise ExperimentError(
            f"{len(failures)} of {n_fits} fits failed, more than "
            f"search.max_failures={config.max_failures} allows; {last}"
        )


def _leave_out_skipped(search: Any, record: FitRecord) -> None:
    """Drop candidates that the time budget kept from being evaluated on every fold."""
    results = search.cv_results_
    failed = {entry.candidate for entry in record.failed()}
    scores = results[f"mean_test_{_first_metric(results)}"]
    kept = [
        not np.isnan(score) or _candidate_id(search.estimator, params) in failed
        for score, params in zip(scores, results["params"], strict=True)
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


def _candidate_id(estimator: ConfigEstimator, params: Mapping[str, Any]) -> str:
    candidate: ConfigEstimator = clone(estimator)
    return candidate.set_params(**params).candidate_id()


def evaluate_baseline(evaluator: Evaluator) -> Evaluation | None:
    """Score the config as it is on the search's folds; None when it fails."""
    experiment = evaluator.experiment
    as_it_is = partial(
        NoSearch,
        evaluator.estimator(Limits(timeout_s=experiment.config.search.trial_timeout)),
        scoring=evaluator.scorer,
        n_jobs=evaluator.n_jobs,
        refit=False,
        cv=experiment.splitter,
    )
    try:
        baseline = evaluator.fit(as_it_is)
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


def warn_of_damage(record: FitRecord) -> None:
    damaged = record.damaged_lines()
    if damaged:
        lines = f"line{'s' if len(damaged) > 1 else ''} {listing(damaged)}"
        logger.warning("%s is damaged in %s: those fits don't count", record.path.name, lines)


def log_failures(record: FitRecord) -> None:
    failures = record.failed()
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
    searched = {_candidate_id(search.estimator, params) for params in results["params"]}
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
