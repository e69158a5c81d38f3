"""One job of a sweep: a failure is recorded, and a finished job answers from its record."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from runner.config.compose import first_line
from runner.errors import RequestError
from runner.interrupts import is_worker
from runner.job import finished_job, run_job, set_log_level
from runner.results.comparison.pareto import Objective
from runner.results.run_directory import RunDirectory
from runner.results.schema import Result
from runner.results.verdict import duration, mean_and_std
from runner.search.record import RecordWriteError
from runner.sweeps.objectives import job_value, read_objectives

logger = logging.getLogger(__name__)

# Of very many jobs, renewing it takes no more than a twentieth of the time; the sweep writes the
# last.
_MOST_SHARE = 0.05
_renew_at: dict[Path, float] = {}


def run_sweep_job(composed: DictConfig) -> Any:
    """Run a job and return its cross-validated score, or its objectives; NaN when it failed."""
    hydra = HydraConfig.get()
    objectives = read_objectives(composed.sweep, hydra.sweeper)
    directory, sweep = RunDirectory(Path(hydra.runtime.output_dir)), Path(hydra.sweep.dir)
    set_log_level(composed.log_level)
    try:
        result = finished_job(composed, directory)
        if result is None:
            directory.result.unlink(missing_ok=True)
            result = run_job(composed, directory, resumable=None if is_worker() else sweep)
            say(hydra.job.num, directory)
    except (Exception, RecordWriteError) as error:
        logger.error("job %s failed: %s", hydra.job.num, first_line(error))
        logger.debug("", exc_info=True)
        if not directory.result.exists():
            record_failure(directory, composed.seed, hydra, error)
        result = None
    finally:
        _renew_leaderboard(sweep, objectives)
    return job_value(result, objectives)


def _renew_leaderboard(sweep: Path, objectives: Sequence[Objective]) -> None:
    from runner.results.comparison.leaderboard import write_leaderboard

    started = time.monotonic()
    if started < _renew_at.get(sweep, started):
        return
    write_leaderboard(sweep, status="running", objectives=objectives)
    ended = time.monotonic()
    _renew_at[sweep] = ended + (ended - started) / _MOST_SHARE


def has_failed(directory: RunDirectory) -> bool:
    """Whether a job has ended with a failure, or left no record at all."""
    try:
        return directory.read_result().status == "failed"
    except RequestError:
        return True


def record_failure(
    directory: RunDirectory, seed: int, hydra: HydraConf, error: BaseException
) -> None:
    """Record that a job failed which could not say so; what it noted when interrupted stays."""
    told = {"type": type(error).__name__, "message": first_line(error)}
    with contextlib.suppress(RequestError):
        directory.write_result(replace(directory.read_result(), status="failed", error=told))
        return
    # Only now: it imports joblib, which no sweep's start need wait for.
    from runner.results.environment import describe_environment

    choices = hydra.runtime.choices
    directory.write_result(
        Result(
            status="failed",
            task=None,
            name={group: str(choices.get(group, "")) for group in ("data", "model", "search")},
            seed=seed,
            scoring=None,
            overrides=list(hydra.overrides.task),
            environment=describe_environment(),
            error=told,
        )
    )


def say(number: int, directory: RunDirectory) -> None:
    """Log the scores of a job that ended well."""
    try:
        result = directory.read_result()
    except RequestError:
        return  # it failed before it could leave one
    if result.best is not None and result.timing is not None:
        took = duration(result.timing.total_s)
        logger.info("job %s: CV %s in %s", number, mean_and_std(result.best), took)
