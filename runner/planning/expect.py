"""How long an experiment would take, and how much memory."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from runner.compute import processes_for, start_s
from runner.planning.clock import Clock
from runner.planning.proposals import Candidate, Proposals
from runner.planning.schedule import Processes, Task
from runner.preparation import Experiment
from runner.searching import planned_fits
from runner.training.runtime import start_tensorflow

# Writing tables, the report and the model, once the test rows are scored.
_RECORDING_S = 0.5


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
    longest_s, typical = _longest_and_typical(clock, proposals.candidates)
    n_jobs = _n_jobs(experiment, clock.task(typical, clock.epochs(typical)).seconds)
    # With workers, they import and warm up; else this process has imported before it searches.
    start_workers_s = start_s(is_network=False) + import_s
    begin_s = clock.warm_up_s + (start_workers_s if n_jobs > 1 else 0.0)
    processes = Processes(n_jobs, begin_s)
    for tasks in _batches(experiment, clock, proposals):
        processes.run(tasks)
    full_search_s = begin_s + (processes.now_s - begin_s) / proposals.share
    as_it_is = clock.task({}, clock.epochs({}))
    baseline_s = processes.run([as_it_is] * experiment.n_splits) if experiment.searches else 0.0
    refits = [_refit(experiment, clock, typical)]
    if experiment.searches:
        refits.append(_refit(experiment, clock, {}))
    refits_s = processes.run(refits)
    refit_s = refits[0].seconds
    budget_s = experiment.config.search.time_budget_s
    search_s = full_search_s if budget_s is None else min(full_search_s, budget_s + longest_s)
    total_s = import_s + search_s + baseline_s + refits_s + _RECORDING_S
    return Expected(
        search_s,
        full_search_s,
        baseline_s,
        refit_s,
        total_s,
        n_jobs,
        _memory_mb(experiment, n_jobs),
        longest_s,
        clock.n_timed,
        None if clock.failure is None else str(clock.failure),
    )


def _n_jobs(experiment: Experiment, fit_s: float) -> int:
    """The number of processes that the run will come to, with fits of `fit_s` seconds."""
    _, n_fits = planned_fits(experiment)
    begun = processes_for(experiment.config.compute, n_fits, experiment.is_network)
    pays = begun.pace is not None and begun.pace.repays(fit_s, n_fits)
    return begun.pace.n_jobs if begun.pace is not None and pays else begun.n_jobs


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
    """Fitting on all training rows, and predicting the test rows twice: labels, probabilities."""
    data = experiment.data
    task, times = clock.task(candidate, clock.epochs(candidate)), clock.of(candidate)
    held_out = data.n_train - clock.n_rows
    fit_s = (task.seconds - times.score_s) * data.n_train / clock.n_rows
    return Task(
        fit_s + 2 * times.score_s * data.n_test / max(held_out, 1),
        task.architecture,
        task.compile_s,
    )


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
