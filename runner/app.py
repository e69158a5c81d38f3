"""Hydra's application: check the request, then let Hydra run one job or a sweep of them."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from runner.command_line import CommandLine, parse_arguments
from runner.config.compose import (
    CONFIG_NAME,
    built_in_conf,
    compose_config,
    config_for_people,
    note_secrets,
    parse_config,
    register,
)
from runner.config.overrides import sweep_points, to_override
from runner.config.trust import check_hydra, hydra_whitelist
from runner.errors import ExperimentError, RequestError
from runner.interrupts import INTERRUPTED, end_workers, exit_at_once, stops_in_time
from runner.results.run_directory import RunDirectory
from runner.results.state import Writer, hold
from runner.search.record import RecordWriteError

logger = logging.getLogger(__name__)

DONE, FAILED, REFUSED = 0, 1, 2
_exit_code = DONE


def run_app(arguments: Sequence[str], resumes: RunDirectory | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 refused, 130 interrupted.

    A request that can't be run is refused in one line, before TensorFlow is imported and before a
    run directory exists.

    Parameters
    ----------
    arguments
        As they stand on the command line.
    resumes
        The run directory that is to be continued, rather than a new one.
    """
    global _exit_code
    _exit_code = DONE
    try:
        request = parse_arguments(arguments)
        register()
        if request.runs_one_job:
            _check(request, resumes)
        elif request.composes:
            _check_jobs(request, sweeps=request.is_sweep)
    except RequestError as error:
        print(f"runner: {error}", file=sys.stderr)  # noqa: T201
        return REFUSED
    directory = [] if resumes is None else [to_override("hydra.run.dir", str(resumes.path))]
    sys.argv = [sys.argv[0], *request.for_hydra(), *directory]
    hydra.main(
        config_path=str(built_in_conf()),
        config_name=CONFIG_NAME,
        execution_whitelist=hydra_whitelist(),
    )(_job)()
    if _exit_code == INTERRUPTED:
        exit_at_once(INTERRUPTED)
    return _exit_code


def _check(request: CommandLine, resumes: RunDirectory | None) -> None:
    composed = compose_config(request.overrides, request.config_name, request.config_dir)
    if composed.hydra.mode == RunMode.MULTIRUN:
        _check_jobs(request, sweeps=True)
        return
    check_hydra(composed)
    config = parse_config(composed)
    # The folder's name refers to Hydra's own config, as it will in the job.
    HydraConfig.instance().set_config(composed)
    if resumes is None:
        _check_run_dir(Path(composed.hydra.run.dir))
    # Only now: it imports scikit-learn, which a misspelt key need not wait for.
    from runner.preparation import prepare

    # What it has to say is said again in the job, where it reaches run.log.
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    try:
        prepare(config)
    finally:
        logging.getLogger().removeHandler(silence)


def _check_jobs(request: CommandLine, sweeps: bool) -> None:
    """Check how jobs are composed and what Hydra would do for them, but not the jobs themselves."""
    points = [request.overrides]
    if sweeps:
        first = next(sweep_points(request.overrides))
        composed = compose_config(first, request.config_name, request.config_dir)
        params = OmegaConf.select(composed, "hydra.sweeper.params") or {}
        swept = [f"{path}={value}" for path, value in params.items()]
        points = list(sweep_points([*request.overrides, *swept]))
    for overrides in points:
        composed = compose_config(overrides, request.config_name, request.config_dir)
        check_hydra(composed)
        note_secrets(composed)


def _check_run_dir(path: Path) -> None:
    if path.is_dir() and any(path.iterdir()):
        raise RequestError("hydra.run.dir", f"'{path}' exists and is not empty")
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryDirectory(dir=existing):
            pass
    except OSError as error:
        raise RequestError(
            "hydra.run.dir", f"can't write in '{existing}': {error.strerror or error}"
        ) from None


def _job(composed: DictConfig) -> float | None:
    """Run one job; in a sweep errors are raised, so that the sweep knows."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _run(composed)
    global _exit_code
    try:
        return _run(composed)
    except KeyboardInterrupt:
        _exit_code = INTERRUPTED
    except (RequestError, ExperimentError, RecordWriteError) as error:
        logger.error("%s", error)
        _exit_code = REFUSED if isinstance(error, RequestError) else FAILED
    except Exception as error:
        logger.debug("", exc_info=True)
        logger.error("%s: %s", type(error).__name__, error)
        _exit_code = FAILED
    return None
