"""Runs and sweeps in a folder, a line each, whatever state they are in."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runner.results.comparison.board_tables import cv_cell, test_cell
from runner.results.comparison.entry import Entry
from runner.results.comparison.find import Found
from runner.results.comparison.keys import value_of
from runner.results.comparison.ranking import Row, best_of, comparable, sweep_status
from runner.results.comparison.tables import Record, TextTable
from runner.results.run_directory import RunDirectory
from runner.results.verdict import duration

_SCORES = ("scoring", "cv_mean", "cv_std", "test", "test_low", "test_high")
_STATES = ("running", "completed", "interrupted", "failed")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Line:
    """A run, or a sweep with its jobs."""

    path: Path
    entries: tuple[Entry, ...]
    is_sweep: bool

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        statuses = [entry.status for entry in self.entries]
        return {state: statuses.count(state) for state in _STATES}

    @property
    def state(self) -> str:
        """The run's, or the sweep's as a whole."""
        return sweep_status(self.entries) if self.is_sweep else self.entries[0].status

    @property
    def error(self) -> str | None:
        return None if self.is_sweep else self.entries[0].error

    @property
    def n_fits(self) -> int | None:
        """Fits done so far, of runs that have not ended well; None where all have."""
        unfinished = [e for e in self.entries if e.status in ("running", "interrupted")]
        return sum(count_fits(entry.directory) for entry in unfinished) if unfinished else None

    @property
    def started(self) -> float:
        """When the first began, in seconds since 1970."""
        return min(_started(entry) for entry in self.entries)

    @property
    def total_s(self) -> float | None:
        """From the start to now, or to the last one's end; None where that is not known."""
        if self.counts["running"]:
            return time.time() - self.started
        if not self.is_sweep:
            return self.entries[0].total_s
        ends = [_started(entry) + entry.total_s for entry in self.entries if entry.total_s]
        return max(ends) - self.started if ends else None

    @property
    def best(self) -> Row | None:
        """The run, or a sweep's best job; None without scores, or where data differ."""
        ranked = [entry for entry in self.entries if entry.is_ranked]
        return Row((best_of(ranked),)) if len(comparable(ranked)) == 1 else None

    def names(self, group: str) -> str:
        """What was chosen from a group, by all jobs together."""
        return ", ".join(dict.fromkeys(getattr(entry, group) for entry in self.entries))


def newest_first(found: Iterable[tuple[Found, Sequence[Entry]]]) -> list[Line]:
    """Lines of what was found, by start."""
    lines = [Line(item.path, tuple(entries), item.is_sweep) for item, entries in found if entries]
    return sorted(lines, key=lambda line: line.started, reverse=True)


def count_fits(directory: RunDirectory) -> int:
    """Fits in a run's record, failed ones too: its lines, uninterpreted."""
    try:
        with directory.record.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""))
    except OSError:
        return 0


def when(seconds: float) -> str:
    """Local date and time, to the minute."""
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def listing_records(lines: Sequence[Line]) -> list[Record]:
    """Lines for tools; ``started`` is local time in ISO 8601, scores are the best job's."""
    return [
        {
            "kind": "sweep" if line.is_sweep else "run",
            "state": line.state,
            **{f"n_{state}": count for state, count in line.counts.items()},
            "n_fits": line.n_fits,
            **{group: line.names(group) for group in ("data", "model", "search")},
            **{name: value_of(line.best, name) if line.best else None for name in _SCORES},
            "started": datetime.fromtimestamp(line.started).astimezone().isoformat(),
            "total_s": line.total_s,
            "error": line.error,
            "path": str(line.path),
        }
        for line in lines
    ]


def listing_table(lines: Sequence[Line]) -> TextTable:
    """Lines for people."""
    header = ["state", "data", "model", "search", "CV", "test", "started", "took", "run"]
    rows = [
        [
            _state_text(line),
            *(line.names(group) for group in ("data", "model", "search")),
            cv_cell(line.best) if line.best else "–",
            test_cell(line.best) if line.best else "–",
            when(line.started),
            duration(line.total_s),
            str(line.path),
        ]
        for line in lines
    ]
    if any(line.error for line in lines):
        header.append("error")
        rows = [[*row, line.error or ""] for row, line in zip(rows, lines, strict=True)]
    return TextTable("", header, rows)


def _state_text(line: Line) -> str:
    state = line.state
    if line.is_sweep:
        counts = ", ".join(f"{count} {state}" for state, count in line.counts.items() if count)
        state = f"sweep of {len(line.entries)}: {counts}"
    return state if line.n_fits is None else f"{state}, {line.n_fits} fits"


def _started(entry: Entry) -> float:
    """By the record, else by the folder that Hydra makes first."""
    if entry.started is not None:
        return entry.started
    hydra = entry.directory.hydra
    return os.stat(hydra if hydra.exists() else entry.path).st_mtime
