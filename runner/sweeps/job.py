"""One job of a sweep: a failure is recorded, and a finished job answers from its record."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from runner.config.compose import first_line
from runner.errors import RequestError
from runner.job import finished_job, run_job, set_log_level
from runner.results.environment import describe_environment
from runner.results.run_directory import RunDirectory
from runner.results.schema import Result
from runner.results.verdict import duration, mean_and_std
from runner.search.record import RecordWriteError

logger = logging.getLogger(__name__)


def run_sweep_job(composed: DictConfig) -> float:
    """Run a job and return its cross-validated score, NaN when it failed."""
    from runner.results.comparison.leaderboard import write_leaderboard

    hydra = HydraConfig.get()
    directory, sweep = RunDirectory(Path(hydra.runtime.output_dir)), Path(hydra.sweep.dir)
    set_log_level(composed.log_level)
    try:
        result = finished_job(composed, directory)
        if result is None:
            directory.result.unlink(missing_ok=True)
            result = run_job(composed, directory, resumable=sweep)
            _say(hydra.job.num, result)
    except (Exception, RecordWriteError) as error:  # noqa: BLE001 - the other jobs go on
        logger.error("job %s failed: %s", hydra.job.num, first_line(error))
        logger.debug("", exc_info=True)
        if not directory.result.exists():
            record_failure(directory, list(hydra.overrides.task), error)
        return math.nan
    finally:
        write_leaderboard(sweep, status="running")
    return math.nan if result.best is None else result.best.cv_mean


def has_failed(directory: RunDirectory) -> bool:
    """Whether a job has ended with a failure, or left no record at all."""
    try:
        return directory.read_result().status == "failed"
    except RequestError:
        return True


def record_failure(
    directory: RunDirectory, overrides: Sequence[str], error: BaseException
) -> None:
    """Leave the record of a job that failed before it could begin."""
    directory.hydra.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(list(overrides)), directory.hydra / "overrides.yaml")
    directory.write_result(
        Result(
            status="failed",
            task=None,
            name={},
            seed=0,
            scoring=None,
            overrides=list(overrides),
            environment=describe_environment(),
            error={"type": type(error).__name__, "message": first_line(error)},
        )
    )


def _say(number: int, result: Result) -> None:
    if result.best is not None and result.timing is not None:
        logger.info(
            "job %s: CV %s in %s", number, mean_and_std(result.best), duration(result.timing.total_s)
        )
