"""What the verbs' command lines have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from runner.errors import RequestError, did_you_mean
from runner.results.comparison.tables import FORMATS

DONE, REFUSED = 0, 2


class Parser(argparse.ArgumentParser):
    """Refuses in one line, and names the nearest flag or choice.

    Parameters
    ----------
    verb
        The word after ``runner``.
    about
        What it does: a sentence or two, then examples, shown as they are.
    """

    def __init__(self, verb: str, about: str) -> None:
        super().__init__(
            prog=f"runner {verb}",
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def add_format(self, formats: Sequence[str] = FORMATS) -> None:
        exact = " and ".join(name for name in formats if name in ("csv", "json"))
        self.add_argument(
            "--format",
            default="table",
            type=one_of("--format", formats),
            metavar="|".join(formats),
            help=f"{exact}: all digits and full paths (default: table)",
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Read the arguments.

        Raises
        ------
        RequestError
            For anything that can't be read.
        """
        options, rest = self.parse_known_intermixed_args(arguments)
        if rest:
            flags = [flag for action in self._actions for flag in action.option_strings]
            raise RequestError(None, f"there is no flag '{rest[0]}'{did_you_mean(rest[0], flags)}")
        return options

    def error(self, message: str) -> NoReturn:
        raise RequestError(None, f"{message}; see {self.prog} --help")


def one_of(option: str, choices: Sequence[str]) -> Callable[[str], str]:
    """An argument type: one of a few words."""

    def read(text: str) -> str:
        if text not in choices:
            near = did_you_mean(text, choices)
            raise RequestError(option, f"'{text}' must be one of {', '.join(choices)}{near}")
        return text

    return read


def tell(problems: Iterable[RequestError]) -> None:
    """Say each problem in a line on standard error."""
    for problem in problems:
        print(f"runner: {problem}", file=sys.stderr)  # noqa: T201
