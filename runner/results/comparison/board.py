"""The leaderboard: ranked runs and the winner's lead, and its rows for tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.results.comparison.entry import Entry
from runner.results.comparison.keys import differing_overrides, sorted_by, value_of
from runner.results.comparison.lead import Lead, find_lead
from runner.results.comparison.ranking import Group, Row, rank_groups
from runner.results.comparison.tables import Record

DEFAULT_BY = "cv_mean"

_SINGLE = (
    *("rank", "status", "data", "model", "search", "seed", "scoring", "cv_mean", "cv_std"),
    *("test", "test_low", "test_high", "total_s"),
)
_REPEATED = (
    *("rank", "status", "data", "model", "search", "scoring", "cv_mean", "cv_spread"),
    *("test", "test_spread", "total_s"),
)


@dataclass(frozen=True)
class Board:
    """One group's leaderboard; ``rows`` are those to show, in that order."""

    group: Group
    lead: Lead | None
    rows: tuple[Row, ...]


def make_boards(
    entries: Sequence[Entry], *, by: str = DEFAULT_BY, by_seed: bool = False, top: int | None = None
) -> list[Board]:
    """Rank runs within what is comparable.

    Parameters
    ----------
    by
        What the rows shown are sorted by; ranks and lead are by cross-validated score all the
        same.
    by_seed
        Whether runs that differ only in seed share a row.
    top
        How many rows of each group to show.
    """
    boards = []
    for group in rank_groups(entries, by_seed):
        rows = group.rows if by == DEFAULT_BY else sorted_by(group.rows, by)
        boards.append(Board(group, find_lead(group.rows), tuple(rows[:top])))
    return boards


def board_records(
    boards: Sequence[Board], by_seed: bool = False, base: Path | None = None
) -> list[Record]:
    """Rows for tools: the fixed columns, then one for each override in which the runs differ.

    ``lead`` and ``p_value`` are the winner's, over the next.

    Parameters
    ----------
    base
        The folder that paths are relative to; None leaves them as they are.
    """
    keys = differing_overrides([row for board in boards for row in board.group.rows])
    return [
        {
            "group": board.group.number,
            **{name: value_of(row, name) for name in (_REPEATED if by_seed else _SINGLE)},
            **_lead_record(row, board),
            **(_seeds_record(row) if by_seed else {}),
            "error": row.first.error,
            **({} if by_seed else {"path": path_from(row.first, base)}),
            **{key: value_of(row, key) for key in keys},
        }
        for board in boards
        for row in board.rows
    ]


def path_from(entry: Entry, base: Path | None) -> str:
    """A run's path, below `base` where there is one."""
    return str(entry.path) if base is None else os.path.relpath(entry.path, base)


def _lead_record(row: Row, board: Board) -> Record:
    lead = board.lead if row is board.group.rows[0] else None
    return {
        "lead": lead.difference if lead else None,
        "p_value": lead.p_value if lead else None,
    }


def _seeds_record(row: Row) -> Record:
    return {
        "n": len(row.ranked),
        "n_without_score": len(row.entries) - len(row.ranked),
        "seeds": " ".join(str(seed) for seed in row.seeds),
    }
