"""What stands on the command line: Hydra's flags, a few of our own, and overrides."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from runner.config.compose import CONFIG_NAME
from runner.config.overrides import protect_space
from runner.errors import RequestError, did_you_mean, listing


@dataclass(frozen=True)
class CommandLine:
    """One request.

    ``flags`` are Hydra's own, passed on as they are.
    """

    overrides: list[str]
    flags: list[str]
    config_name: str
    config_dir: str | None
    is_sweep: bool
    composes: bool

    @property
    def runs_one_job(self) -> bool:
        return not self.is_sweep and not self.flags

    @property
    def sweeps(self) -> bool:
        return self.is_sweep and not self.flags

    def as_given(self) -> list[str]:
        """The arguments that ask for the same again, flags left out."""
        folder = [] if self.config_dir is None else ["--config-dir", self.config_dir]
        return ["--config-name", self.config_name, *folder, *self.overrides]

    def for_hydra(self) -> list[str]:
        """The arguments that Hydra gets."""
        arguments = ["--config-name", self.config_name]
        if self.config_dir is not None:
            arguments += ["--config-dir", self.config_dir]
        if self.is_sweep:
            arguments.append("--multirun")
        return [*arguments, *self.flags, *self.overrides]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(None, message)


# Hydra's flags, by the number of values that follow.
_BARE = ("--help", "--hydra-help", "--version", "--resolve", "--run", "--shell-completion")
_WITH_VALUE = ("--cfg", "--info", "--package", "--config-path")
_SHORT = {
    "--help": "-h",
    "--run": "-r",
    "--shell-completion": "-sc",
    "--cfg": "-c",
    "--info": "-i",
    "--package": "-p",
    "--config-path": "-cp",
}
_COMPOSE_NOTHING = ("--version", "--shell-completion")


def parse_arguments(arguments: Sequence[str]) -> CommandLine:
    """Read the command line.

    Raises
    ------
    RequestError
        For an unknown flag, a flag without its value, or a config folder that does not exist.
    """
    options, rest = _parser().parse_known_args(arguments)
    unknown = [argument for argument in rest if argument.startswith("-")]
    if unknown:
        raise _unknown_flag(unknown[0])
    if options.config_dir is not None and not Path(options.config_dir).is_dir():
        raise RequestError("--config-dir", f"there is no folder '{options.config_dir}'")
    flags: list[str] = []
    for flag in (*_BARE, *_WITH_VALUE):
        value = getattr(options, _dest(flag))
        if value is True:
            flags.append(flag)
        elif value:
            flags += [flag, value]
    quiet = ["log_level=warning"] if options.quiet else []
    return CommandLine(
        overrides=protect_space([*rest, *quiet]),
        flags=flags,
        config_name=options.config_name,
        config_dir=options.config_dir,
        is_sweep=options.multirun,
        composes=not any(flag in flags for flag in _COMPOSE_NOTHING),
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cn", "--config-name", default=CONFIG_NAME)
    parser.add_argument("-cd", "--config-dir")
    parser.add_argument("-q", "--quiet", action="store_true")
    for flag in _BARE:
        parser.add_argument(*_names(flag), dest=_dest(flag), action="store_true")
    for flag in _WITH_VALUE:
        parser.add_argument(*_names(flag), dest=_dest(flag))
    return parser


def _names(flag: str) -> list[str]:
    return [flag, _SHORT[flag]] if flag in _SHORT else [flag]


def _dest(flag: str) -> str:
    return "hydra_" + flag.strip("-").replace("-", "_")


def _unknown_flag(flag: str) -> RequestError:
    name = flag.lstrip("-").partition("=")[0]
    known = ["--multirun", "--config-name", "--config-dir", "--quiet", *_BARE, *_WITH_VALUE]
    near = did_you_mean(f"--{name}", known)
    if "=" in flag:
        near = f"; a value of the config is given without dashes: {flag.lstrip('-')}"
    return RequestError(
        None, f"there is no flag '{flag}'{near or f'; flags: {listing(known, 20)}'}"
    )
