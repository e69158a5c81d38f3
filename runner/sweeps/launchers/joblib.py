"""``hydra/launcher=joblib``: jobs side by side in processes of this machine's that are kept."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from omegaconf import DictConfig

from runner.compute import begin_worker, n_cores
from runner.errors import RequestError
from runner.interrupts import end_workers
from runner.sweeps.launchers.base import Ended, JobLauncher, cores_of_job, directory_of
from runner.sweeps.launchers.process import begin_process, run_in_process, thread_limits

logger = logging.getLogger(__name__)

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
    asked = config.hydra.launcher.n_jobs
    if asked not in ("auto", -1) and not (type(asked) is int and asked > 0):
        raise RequestError(
            "hydra.launcher.n_jobs", f"must be 'auto' or a positive number, got {asked!r}"
        )
    room = max(1, n_cores() // cores_of_job(config.compute))
    return room if asked in ("auto", -1) else min(int(asked), room)


class JoblibLauncher(JobLauncher):
    """Run jobs side by side in joblib's worker processes (loky), which stay for the next batch.

    A worker that dies costs no job but the one at fault: those that were under way are run again
    one at a time, from their records, and one that dies again counts as failed.

    Parameters
    ----------
    n_jobs
        See `jobs_at_once`.
    """

    option = "joblib"
    shares_terminal = True

    def __init__(self, n_jobs: int | str = "auto") -> None:
        super().__init__()
        self.n_jobs = n_jobs
        self._pool: Any = None

    @classmethod
    def check(cls, config: DictConfig) -> None:
        super().check(config)
        jobs_at_once(config)

    @property
    def at_once(self) -> int:
        assert self.config is not None
        return jobs_at_once(self.config)

    def run(self, jobs: Mapping[int, DictConfig]) -> Iterator[Ended]:
        at_once = min(self.at_once, len(jobs))
        waiting = dict(jobs)
        while waiting:
            try:
                for number in self._run(dict(waiting), at_once):
                    del waiting[number]
                    yield Ended(number)
            except BrokenProcessPool:
                suspects = [n for n, job in waiting.items() if directory_of(job).hydra.exists()]
                logger.warning(
                    "a worker process died; %d jobs that were under way are repeated alone",
                    len(suspects),
                )
                for number in suspects or list(waiting)[:1]:
                    yield self._run_alone(number, waiting.pop(number))

    def stop(self) -> None:
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + _GOODBYE_S
        while time.monotonic() < deadline and any(worker.is_alive() for worker in workers):
            time.sleep(0.02)
        end_workers()

    def _run_alone(self, number: int, job: DictConfig) -> Ended:
        try:
            list(self._run({number: job}, 1))
        except BrokenProcessPool:
            return Ended(number, "its process died twice; out of memory?")
        finally:
            self._drop_pool()
        return Ended(number)

    def _run(self, jobs: Mapping[int, DictConfig], at_once: int) -> Iterator[int]:
        """Run jobs in the pool; their numbers as they end."""
        assert self.hydra_context is not None
        assert self.task_function is not None
        run = partial(run_in_process, self.hydra_context, self.task_function)
        pool = self._workers(at_once)
        try:
            futures = {pool.submit(run, job): number for number, job in jobs.items()}
            for future in as_completed(futures):
                future.result()
                yield futures[future]
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
                env=thread_limits(share),
            )
        return self._pool

    def _drop_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)
            self._pool = None


def _begin_worker(cores: int, name: str) -> None:
    begin_worker()
    begin_process(cores, name)
