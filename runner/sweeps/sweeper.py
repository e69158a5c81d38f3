"""Hydra's sweeper for combinations of values."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import OmegaConf

from runner.results.run_directory import RunDirectory
from runner.sweeps.job import has_failed
from runner.sweeps.jobs import enumerate_jobs

logger = logging.getLogger(__name__)


class JobSweeper(BasicSweeper):
    """Hydra's basic sweeper, but that ``sweep.zip`` pairs values and ``sweep.on_error`` can stop.

    The jobs were checked before, and what fails in them they record themselves.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs; `arguments` are the overrides, some of them sweeps."""
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        folder = Path(self.config.hydra.sweep.dir)
        params = [f"{key}={value}" for key, value in (self.params or {}).items()]
        jobs = enumerate_jobs(
            [*params, *arguments], list(self.config.sweep.zip), self.hydra_context.config_loader
        )
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        at_once = self._at_once(len(jobs))
        for first in range(0, len(jobs), at_once):
            batch = [list(job) for job in jobs[first : first + at_once]]
            self.launcher.launch(batch, initial_job_idx=first)
            numbers = range(first, first + len(batch))
            failed = [n for n in numbers if has_failed(RunDirectory(folder / str(n)))]
            if failed and self.config.sweep.on_error == "stop":
                logger.error("job %d failed, and sweep.on_error=stop", failed[0])
                return

    def _at_once(self, n_jobs: int) -> int:
        """How many jobs the launcher gets at a time."""
        assert self.config is not None
        if self.config.sweep.on_error == "stop":
            return int(getattr(self.launcher, "at_once", 1))
        return self.max_batch_size or n_jobs
