"""``runner resume RUN_DIR``: go on with a run that was killed, interrupted or failed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from runner import __version__
from runner.app import REFUSED, run_app
from runner.command_line import parse_arguments
from runner.config.compose import compose_config, parse_config
from runner.config.overrides import parse_override
from runner.config.targets import allows_own_modules
from runner.errors import RequestError
from runner.results.run_directory import RunDirectory
from runner.results.state import config_fingerprint, is_held, read_state
from runner.sweeps.sweep import REQUEST, read_request
from runner.verbs.arguments import Parser

# Budgets may be raised on resuming: nothing that was done becomes wrong.
_BUDGETS = ("search.n_iter", "hydra.sweeper.n_trials")
_LIMITS = tuple(
    f"search.{name}" for name in ("max_failures", "retries", "trial_timeout", "time_budget_s")
)
_TRACKING = "tracking"
_WITHOUT_EFFECT = (
    *("compute", "compute.address", "compute.n_jobs", "compute.device"),
    *("hydra/launcher", "hydra.launcher.*", "log_level", "plots"),
    *("search.storage", "search.takeover_s"),
)


_ABOUT = """\
Go on with a run or sweep that was killed, interrupted or failed, in its own folder: what is done is
not done again, and the result is that of a run that was never stopped. Budgets and limits can be
changed.

examples:
  runner resume outputs/runs/2026-11-25/16-52-32-digits-mlp-afd17d
  runner resume outputs/sweeps/2026-11-25/18-58-52-601457 hydra.sweeper.n_trials=40"""


def resume(arguments: Sequence[str]) -> int:
    """Continue a run in its own directory; finished fits are answered from its record."""
    try:
        options = _parser().parse(arguments)
        directory = RunDirectory(options.directory.absolute())
        if (directory.path / REQUEST).exists():
            return _resume_sweep(directory, options.changes, options.force)
        settings = _settings(directory)
        _check_links(directory)
        _check_state(directory, options.force)
        _go_to(settings["cwd"], directory)
        changes = _allowed(options.changes)
        recorded = _but_for(changes, _recorded(directory))
        flags = ["--config-name", settings["config_name"]]
        if not options.force:
            moved = [text for text in changes if text.startswith("search.storage=")]
            _check_config(directory, [*flags, *_recorded(directory), *moved])
    except RequestError as error:
        print(f"runner: {error}", file=sys.stderr)  # noqa: T201
        return REFUSED
    return run_app(changes, resumes=directory.path, recorded=[*flags, *recorded])


def _parser() -> Parser:
    parser = Parser("resume", _ABOUT)
    parser.add_argument("directory", type=Path, metavar="RUN_DIR")
    parser.add_argument("changes", nargs="*", metavar="key=value")
    parser.add_argument(
        "--force", action="store_true", help="also where config, data or version have changed"
    )
    return parser


def _resume_sweep(directory: RunDirectory, changes: Sequence[str], force: bool) -> int:
    """Run a sweep again in its folder: finished jobs answer from their records."""
    request = read_request(directory.path)
    if is_held(directory):
        raise RequestError(str(directory.path), "is being written by a live process")
    _check_version(directory, request.version, force)
    _check_links(directory)
    _go_to(request.cwd, directory)
    allowed = _allowed(changes)
    recorded = _but_for(allowed, request.arguments)
    return run_app(allowed, resumes=directory.path, recorded=recorded)


def _settings(directory: RunDirectory) -> dict[str, str]:
    path = directory.hydra / "hydra.yaml"
    try:
        hydra = yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]
        settings = {"cwd": hydra["runtime"]["cwd"], "config_name": hydra["job"]["config_name"]}
        if not all(isinstance(setting, str) for setting in settings.values()):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        raise RequestError(str(directory.path), "is no run directory") from None
    if not Path(settings["cwd"]).is_dir():
        raise RequestError(str(directory.path), f"was run in {settings['cwd']}, which is gone")
    return settings


def _check_links(directory: RunDirectory) -> None:
    """Refuse links: what a run appends to its files must not end up in others."""
    for path in sorted(directory.path.rglob("*")):
        if path.is_symlink():
            raise RequestError(str(path), "is a link; a run directory holds plain files only")


def _go_to(folder: str, directory: RunDirectory) -> None:
    """Go to the folder that the run was started in, unless that means to trust what is there."""
    moves = Path(folder).resolve() != Path.cwd()
    os.chdir(folder)
    if moves and allows_own_modules():
        raise RequestError(
            str(directory.path),
            f"was run in {folder}, and modules of one's own are allowed there; "
            "to trust them, resume it from that folder",
        )


def _recorded(directory: RunDirectory) -> list[str]:
    path = directory.hydra / "overrides.yaml"
    try:
        overrides = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RequestError(str(path), f"can't be read: {' '.join(str(error).split())}") from None
    if not (isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)):
        raise RequestError(str(path), "must be a list of overrides")
    for text in overrides:
        if text.startswith("-"):
            raise RequestError(str(path), f"'{text}' is no override")
    return overrides


def _allowed(changes: Sequence[str]) -> list[str]:
    for text in changes:
        key = parse_override(text).key_or_group
        allowed = (*_BUDGETS, *_LIMITS, *_WITHOUT_EFFECT)
        is_of_group = key.partition(".")[0] == _TRACKING or key.startswith("hydra.launcher.")
        if key not in allowed and not is_of_group:
            names = ", ".join([*allowed, f"{_TRACKING}.*"])
            raise RequestError(key, f"can't change on resuming; only {names} can")
    return list(changes)


def _but_for(changes: Sequence[str], recorded: Sequence[str]) -> list[str]:
    """Without what is changed; another place to run in has settings of its own."""
    keys = [parse_override(text).key_or_group for text in changes]
    keys += ["compute.address"] if "compute" in keys else []
    dropped = ("hydra.launcher.",) if "hydra/launcher" in keys else ()
    named = [(text, text.lstrip("+").partition("=")[0]) for text in recorded]
    return [text for text, key in named if key not in keys and not key.startswith(dropped)]


def _check_state(directory: RunDirectory, force: bool) -> None:
    if is_held(directory):
        raise RequestError(str(directory.path), "is being written by a live process")
    state = read_state(directory)
    if state is None:
        raise RequestError(str(directory.path), "never began to run; start it anew")
    if state.status == "completed" and not force:
        raise RequestError(str(directory.path), "is complete; there is nothing to resume")
    _check_version(directory, state.version, force)


def _check_version(directory: RunDirectory, version: str, force: bool) -> None:
    if version != __version__ and not force:
        raise RequestError(
            str(directory.path),
            f"was written by runner {version}, this is {__version__}; --force goes on",
        )


def _check_config(directory: RunDirectory, arguments: list[str]) -> None:
    """Refuse to go on when the same overrides now mean another config, or the data changed."""
    # Only now: it imports scikit-learn.
    from runner.preparation import prepare

    state = read_state(directory)
    assert state is not None
    request = parse_arguments(arguments)
    composed = compose_config(request.overrides, request.config_name, request.config_dir)
    config = parse_config(composed)
    if config_fingerprint(config.model_dump(exclude={"overrides"})) != state.config:
        raise RequestError(
            str(directory.path), "was run with another config than it now has; --force goes on"
        )
    if prepare(config).data.fingerprint != state.data:
        raise RequestError(str(directory.path), "was run on other data; --force goes on")
