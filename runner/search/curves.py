"""Learning curves of networks, ``curves.jsonl``: a JSON object per fit, written as it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from runner.results.jsonable import to_json
from runner.search.record import append_line

FILE = "curves.jsonl"

Refit = Literal["best", "baseline"]


@dataclass(frozen=True)
class FitCurves:
    """The curves of one fit.

    ``candidate`` and ``fold`` name it as in the record of fits; ``curves`` maps a metric (``loss``,
    ``val_loss``) to its value after each epoch, None where that is no finite number. ``refit`` says
    which of the two configurations it was that are fitted on all training rows; None for a fold's.
    """

    candidate: str
    fold: str
    curves: dict[str, list[float | None]]
    refit: Refit | None = None


_FIT_CURVES = TypeAdapter(FitCurves)


def append_curves(
    path: Path,
    candidate: str,
    fold: str,
    curves: Mapping[str, Sequence[float]],
    refit: Refit | None = None,
) -> None:
    """Write the curves of a fit; nothing where it has none.

    Raises
    ------
    RecordWriteError
        When the file can't be written, or the disk is full.
    """
    if curves:
        # Nine digits tell all numbers of single precision apart.
        short: dict[str, list[float | None]] = {
            name: [float(f"{value:.9g}") for value in values] for name, values in curves.items()
        }
        line = to_json(asdict(FitCurves(candidate, fold, short, refit)))
        append_line(path, line.encode() + b"\n")


def read_curves(path: Path) -> Iterator[FitCurves]:
    """Read all curves in the order written; lines that are damaged are passed over."""
    if path.exists():
        with path.open("rb") as lines:
            for line in lines:
                try:
                    yield _FIT_CURVES.validate_python(json.loads(line))
                except (ValueError, RecursionError, ValidationError):
                    continue
