"""``runner track DIR…``: log runs that have ended to MLflow or TensorBoard, again or later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from runner.config.compose import compose_config, note_secrets, register
from runner.config.overrides import parse_override, to_override
from runner.config.schema import Tracking
from runner.errors import RequestError
from runner.logs import terminal_handler
from runner.results.comparison.find import Found, find
from runner.results.run_directory import RunDirectory
from runner.tracking.session import track_ended
from runner.tracking.settings import read_tracking, refuse_credentials
from runner.verbs.arguments import DONE, REFUSED, Parser, tell

_ABOUT = """\
Log runs and sweeps, finished or not, where their config says (tracking=…), or where it is said
here. What is logged already is not there twice, and what was cut short is completed. DIR is a run,
a sweep, or a folder with many of them.

examples:
  runner track outputs/runs/2026-11-25/16-52-32-digits-mlp-afd17d
  runner track outputs tracking=mlflow tracking.mlflow.uri=http://localhost:5000
  runner track outputs/sweeps/2026-11-25/* tracking=[mlflow,tensorboard]"""
_FAILED = 1


def track(arguments: Sequence[str]) -> int:
    """Log runs; return 0 when all were logged, 1 when a server did not take one, 2 when none is.

    Raises
    ------
    RequestError
        For a setting that is none of tracking's, or that can't be used.
    """
    parser = Parser("track", _ABOUT)
    parser.add_argument("words", nargs="+", metavar="DIR|tracking…=VALUE")
    words = parser.parse(arguments).words
    changes = [word for word in words if "=" in word and not Path(word).exists()]
    refuse_credentials(changes)
    for text in changes:
        key = parse_override(text).key_or_group
        if key.partition(".")[0] != "tracking":
            raise RequestError(key, "is not about tracking; only tracking=… and tracking.… are")
    found, problems = find([word for word in words if word not in changes])
    tell(problems)
    if not found:
        return REFUSED
    root = logging.getLogger()
    root.addHandler(terminal_handler())
    root.setLevel(logging.WARNING)
    failed = [_log(item, changes) for item in found]
    if all(outcome is None for outcome in failed):
        raise RequestError(
            str(found[0].path), "was run with tracking=none; say where: tracking=mlflow"
        )
    return _FAILED if any(failed) else DONE


def _log(item: Found, changes: Sequence[str]) -> bool | None:
    """Log a run or a sweep, and tell where; return whether that failed, None without trackers."""
    tracking = _tracking_of(item.jobs[0], changes)
    failed = None
    for tracker, problem in track_ended(tracking, item.path, item.is_sweep):
        failed = bool(failed or problem)
        if problem:
            tell([RequestError(None, f"{item.path}: tracking={tracker.name}: {problem}")])
        else:
            print(f"{item.path}: logged to {tracker.where()}")  # noqa: T201
    return failed


def _tracking_of(run: RunDirectory, changes: Sequence[str]) -> Tracking:
    """The run's settings, as they were written rather than as they were resolved, and changes."""
    register()
    try:
        recorded: Any = OmegaConf.to_container(OmegaConf.load(run.hydra / "config.yaml"))
        settings = recorded.get("tracking") or {}
        written = [
            to_override(f"tracking.{name}.{key}", value)
            for name, values in settings.items()
            for key, value in values.items()
        ]
    except (OSError, ValueError, AttributeError, TypeError, OmegaConfBaseException):
        settings, written = {}, []
    keys = [parse_override(text).key_or_group for text in changes]
    overrides: list[str] = []
    if "tracking" not in keys:
        names = dict.fromkeys([*settings, *(key.split(".")[1] for key in keys)])
        overrides = [to_override("tracking", list(names)), *written]
    composed = compose_config([*overrides, *changes])
    note_secrets(composed)
    return read_tracking(composed)
