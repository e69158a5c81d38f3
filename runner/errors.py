"""What can go wrong, as the person at the keyboard should read it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator

_LONGEST = 2000


class RequestError(Exception):
    """The request can't be run as written; shown as one line, exit code 2.

    Parameters
    ----------
    path
        The config path at fault (``training.epochs``), or None when there is none.
    problem
        What is wrong: the value that was given and what is allowed.
    """

    def __init__(self, path: str | None, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(_one_line(f"{path}: {problem}" if path else problem))

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback."""
        return [f"runner: {self}"]

    def __reduce__(self) -> tuple[type[RequestError], tuple[str | None, str]]:
        return type(self), (self.path, self.problem)


class ExperimentError(Exception):
    """The experiment failed while running; shown as one line, exit code 1."""


@contextlib.contextmanager
def about(path: str | None) -> Iterator[None]:
    """Say of what is refused in the block that `path` is at fault, whatever it named itself."""
    try:
        yield
    except RequestError as error:
        raise RequestError(path, error.problem) from None


def _one_line(text: str) -> str:
    """Spell out line breaks and what else a terminal would act on; cut what no one would read."""
    spelled = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text[:_LONGEST]
    )
    return spelled if len(text) <= _LONGEST else f"{spelled}…"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Say which of `names` is nearest to `name`, as the end of a sentence, or say nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def listing(names: Iterable[object], most: int = 12) -> str:
    """Write `names` as a short comma-separated list."""
    items = [str(name) for name in names]
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown}, … ({len(items)} in all)"
