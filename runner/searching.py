"""Running the search and the baseline on the same folds, and choosing the winner."""

from __future__ import annotations

import itertools
import logging
import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from runner.clusters.backend import Backend
from runner.compute import Processes, WorkersPayError
from runner.errors import ExperimentError, listing
from runner.estimator.base import ConfigEstimator
from runner.preparation import Experiment
from runner.results.schema import Evaluation, TrialCounts
from runner.results.trials import searched_paths, trials_table
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
        _leave_out_skipped(search, evaluator.record)
        if not search.cv_results_["params"]:
            raise ExperimentError(
                f"search.time_budget_s={config.time_budget_s:g} passed before a candidate was done"
            )
    _take_over_times(search, evaluator.record)
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


def _leave_out_skipped(search: Any, record: FitRecord) -> None:
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


def _take_over_times(search: Any, record: FitRecord) -> None:
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


def _candidate_id(estimator: ConfigEstimator, params: Mapping[str, Any]) -> str:
    candidate: ConfigEstimator = clone(estimator)
    return candidate.set_params(**params).candidate_id()


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
    return _evaluation(experiment, table.iloc[0], params)


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
    best = _evaluation(experiment, first, params)
    if baseline is not None and baseline.cv_mean >= best.cv_mean:
        return baseline
    return best


def mean_fit_s(evaluator: Evaluator, evaluation: Evaluation, trials: pd.DataFrame) -> float:
    """Mean over folds of fitting and scoring the winner, in seconds.

    By the record, or what the run that evaluated it said in a shared study.
    """
    candidate = _candidate_id(evaluator.estimator(Limits()), evaluation.params)
    times = [
        entry.fit_s
        for entry in evaluator.record.ended()
        if entry.candidate == candidate and entry.status == "completed"
    ]
    if not times and trials["mean_fit_time"].notna().any():
        times = [trials.sort_values("rank", kind="stable")["mean_fit_time"].iloc[0]]
    return float(np.mean(times)) if times else math.nan


def _evaluation(experiment: Experiment, row: pd.Series, params: Mapping[str, Any]) -> Evaluation:
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


def _first_metric(results: Mapping[str, Any]) -> str:
    name = next(key for key in results if key.startswith("split0_test_"))
    return str(name).removeprefix("split0_test_")
