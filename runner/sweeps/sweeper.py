"""Hydra's sweeper for combinations of values; a job that fails does not take others with it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import OmegaConf

from runner.config.compose import COMPOSITION_ERRORS
from runner.results.run_directory import RunDirectory
from runner.sweeps.job import has_failed, record_failure
from runner.sweeps.jobs import Job, enumerate_jobs

logger = logging.getLogger(__name__)


class JobSweeper(BasicSweeper):
    """Hydra's basic sweeper, but for three things.

    Jobs that can't be composed fail alone, ``sweep.zip`` pairs values, and ``sweep.on_error=stop``
    ends the sweep after the first failure.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs; `arguments` are the overrides, some of them sweeps."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        folder, settings = Path(self.config.hydra.sweep.dir), self.config.sweep
        params = [f"{key}={value}" for key, value in (self.params or {}).items()]
        jobs = enumerate_jobs(
            [*params, *arguments], list(settings.zip), self.hydra_context.config_loader
        )
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        problems = [self._problem(job) for job in jobs]
        for batch in _batches(problems, self._at_once(len(jobs))):
            problem = problems[batch[0]]
            if problem is None:
                launched = [list(jobs[number]) for number in batch]
                self.launcher.launch(launched, initial_job_idx=batch[0])
            else:
                record_failure(RunDirectory(folder / str(batch[0])), jobs[batch[0]], problem)
            failed = [n for n in batch if has_failed(RunDirectory(folder / str(n)))]
            if failed and settings.on_error == "stop":
                logger.error("job %d failed, and sweep.on_error=stop", failed[0])
                return

    def _at_once(self, n_jobs: int) -> int:
        """How many jobs the launcher gets at a time."""
        assert self.config is not None
        if self.config.sweep.on_error == "stop":
            return max(1, int(OmegaConf.select(self.config, "hydra.launcher.n_jobs") or 1))
        return self.max_batch_size or n_jobs

    def _problem(self, job: Job) -> Exception | None:
        """Why a job can't be composed; None when it can."""
        assert self.hydra_context is not None
        try:
            self.hydra_context.config_loader.load_sweep_config(self.config, list(job))
        except COMPOSITION_ERRORS as error:
            return error
        return None


def _batches(problems: Sequence[Exception | None], at_once: int) -> Iterator[list[int]]:
    """Numbers of jobs that are launched together; one that can't be composed is by itself."""
    for composes, group in itertools.groupby(
        range(len(problems)), key=lambda number: problems[number] is None
    ):
        numbers, size = list(group), at_once if composes else 1
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]
