"""The record of finished fits: one line for each (candidate, fold), written when it is done."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from runner.secrets import mask


def candidate_id(leaves: Mapping[str, Any]) -> str:
    """Name a candidate by the values of all its hyper-parameters."""
    text = json.dumps(dict(leaves), sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class FitEntry:
    """One fit of one candidate on one fold.

    ``fold`` is the fingerprint of the training rows, ``rows`` of the rows scored; ``scores`` maps
    scorer names to scores, empty for a failed fit; ``error`` is the message and ``trace`` the
    traceback of a failed one; ``at`` is when it ended, in seconds since 1970.
    """

    candidate: str
    fold: str
    params: dict[str, Any]
    status: str
    scores: dict[str, float]
    fit_s: float
    rows: str = ""
    error: str = ""
    trace: str = ""
    at: float = field(default_factory=time.time, compare=False)

    @classmethod
    def completed(
        cls,
        candidate: str,
        leaves: Mapping[str, Any],
        fold: str,
        rows: str,
        scores: Mapping[str, float],
        fit_s: float,
    ) -> Self:
        return cls(candidate, fold, mask(dict(leaves)), "completed", dict(scores), fit_s, rows)

    @classmethod
    def failed(
        cls, candidate: str, leaves: Mapping[str, Any], fold: str, error: BaseException
    ) -> Self:
        return cls(
            candidate,
            fold,
            mask(dict(leaves)),
            "failed",
            {},
            0.0,
            error=mask(f"{type(error).__name__}: {error}"),
            trace=mask("".join(traceback.format_exception(error))),
        )


_ENTRY = TypeAdapter(FitEntry)
_START = re.compile(rb"[0-9a-f]{8} \{")


class FitRecord:
    """An append-only file of fits; each line is a checksum (CRC-32) and a JSON object."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, entry: FitEntry) -> None:
        """Write one entry in a single append, so that several processes can share the file."""
        text = json.dumps(asdict(entry), default=repr).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # A line that a crash cut short must not swallow this one.
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" + line if torn else line)
        finally:
            os.close(descriptor)

    def __iter__(self) -> Iterator[FitEntry]:
        """Read the entries in the order written; damaged lines are passed over."""
        for line in self._lines():
            yield from line.entries

    def damaged_lines(self) -> list[int]:
        """Numbers, from 1, of the lines that are not as they were written."""
        lines = enumerate(self._lines(), start=1)
        return [number for number, line in lines if line.is_damaged]

    def _lines(self) -> Iterator[_Line]:
        if not self.path.exists():
            return
        with self.path.open("rb") as lines:
            yield from map(_read, lines)

    def find(self, candidate: str, fold: str) -> FitEntry | None:
        """Return the completed fit of a candidate on a fold, if it was ever recorded."""
        found = _indexes.setdefault(str(self.path.absolute()), _Index(self.path))
        return found.updated().get((candidate, fold))


class _Index:
    """The completed entries of a record by candidate and fold, read on as the file grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = 0
        self._entries: dict[tuple[str, str], FitEntry] = {}

    def updated(self) -> dict[tuple[str, str], FitEntry]:
        if self._path.exists() and self._path.stat().st_size > self._read_to:
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    content = _read(line)
                    if content.is_damaged and not line.endswith(b"\n"):
                        break  # being written
                    self._read_to += len(line)
                    for entry in content.entries:
                        if entry.status == "completed":
                            self._entries[entry.candidate, entry.fold] = entry
        return self._entries


_indexes: dict[str, _Index] = {}


@dataclass(frozen=True)
class _Line:
    """What a line holds: one entry, or of a damaged one those that can be told to be whole."""

    entries: list[FitEntry]
    is_damaged: bool = False


def _read(line: bytes) -> _Line:
    whole = _parse(line.removesuffix(b"\n"))
    if whole is not None:
        return _Line([whole])
    # Where it is the end of a line that is damaged, the next entry follows on the same line.
    starts = [match.start() for match in _START.finditer(line)]
    found = (_parse(line[start : end - 1]) for start, end in pairwise([*starts, len(line)]))
    return _Line([entry for entry in found if entry is not None], is_damaged=True)


def _parse(text: bytes) -> FitEntry | None:
    checksum, _, content = text.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(content):
        return None
    try:
        return _ENTRY.validate_python(json.loads(content))
    except (ValueError, RecursionError):  # not written by this version, whatever its checksum
        return None
