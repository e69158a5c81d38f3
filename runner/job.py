"""One job, in its run directory: alone, or as one of a sweep."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from runner.clusters.cluster import ClusterLostError
from runner.config.compose import config_for_people, parse_config
from runner.config.schema import ExperimentConfig
from runner.errors import ExperimentError
from runner.interrupts import end_workers, stops_in_time
from runner.results.run_directory import RunDirectory
from runner.results.schema import Result
from runner.results.state import Writer, config_fingerprint, hold, read_state
from runner.tracking.session import tracked_run

logger = logging.getLogger(__name__)


def run_job(
    composed: DictConfig,
    directory: RunDirectory,
    resumable: Path | None,
    owns_process: bool = True,
) -> Result:
    """Run what a composed config describes, or go on with it, in its run directory.

    Parameters
    ----------
    resumable
        The folder by which it can be resumed, to be told when it is interrupted: the run's, or the
        sweep's. None leaves that to another process.
    owns_process
        Whether signals and all child processes are this job's to deal with; in a notebook they are
        not.

    Raises
    ------
    RequestError
        When it can't be run as asked.
    ExperimentError
        When it failed while running; the record says so too.
    """
    # Only now: they import scikit-learn.
    from runner.experiment import run_experiment
    from runner.preparation import prepare

    config = parse_config(composed)
    set_log_level(config.log_level)
    is_job = resumable != directory.path
    with (
        tracked_run(config.tracking, directory, is_job) as begin_tracking,
        hold(directory) as state,
        contextlib.ExitStack() as guarded,
    ):
        if owns_process:
            guarded.enter_context(stops_in_time(partial(_interrupted, state, resumable, True)))
        directory.write_text(directory.config, config_for_people(composed))
        experiment = prepare(config)
        attempt = state.begin(_content(config), experiment.data.fingerprint)
        try:
            return run_experiment(experiment, directory, attempt, begin_tracking)
        except KeyboardInterrupt:
            _interrupted(state, resumable, owns_process)
            raise
        except ClusterLostError as error:
            raise ExperimentError(f"{error}{_how_to_go_on(resumable)}") from error


def finished_job(composed: DictConfig, directory: RunDirectory) -> Result | None:
    """The result of a job that was completed here before with the same config, if there is one."""
    state = read_state(directory)
    if state is None or state.status != "completed":
        return None
    if state.config != config_fingerprint(_content(parse_config(composed))):
        return None
    return directory.read_result()


def _content(config: ExperimentConfig) -> dict[str, object]:
    return config.model_dump(exclude={"overrides"})


def _interrupted(state: Writer, resumable: Path | None, owns_process: bool) -> None:
    if owns_process:
        end_workers()
    if state.end("interrupted") and resumable is not None:
        logger.error("interrupted%s", _how_to_go_on(resumable))


def _how_to_go_on(resumable: Path | None) -> str:
    if resumable is None:
        return ""
    return f"; go on with: python -m runner resume {shlex.quote(os.path.relpath(resumable))}"


def set_log_level(level: str) -> None:
    """The terminal shows `level` and above; run.log always has info."""
    root = logging.getLogger()
    root.setLevel(min(logging.INFO, getattr(logging, level.upper())))
    for handler in root.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(level.upper())
