"""Hydra's launcher for jobs side by side, each in a worker process with its share of the cores."""

from __future__ import annotations

import logging
import math
import multiprocessing
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.utils import (
    JobReturn,
    JobRuntime,
    JobStatus,
    configure_log,
    run_job,
    setup_globals,
)
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from runner.compute import begin_worker, n_cores, take_share
from runner.config.compose import register
from runner.errors import ExperimentError, RequestError
from runner.interrupts import (
    INTERRUPTED,
    end_workers,
    exit_at_once,
)
from runner.job import set_log_level
from runner.results.run_directory import RunDirectory
from runner.results.state import note_death
from runner.sweeps.job import record_failure, say
from runner.sweeps.progress import job_progress

logger = logging.getLogger(__name__)

# Libraries that would take every core for their own threads, outside of fits too.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_GOODBYE_S = 1.0


def jobs_at_once(config: DictConfig) -> int:
    """How many jobs of a sweep may run side by side without more at work than there are cores.

    Parameters
    ----------
    config
        The sweep's, Hydra's part included.

    Raises
    ------
    RequestError
        When ``hydra.launcher.n_jobs`` is neither a positive number nor ``auto``.
    """
    asked, compute = config.hydra.launcher.n_jobs, config.compute
    if asked not in ("auto", -1) and not (type(asked) is int and asked > 0):
        raise RequestError(
            "hydra.launcher.n_jobs", f"must be 'auto' or a positive number, got {asked!r}"
        )
    is_here = compute.backend == "local" and type(compute.n_jobs) is int
    processes = compute.n_jobs if is_here and compute.n_jobs > 0 else 1
    room: int = max(1, n_cores() // (processes * compute.threads))
    return room if asked in ("auto", -1) else min(int(asked), room)


class ParallelLauncher(Launcher):
    """Run jobs side by side in joblib's worker processes (loky), which stay for the next batch.

    A worker that dies costs no job but the one at fault: those that were under way are run again
    one at a time, from their records, and one that dies again counts as failed.

    Parameters
    ----------
    n_jobs
        See `jobs_at_once`.
    """

    def __init__(self, n_jobs: int | str = "auto") -> None:
        self.n_jobs = n_jobs
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None
        self._pool: Any = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    @property
    def at_once(self) -> int:
        assert self.config is not None
        return jobs_at_once(self.config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run a job for each of the lists of overrides, the first with number `initial_job_idx`."""
        setup_globals()
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        jobs = {
            number: self._compose(number, overrides)
            for number, overrides in zip(numbers, job_overrides, strict=True)
        }
        try:
            with job_progress(len(jobs)) as advance:
                self._log_to_terminal()
                done = self._run_all(jobs, advance)
        except KeyboardInterrupt:
            _end_in_good_order()
            raise
        self._log_to_terminal()
        return [done[number] for number in numbers]

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        assert self.config is not None
        assert self.hydra_context is not None
        config: DictConfig = self.hydra_context.config_loader.load_sweep_config(
            self.config, list(overrides)
        )
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
            # The terminal belongs to this process; run.log says all the same.
            if config.log_level == "info":
                config.log_level = "warning"
        return config

    def _log_to_terminal(self) -> None:
        assert self.config is not None
        assert self.hydra_context is not None
        configure_log(
            self.config.hydra.hydra_logging,
            self.config.hydra.verbose,
            execution_whitelist=self.hydra_context.execution_whitelist,
        )
        set_log_level(self.config.log_level)

    def _run_all(self, jobs: Mapping[int, DictConfig], advance: Any) -> dict[int, JobReturn]:
        at_once = min(self.at_once, len(jobs))
        done: dict[int, JobReturn] = {}
        while waiting := {number: job for number, job in jobs.items() if number not in done}:
            try:
                self._run(waiting, at_once, done, advance)
            except BrokenProcessPool:
                suspects = [number for number in waiting if _was_under_way(jobs[number], done)]
                logger.warning(
                    "a worker process died; %d jobs that were under way are repeated alone",
                    len(suspects),
                )
                for number in suspects or list(waiting)[:1]:
                    self._run_alone(number, jobs[number], done, advance)
        return done

    def _run_alone(
        self, number: int, job: DictConfig, done: dict[int, JobReturn], advance: Any
    ) -> None:
        try:
            self._run({number: job}, 1, done, advance)
        except BrokenProcessPool:
            error = ExperimentError("its process died twice; out of memory?")
            logger.error("job %d failed: %s", number, error)
            record_failure(_directory(job), job.seed, job.hydra, error)
            note_death(_directory(job))
            done[number] = JobReturn(status=JobStatus.COMPLETED, _return_value=math.nan)
            advance()
        self._drop_pool()

    def _run(
        self,
        jobs: Mapping[int, DictConfig],
        at_once: int,
        done: dict[int, JobReturn],
        advance: Any,
    ) -> None:
        """Run jobs in the pool, noting each that ends in `done`."""
        assert self.hydra_context is not None
        assert self.task_function is not None
        run = partial(_run_in_worker, self.hydra_context, self.task_function)
        pool = self._workers(at_once)
        try:
            futures = {pool.submit(run, job): number for number, job in jobs.items()}
            for future in as_completed(futures):
                number = futures[future]
                done[number] = future.result()
                say(number, _directory(jobs[number]))
                advance()
        except BrokenProcessPool:
            self._drop_pool()
            raise

    def _workers(self, at_once: int) -> Any:
        # Only now: no sweep with another launcher needs it.
        from joblib.externals.loky import ProcessPoolExecutor

        if self._pool is None:
            assert self.config is not None
            share = max(1, n_cores() // at_once)
            logger.info("%d jobs at once, with %d cores each", at_once, share)
            self._pool = ProcessPoolExecutor(
                max_workers=at_once,
                initializer=_begin_worker,
                initargs=(share, self.config.hydra.job.name),
                env=dict.fromkeys(_THREADS, str(share)),
            )
        return self._pool

    def _drop_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None


def _begin_worker(share: int, name: str) -> None:
    """Make a worker process ready for jobs, as Hydra's application makes the main one."""
    begin_worker()
    take_share(share)
    setup_globals()
    register()
    JobRuntime.instance().set("name", name)


def _run_in_worker(context: HydraContext, task: TaskFunction, config: DictConfig) -> JobReturn:
    try:
        return run_job(
            hydra_context=context,
            task_function=task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    except KeyboardInterrupt:
        exit_at_once(INTERRUPTED)


def _directory(job: DictConfig) -> RunDirectory:
    return RunDirectory(Path(job.hydra.sweep.dir) / str(job.hydra.job.num))


def _was_under_way(job: DictConfig, done: Iterable[int]) -> bool:
    directory = _directory(job)
    return job.hydra.job.num not in done and directory.hydra.exists()


def _end_in_good_order() -> None:
    """Let workers note that they were interrupted, and end their own; then end them."""
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + _GOODBYE_S
    while time.monotonic() < deadline and any(worker.is_alive() for worker in workers):
        time.sleep(0.02)
    end_workers()
