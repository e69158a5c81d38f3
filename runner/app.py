"""Hydra's application: check the request, then let Hydra run one job or a sweep of them."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from runner.clusters.connections import check_compute, nearest_existing, trust_named
from runner.command_line import CommandLine, parse_arguments
from runner.config.compose import (
    CONFIG_NAME,
    compose_config,
    expand_globs,
    note_secrets,
    parse_config,
    register,
)
from runner.config.folders import built_in_conf
from runner.config.overrides import sweep_points, to_override
from runner.config.trust import check_hydra, hydra_whitelist
from runner.errors import ExperimentError, RequestError
from runner.hydra_files import write_whole
from runner.interrupts import INTERRUPTED, exit_at_once
from runner.job import run_job
from runner.quiet import quick_import
from runner.results.comparison.tables import print_whole
from runner.results.run_directory import RunDirectory
from runner.results.schema import Result
from runner.search.record import RecordWriteError
from runner.sweeps.job import run_sweep_job
from runner.sweeps.plugins import register_plugins
from runner.sweeps.sweep import Sweep, prepare_sweep
from runner.tracking.settings import read_tracking, refuse_credentials

if TYPE_CHECKING:
    from runner.preparation import Experiment

logger = logging.getLogger(__name__)

DONE, FAILED, REFUSED = 0, 1, 2
_exit_code = DONE


def run_app(
    arguments: Sequence[str], resumes: Path | None = None, recorded: Sequence[str] = ()
) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 refused, 130 interrupted.

    A request that can't be run is refused in one line, before TensorFlow is imported and before a
    run directory exists.

    Parameters
    ----------
    arguments
        As they stand on the command line.
    resumes
        The folder of the run or sweep that is to be continued, rather than a new one.
    recorded
        Arguments before those, which that folder holds, and the user may never have seen.
    """
    global _exit_code
    _exit_code = DONE
    try:
        trust_named(arguments)
        with quick_import():
            request, checked = check([*recorded, *arguments], resumes)
        if isinstance(checked, Sweep):
            sweep = checked
            return sweep.run(lambda: _run_hydra(sweep.command, "hydra.sweep.dir", sweep.folder))
    except RequestError as error:
        print(f"runner: {error}", file=sys.stderr)  # noqa: T201
        return REFUSED
    except KeyboardInterrupt:
        exit_at_once(INTERRUPTED)
    _run_hydra(request, "hydra.run.dir", resumes)
    if _exit_code == INTERRUPTED:
        exit_at_once(INTERRUPTED)
    return _exit_code


def _run_hydra(request: CommandLine, key: str, folder: Path | None) -> None:
    fixed = [] if folder is None else [to_override(key, str(folder))]
    write_whole()
    sys.argv = [sys.argv[0], *request.for_hydra(), *fixed]
    hydra.main(
        config_path=str(built_in_conf()),
        config_name=CONFIG_NAME,
        execution_whitelist=hydra_whitelist(),
    )(_job)()


def check(
    arguments: Sequence[str], resumes: Path | None = None
) -> tuple[CommandLine, Sweep | Experiment | None]:
    """Read a command line, and check what it asks for, as far as that can be known now.

    Returns
    -------
    tuple
        The request, and the sweep or experiment to be run; None for flags that run nothing.

    Raises
    ------
    RequestError
        When it can't be run as asked.
    """
    request = parse_arguments(arguments)
    register()
    register_plugins()
    return request, check_request(request, resumes)


def check_request(request: CommandLine, resumes: Path | None = None) -> Sweep | Experiment | None:
    """Check what is asked for, as `check` does."""
    if not request.composes:
        return None
    if request.is_sweep:
        written_out = expand_globs(request.overrides, request.config_dir)
        request = replace(request, overrides=written_out)
    first = next(sweep_points(request.overrides)) if request.is_sweep else request.overrides
    composed = compose_config(first, request.config_name, request.config_dir)
    check_hydra(composed)
    note_secrets(composed)
    refuse_credentials(request.overrides)
    read_tracking(composed)
    if request.sweeps or (request.runs_one_job and composed.hydra.mode == RunMode.MULTIRUN):
        # Hydra itself takes the mode from the command line and the primary config only.
        return prepare_sweep(replace(request, is_sweep=True), composed, resumes)
    return _check_job(composed, resumes) if request.runs_one_job else None


def _check_job(composed: DictConfig, resumes: Path | None) -> Experiment:
    config = parse_config(composed)
    # The folder's name refers to Hydra's own config, as it will in the job.
    HydraConfig.instance().set_config(composed)
    folder = Path(composed.hydra.run.dir) if resumes is None else resumes
    if resumes is None:
        _check_run_dir(folder)
    check_compute(config.compute, folder)
    # Only now: it imports scikit-learn, which a misspelt key need not wait for.
    from runner.preparation import prepare

    # What it has to say is said again in the job, where it reaches run.log.
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    try:
        return prepare(config)
    finally:
        logging.getLogger().removeHandler(silence)


def _check_run_dir(path: Path) -> None:
    if path.is_dir() and any(path.iterdir()):
        raise RequestError("hydra.run.dir", f"'{path}' exists and is not empty")
    existing = nearest_existing(path)
    try:
        with tempfile.TemporaryDirectory(dir=existing):
            pass
    except OSError as error:
        raise RequestError(
            "hydra.run.dir", f"can't write in '{existing}': {error.strerror or error}"
        ) from None


def _job(composed: DictConfig) -> Any:
    """Run one job; a sweep's records its failure, a single one's decides the exit code."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return run_sweep_job(composed)
    global _exit_code
    directory = RunDirectory(Path(HydraConfig.get().runtime.output_dir))
    try:
        result = run_job(composed, directory, resumable=directory.path)
        if composed.log_level in ("debug", "info"):
            _show(result, directory)
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


def _show(result: Result, directory: RunDirectory) -> None:
    from runner.results.summary import render_summary

    shown = Path(os.path.relpath(directory.path))
    print_whole(render_summary(result, shown), Console())
