"""Running the search and the baseline on the same folds."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from runner.clusters.backend import Backend
from runner.compute import Processes, WorkersPayError
from runner.errors import ExperimentError, listing
from runner.estimator.base import ConfigEstimator
from runner.outcome import evaluation, leave_out_skipped, take_over_times
from runner.preparation import Experiment
from runner.results.schema import Evaluation
from runner.results.trials import trials_table
from runner.search.halving import SuccessiveHalving, n_fits_by_rung
from runner.search.limits import Limits
from runner.search.none import NoSearch
from runner.search.record import FitEntry, FitRecord
from runner.search.scoring import FoldScorer
from runner.secrets import MASK
from runner.training.states import StateStore
from runner.worker_death import survive_deaths

logger = logging.getLogger(__name__)

MakeSearch = Callable[[ConfigEstimator, FoldScorer, int], Any]


def planned_fits(experiment: Experiment) -> tuple[int, int]:
    """Candidates of the search, and fits of search and baseline together."""
    search = experiment.make_search(experiment.estimator, None, None)
    nevaluations = 1
    if isinstance(search, SuccessiveHalving):
        rungs = n_fits_by_rung(search.n_iter, search.rungs(), search.factor)
        n_candidates, nevaluations = search.n_iter, sum(count for count, _ in rungs)
    elif isinstance(search, NoSearch):
        n_candidates = 1
    elif hasattr(search, "param_grid"):
        n_candidates = nevaluations = experiment.space.grid_size()
    else:
        n_candidates = nevaluations = experiment.config.search.n_iter
        if experiment.space.is_countable() and hasattr(search, "param_distributions"):
            n_candidates = nevaluations = min(n_candidates, experiment.space.grid_size())
    n_baseline = 1 if experiment.searches else 0
    return n_candidates, (nevaluations + n_baseline) * experiment.n_splits


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

    ``states`` is where networks store how far they are; ``processes`` are those that do the fits,
    by way of ``backend`` where they are not this one.
    """

    experiment: Experiment
    record: FitRecord
    states: StateStore
    processes: Processes
    backend: Backend

    @cached_property
    def scorer(self) -> FoldScorer:
        return FoldScorer(self.experiment.scoring)

    def estimator(self, limits: Limits, **params: Any) -> ConfigEstimator:
        """The experiment's estimator, connected to record and states."""
        estimator: ConfigEstimator = clone(self.experiment.estimator)
        connected = {
            "record": self.record,
            "states": self.states,
            "limits": limits,
            "device": self.processes.device,
        }
        return estimator.set_params(**{**connected, **params})

    def fit(self, estimator: ConfigEstimator, make_search: MakeSearch) -> Any:
        """Make and fit a search over `estimator`, and return it.

        It survives the deaths of worker processes, and moves to them when they are worth it.
        """
        data, retries = self.experiment.data, self.experiment.config.search.retries
        groups = {} if data.groups_train is None else {"groups": data.groups_train}
        limits = estimator.limits or Limits()

        made: Any = None

        def search() -> Any:
            nonlocal made
            estimator.set_params(limits=replace(limits, pace=self.processes.pace))
            before, made = made, make_search(estimator, self.scorer, self.processes.n_jobs)
            if before is not None and hasattr(made, "go_on_from"):
                made.go_on_from(before)
            return made.fit(data.X_train, data.y_train, **groups)

        repeat = partial(self._repeat, estimator)
        shared = [data.X_train, data.y_train]
        survived = partial(survive_deaths, search, repeat, self.record, retries, self.backend)
        with self.backend.at_work(shared, retries), warnings.catch_warnings():
            # Said in our own words: failures from the record, the budget by the plan.
            warnings.filterwarnings("ignore", "The total space of param|One or more of the test")
            try:
                return survived()
            except WorkersPayError as reason:
                self.processes.start_workers(reason)
                return survived()
            finally:
                if hasattr(made, "leave"):
                    made.leave()

    def _repeat(self, estimator: ConfigEstimator, entry: FitEntry) -> None:
        """Do one fit of `estimator` once more, alone in a worker process."""
        timeout_s = self.experiment.config.search.trial_timeout
        # What came from the environment is masked in the record, and no search changes it.
        params = {path: value for path, value in entry.params.items() if MASK not in str(value)}
        candidate: ConfigEstimator = clone(estimator)
        candidate.set_params(**{**params, "limits": Limits(timeout_s=timeout_s)})
        fold = [split for split in splits(self.experiment) if self._is(entry, candidate, split[0])]
        if fold:
            # Two jobs, since one would run in this process; there is only one fit to do.
            alone = NoSearch(candidate, scoring=self.scorer, n_jobs=2, refit=False, cv=fold)
            data = self.experiment.data
            with self.backend.at_work([data.X_train, data.y_train], retries=0):
                alone.fit(data.X_train, data.y_train)

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
    try:
        search = evaluator.fit(estimator, experiment.make_search)
    except (ValueError, ExperimentError):
        # A search of others may end so when no fit has a score, or one that had to end early.
        _refuse_failures(evaluator, n_fits)
        raise
    _refuse_failures(evaluator, n_fits, search.cv_results_.get("elsewhere", ()))
    if limits.is_over():
        leave_out_skipped(search, evaluator.record)
        if not search.cv_results_["params"]:
            raise ExperimentError(
                f"search.time_budget_s={config.time_budget_s:g} passed before a candidate was done"
            )
    take_over_times(search, evaluator.record)
    return search


def _refuse_failures(evaluator: Evaluator, n_fits: int, elsewhere: Sequence[bool] = ()) -> None:
    record, config = evaluator.record, evaluator.experiment.config.search
    failures = record.failed()
    if not failures:
        return
    last = f"the last with {failures[-1].error}"
    if not any(entry.status == "completed" for entry in record) and not any(elsewhere):
        log_failures(record)
        raise ExperimentError(f"every fit failed; {last}")
    if len(failures) > config.most_failures(n_fits):
        log_failures(record)
        raise ExperimentError(
            f"{len(failures)} of {n_fits} fits failed, more than "
            f"search.max_failures={config.max_failures} allows; {last}"
        )


def evaluate_baseline(evaluator: Evaluator) -> Evaluation | None:
    """Score the config as it is on the search's folds; None when it fails."""
    experiment = evaluator.experiment
    as_it_is = evaluator.estimator(Limits(timeout_s=experiment.config.search.trial_timeout))

    def make_search(estimator: ConfigEstimator, scorer: FoldScorer, n_jobs: int) -> NoSearch:
        folds = experiment.splitter
        return NoSearch(estimator, scoring=scorer, n_jobs=n_jobs, refit=False, cv=folds)

    baseline = evaluator.fit(as_it_is, make_search)
    table = trials_table(baseline.cv_results_, refit=experiment.scoring.refit)
    if table["status"].iloc[0] == "failed":
        logger.warning("the baseline failed on at least one fold")
        return None
    leaves = experiment.estimator.leaves()
    params = {path: leaves[path] for path in experiment.space.dimensions}
    return evaluation(experiment, table.iloc[0], params)


def warn_of_damage(record: FitRecord) -> None:
    damaged = record.damaged_lines()
    if damaged:
        lines = f"line{'s' if len(damaged) > 1 else ''} {listing(damaged)}"
        logger.warning("%s is damaged in %s: those fits don't count", record.path.name, lines)


def log_notes(record: FitRecord) -> None:
    """Log what fits had to say, each thing once, whichever processes they were done in."""
    for note in dict.fromkeys(note for entry in record.ended() for note in entry.notes):
        logger.info("%s", note)


def log_failures(record: FitRecord) -> None:
    failures = record.failed()
    for candidate, entry in {entry.candidate: entry for entry in failures}.items():
        n_folds = sum(other.candidate == candidate for other in failures)
        logger.warning("a candidate failed on %d folds: %s", n_folds, _describe(entry))
        logger.debug("%s", entry.trace)


def _describe(entry: FitEntry) -> str:
    return f"{entry.error} (candidate {entry.candidate})"
