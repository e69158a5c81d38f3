"""The record of finished fits: one line for each (candidate, fold), written when it is done."""

from __future__ import annotations

import hashlib
import json
import os
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self


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
        return cls(candidate, fold, dict(leaves), "completed", dict(scores), fit_s, rows)

    @classmethod
    def failed(
        cls, candidate: str, leaves: Mapping[str, Any], fold: str, error: BaseException
    ) -> Self:
        return cls(
            candidate,
            fold,
            dict(leaves),
            "failed",
            {},
            0.0,
            error=f"{type(error).__name__}: {error}",
            trace="".join(traceback.format_exception(error)),
        )


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
        if not self.path.exists():
            return
        with self.path.open("rb") as lines:
            for line in lines:
                entry = _read(line)
                if entry is not None:
                    yield entry

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
                    if not line.endswith(b"\n"):
                        break  # being written
                    self._read_to += len(line)
                    entry = _read(line)
                    if entry is not None and entry.status == "completed":
                        self._entries[entry.candidate, entry.fold] = entry
        return self._entries


_indexes: dict[str, _Index] = {}


def _read(line: bytes) -> FitEntry | None:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    return FitEntry(**json.loads(text))
