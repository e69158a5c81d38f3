"""How long an experiment would take, and how much memory."""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from runner.compute import Processes, can_fork_workers, processes_for, start_s
from runner.planning.clock import Clock
from runner.planning.proposals import Candidate, Proposals
from runner.planning.schedule import Schedule, Task
from runner.preparation import Experiment
from runner.searching import planned_fits
from runner.training.runtime import start_tensorflow

# Writing tables, the report and the model; and each plot of the report as a file.
_RECORDING_S = 0.5
_PLOTS_S = 2.0


@dataclass(frozen=True)
class Expected:
    """What `result.json` will call by the same names, in seconds.

    Parameters
    ----------
    full_search_s
        The search, were there no time budget.
    baseline_s
        The baseline on the folds.
    n_jobs
        Worker processes; with 1 the command's own process does the fits.
    memory_mb
        Peak of all processes together, in megabytes.
    fit_s
        The longest fit with its scoring.
    n_timed
        Candidates that were timed.
    failure
        What one of them failed with, if any did.
    """

    search_s: float
    full_search_s: float
    baseline_s: float
    refit_s: float
    total_s: float
    n_jobs: int
    memory_mb: float
    fit_s: float
    n_timed: int
    failure: str | None = None


def expect(experiment: Experiment, proposals: Proposals) -> Expected:
    """Time a few steps of candidates, and reckon when processes would be done with all of them.

    Raises
    ------
    Exception
        What the last fit failed with, when none could be timed.
    """
    import_s = _start_tensorflow(experiment)
    clock = Clock(experiment)
    clock.time(proposals.candidates)
    if not clock.n_timed and clock.failure is not None:
        raise clock.failure
    config, searches = experiment.config, experiment.searches
    _, n_fits = planned_fits(experiment)
    asked = (config.compute, n_fits, experiment.is_network)
    forked = can_fork_workers(config.compute, processes_for(*asked))
    planned = processes_for(*asked, forked)
    # Where this process does fits or is copied, TensorFlow is there before the search begins.
    own_import_s = import_s if planned.is_this_one or forked else 0.0
    workers_start_s = start_s(is_network=False, ready=forked) + clock.warm_up_s
    workers_start_s += 0.0 if forked else import_s
    batches = list(_batches(experiment, clock, proposals))
    schedule = _searched(batches, planned, clock.warm_up_s, workers_start_s)
    full_search_s = schedule.start_s + (schedule.now_s - schedule.start_s) / proposals.share
    longest_s, typical = _longest_and_typical(clock, proposals.candidates)
    limit_s = math.inf if config.search.time_budget_s is None else config.search.time_budget_s
    search_s = min(full_search_s, limit_s + longest_s)
    as_it_is = clock.task({}, clock.epochs({}))
    baseline_s = schedule.run([as_it_is] * experiment.n_splits) if searches else 0.0
    refits = [_refit(experiment, clock, one) for one in ((typical, {}) if searches else ({},))]
    judging_s = schedule.run(refits) + _RECORDING_S + (_PLOTS_S if config.plots else 0.0)
    return Expected(
        search_s,
        full_search_s,
        baseline_s,
        refits[0].seconds,
        own_import_s + search_s + baseline_s + judging_s,
        schedule.count,
        _memory_mb(experiment, schedule.count),
        longest_s,
        clock.n_timed,
        None if clock.failure is None else str(clock.failure),
    )


def _searched(
    batches: Sequence[Sequence[Task]],
    planned: Processes,
    warm_up_s: float,
    workers_start_s: float,
) -> Schedule:
    """The processes at the end of the search: they may begin in one, and go on in workers."""
    schedule, done = Schedule(planned.n_jobs, warm_up_s), 0
    if not planned.is_this_one:
        schedule = Schedule(planned.n_jobs, workers_start_s)
    elif planned.pace is not None:
        in_one = schedule.run_until_workers_pay(list(chain(*batches)), planned.pace)
        if in_one is None:
            return schedule
        schedule = Schedule(planned.pace.n_jobs, schedule.now_s + workers_start_s)
        done = in_one
    for batch in batches:
        schedule.run(batch[done:])
        done = max(0, done - len(batch))
    return schedule


def _start_tensorflow(experiment: Experiment) -> float:
    """Import what a network needs; return how long that took."""
    if not experiment.is_network:
        return 0.0
    started = time.perf_counter()
    start_tensorflow(experiment.config.compute.threads)
    import runner.estimator.network  # noqa: F401

    return time.perf_counter() - started


def _batches(experiment: Experiment, clock: Clock, proposals: Proposals) -> Iterator[list[Task]]:
    """The fits of each batch, candidate by candidate, a fold after the other."""
    grows = experiment.config.search.arguments.get("resource") == "training.epochs"
    # Each rung of halving goes on where the one before it stopped.
    continues = grows and experiment.is_network and not experiment.config.training.callbacks
    done: dict[str, int] = defaultdict(int)
    for batch in proposals.batches:
        tasks = []
        for candidate in batch:
            epochs = clock.epochs(candidate)
            name = repr({k: v for k, v in candidate.items() if k != "training.epochs"})
            tasks += [clock.task(candidate, epochs - done[name])] * experiment.n_splits
            if continues:
                done[name] = epochs
        yield tasks


def _longest_and_typical(clock: Clock, candidates: list[Candidate]) -> tuple[float, Candidate]:
    """Seconds of the longest fit, and the candidate in the middle."""
    seconds = [clock.task(one, clock.epochs(one)).seconds for one in candidates]
    order = np.argsort(seconds, kind="stable")
    return seconds[order[-1]], candidates[order[len(order) // 2]]


def _refit(experiment: Experiment, clock: Clock, candidate: Candidate) -> Task:
    """Fitting on all training rows; predicting the test rows takes little beside that."""
    task, score_s = clock.task(candidate, clock.epochs(candidate)), clock.of(candidate).score_s
    seconds = (task.seconds - score_s) * experiment.data.n_train / clock.n_rows
    return replace(task, seconds=seconds)


def _memory_mb(experiment: Experiment, n_jobs: int) -> float:
    """As much as this process needed at its peak, and the rows of a fold, in each process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    own_mb = peak / (1e6 if sys.platform == "darwin" else 1e3)
    X = experiment.data.X_train
    n_bytes = X.memory_usage(deep=True).sum() if isinstance(X, pd.DataFrame) else X.nbytes
    n_workers = n_jobs if n_jobs > 1 else 0
    return float(own_mb + n_bytes / 1e6 + n_workers * (own_mb + n_bytes / 1e6 - _shared_mb()))


def _shared_mb() -> float:
    """What processes share: the libraries' own code, where the system tells how much that is."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssFile:"):
                return float(line.split()[1]) / 1e3
    return 0.0
