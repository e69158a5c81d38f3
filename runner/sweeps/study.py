"""Hydra's sweeper for an Optuna study."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper

from runner.results.comparison.find import find_jobs
from runner.results.run_directory import RunDirectory
from runner.sweeps.job import has_failed

logger = logging.getLogger(__name__)


class StudySweeper(OptunaSweeper):
    """Hydra's Optuna sweeper, but that ``sweep.on_error`` can stop, and all jobs can fail.

    Hydra's own ends with a traceback where no job has a score to be the best.
    """

    def setup(self, **given: Any) -> None:
        super().setup(**given)
        assert self.sweeper.launcher is not None
        config = given["config"]
        self.folder = Path(config.hydra.sweep.dir)
        if config.sweep.on_error == "stop":
            self.sweeper.launcher = _StopsAtFailure(self.sweeper.launcher, self.folder)

    def sweep(self, arguments: list[str]) -> None:
        """Run the study; `arguments` are the overrides, some of them sweeps."""
        try:
            super().sweep(arguments)
        except _JobFailedError as failure:
            logger.error("%s, and sweep.on_error=stop", failure)
        except ValueError:
            jobs = find_jobs(self.folder)
            if not (jobs and all(map(has_failed, jobs))):
                raise
            logger.error("every job failed, so there is no best one")


class _JobFailedError(Exception):
    """A job failed where none may."""


class _StopsAtFailure(Launcher):
    """A launcher that raises when a job it launched failed."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self._launcher = launcher
        self._folder = folder

    def setup(self, **given: Any) -> None:
        self._launcher.setup(**given)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Any:
        returned = self._launcher.launch(job_overrides, initial_job_idx=initial_job_idx)
        for number in range(initial_job_idx, initial_job_idx + len(returned)):
            if has_failed(RunDirectory(self._folder / str(number))):
                raise _JobFailedError(f"job {number} failed")
        return returned
