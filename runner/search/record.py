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

    ``fold`` is the fingerprint of the training rows; ``scores`` maps scorer names to scores, empty
    for a failed fit; ``error`` is the message and ``trace`` the traceback of a failed one; ``at``
    is when it ended, in seconds since 1970.
    """

    candidate: str
    fold: str
    params: dict[str, Any]
    status: str
    scores: dict[str, float]
    fit_s: float
    error: str = ""
    trace: str = ""
    at: float = field(default_factory=time.time, compare=False)

    @classmethod
    def completed(
        cls, leaves: Mapping[str, Any], fold: str, scores: Mapping[str, float], fit_s: float
    ) -> Self:
        return cls(candidate_id(leaves), fold, dict(leaves), "completed", dict(scores), fit_s)

    @classmethod
    def failed(cls, leaves: Mapping[str, Any], fold: str, error: BaseException) -> Self:
        return cls(
            candidate_id(leaves),
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
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def __iter__(self) -> Iterator[FitEntry]:
        """Read the entries in the order written; damaged lines are passed over."""
        if not self.path.exists():
            return
        with self.path.open("rb") as lines:
            for line in lines:
                checksum, _, text = line.rstrip(b"\n").partition(b" ")
                if line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(text):
                    yield FitEntry(**json.loads(text))
