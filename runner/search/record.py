"""The record of fits: one line when a fit of a candidate on a fold begins, one when it ends."""

from __future__ import annotations

import bisect
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import time
import traceback
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from runner.secrets import mask

Status = Literal["started", "completed", "failed"]


def candidate_id(leaves: Mapping[str, Any]) -> str:
    """Name a candidate by the values of all its hyper-parameters."""
    text = json.dumps(dict(leaves), sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class RecordWriteError(BaseException):
    """The record can't be written, so the search must stop.

    Not an Exception: scikit-learn would take it for a failed fit and go on.
    """


def append_line(path: Path, line: bytes) -> None:
    """Write a line in a single append, so that several processes can share the file.

    Raises
    ------
    RecordWriteError
        When the file can't be written, or the disk is full.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # On one host an append is one anyway; from two, over NFS, only under a lock.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A line that a crash cut short must not swallow this one.
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            line = b"\n" + line if torn else line
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RecordWriteError(f"can't write {path}: {error.strerror or error}") from None


@dataclass(frozen=True)
class FitEntry:
    """One fit of one candidate on one fold.

    ``fold`` is the fingerprint of the training rows, ``rows`` of the rows scored; ``scores`` maps
    scorer names to scores, empty unless the fit is completed; ``error`` is the message and
    ``trace`` the traceback of a failed one; ``notes`` what a user should know of how it was done;
    ``at`` is when it was written, in seconds since 1970; ``attempt`` counts how often the run had
    been resumed.
    """

    candidate: str
    fold: str
    params: dict[str, Any]
    status: Status
    scores: dict[str, float]
    fit_s: float
    rows: str = ""
    error: str = ""
    trace: str = ""
    notes: list[str] = field(default_factory=list)
    attempt: int = 0
    at: float = field(default_factory=time.time, compare=False)

    @classmethod
    def started(cls, candidate: str, leaves: Mapping[str, Any], fold: str) -> Self:
        return cls(candidate, fold, mask(dict(leaves)), "started", {}, 0.0)

    @classmethod
    def completed(
        cls,
        candidate: str,
        leaves: Mapping[str, Any],
        fold: str,
        rows: str,
        scores: Mapping[str, float],
        fit_s: float,
        notes: list[str],
    ) -> Self:
        return cls(
            candidate,
            fold,
            mask(dict(leaves)),
            "completed",
            dict(scores),
            fit_s,
            rows,
            notes=notes,
        )

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


@dataclass(frozen=True)
class FitRecord:
    """An append-only file of fits; each line is a checksum (CRC-32) and a JSON object.

    Parameters
    ----------
    path
        The file.
    attempt
        How often the run has been resumed. Completed fits are remembered for good; failed and dead
        ones within an attempt, so that resuming tries them again.
    """

    path: Path
    attempt: int = 0

    def append(self, entry: FitEntry) -> None:
        """Write one entry in a single append, so that several processes can share the file.

        Raises
        ------
        RecordWriteError
            When the file can't be written, or the disk is full.
        """
        text = json.dumps(asdict(replace(entry, attempt=self.attempt)), default=repr).encode()
        append_line(self.path, b"%08x %s\n" % (zlib.crc32(text), text))

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
        """Return the end of a candidate's fit on a fold: completed, or failed in this attempt."""
        entry = self._latest().get((candidate, fold))
        return None if entry is None or entry.status == "started" else entry

    def unfinished(self) -> list[FitEntry]:
        """Fits of this attempt that have begun and not ended."""
        return [entry for entry in self._latest().values() if entry.status == "started"]

    def ended(self) -> list[FitEntry]:
        """Fits that are completed, or failed in this attempt."""
        return [entry for entry in self._latest().values() if entry.status != "started"]

    def failed(self) -> list[FitEntry]:
        """Fits that failed in this attempt."""
        return [entry for entry in self._latest().values() if entry.status == "failed"]

    # Asked by every fit, so none of these looks at all of them.

    def n_ended(self) -> int:
        """How many fits are completed, or failed in this attempt."""
        index = self._index()
        return len(index.entries) - index.n_started

    def n_failed(self) -> int:
        """How many fits failed in this attempt."""
        return self._index().n_failed

    def usual_fit_s(self, at_least: int = 1) -> float | None:
        """Median of what completed fits took, in seconds; None of fewer than `at_least`."""
        seconds = self._index().seconds
        return seconds[(len(seconds) - 1) // 2] if len(seconds) >= at_least else None

    def _latest(self) -> dict[tuple[str, str], FitEntry]:
        return self._index().entries

    def _index(self) -> _Index:
        index = _indexes.setdefault((self.path, self.attempt), _Index(self))
        index.update()
        return index


class _Index:
    """The latest entry of each (candidate, fold), read on as the file grows.

    ``seconds`` are those of completed fits, ascending.
    """

    def __init__(self, record: FitRecord) -> None:
        self._record = record
        self._begin(b"")

    def _begin(self, checksum: bytes) -> None:
        self._first, self._read_to = checksum, 0
        self.entries: dict[tuple[str, str], FitEntry] = {}
        self.seconds: list[float] = []
        self.n_started = 0
        self.n_failed = 0

    def update(self) -> None:
        path = self._record.path
        if path.exists() and path.stat().st_size != self._read_to:
            with path.open("rb") as file:
                first = file.read(8)
                if first != self._first:
                    # Another file of the same name, in a process that serves several runs.
                    self._begin(first)
                file.seek(self._read_to)
                for line in file:
                    content = _read(line)
                    if content.is_damaged and not line.endswith(b"\n"):
                        break  # being written
                    self._read_to += len(line)
                    for entry in content.entries:
                        self._add(entry)

    def _add(self, entry: FitEntry) -> None:
        key = (entry.candidate, entry.fold)
        known = self.entries.get(key)
        done = known is not None and known.status == "completed"
        if entry.status == "completed" or (entry.attempt == self._record.attempt and not done):
            if known is not None:
                self._count(known, -1)
            self._count(entry, 1)
            self.entries[key] = entry

    def _count(self, entry: FitEntry, change: int) -> None:
        if entry.status == "started":
            self.n_started += change
        elif entry.status == "failed":
            self.n_failed += change
        elif change > 0:
            bisect.insort(self.seconds, entry.fit_s)
        else:
            self.seconds.remove(entry.fit_s)


_indexes: dict[tuple[Path, int], _Index] = {}


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
