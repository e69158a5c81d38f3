"""Several objectives at once: the jobs that no other one beats in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runner.results.comparison.board import Board, path_from
from runner.results.comparison.entry import Entry
from runner.results.comparison.keys import differing_names, differing_overrides, value_of
from runner.results.comparison.ranking import Row
from runner.results.comparison.tables import Record, TextTable
from runner.results.verdict import number, parameter

FIT_S = "fit_s"
Direction = Literal["maximize", "minimize"]
DIRECTIONS: tuple[Direction, ...] = ("maximize", "minimize")


@dataclass(frozen=True)
class Objective:
    """What jobs are judged by: a scorer's cross-validated mean, or ``fit_s``.

    ``fit_s`` is the mean time of a fit and its scoring in cross-validation, in seconds.
    """

    name: str
    direction: Direction

    def value(self, entry: Entry) -> float | None:
        return entry.fit_s if self.name == FIT_S else entry.cv.get(self.name)


def pareto_front(entries: Sequence[Entry], objectives: Sequence[Objective]) -> list[Entry]:
    """The runs that no other one dominates, best in the first objective first.

    A run dominates another when it is at least as good in every objective and better in one. Runs
    that lack an objective are left out; of equal ones all stay.
    """
    points = {i: _point(entry, objectives) for i, entry in enumerate(entries)}
    known = {i: point for i, point in points.items() if None not in point}
    front = [
        i
        for i, point in known.items()
        if not any(_dominates(other, point) for other in known.values())
    ]
    return [entries[i] for i in sorted(front, key=lambda i: known[i], reverse=True)]


def _point(entry: Entry, objectives: Sequence[Objective]) -> tuple[Any, ...]:
    """The run's values, so signed that more is better."""
    values = [(objective, objective.value(entry)) for objective in objectives]
    return tuple(
        value if value is None or objective.direction == "maximize" else -value
        for objective, value in values
    )


def _dominates(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def front_of(board: Board, objectives: Sequence[Objective]) -> list[Entry]:
    """The Pareto front of a leaderboard; none where there are not several objectives."""
    entries = [entry for row in board.group.rows for entry in row.entries]
    return pareto_front(entries, objectives) if len(objectives) > 1 else []


def front_records(boards: Sequence[Board], objectives: Sequence[Objective]) -> list[Record]:
    """The Pareto front of each leaderboard, for ``sweep.json``."""
    return [
        {
            "group": board.group.number,
            "number": entry.number,
            "overrides": entry.overrides,
            "values": {objective.name: objective.value(entry) for objective in objectives},
        }
        for board in boards
        for entry in front_of(board, objectives)
    ]


def objective_columns(boards: Sequence[Board], objectives: Sequence[Objective]) -> list[Record]:
    """Columns for each row of leaderboards: every objective, and whether it is on the front."""
    if not objectives:
        return [{} for board in boards for _ in board.rows]
    return [
        {
            **{objective.name: objective.value(row.first) for objective in objectives},
            "pareto": row.first in front,
        }
        for board, front in ((board, front_of(board, objectives)) for board in boards)
        for row in board.rows
    ]


def front_table(board: Board, objectives: Sequence[Objective], folder: Path) -> TextTable:
    """The Pareto front of a leaderboard, for people."""
    rows = [Row((entry,)) for entry in front_of(board, objectives)]
    keys = [*differing_names(board.group.rows), *differing_overrides(board.group.rows)]
    wanted = ", ".join(f"{o.name} ({o.direction})" for o in objectives)
    return TextTable(
        f"Pareto front of {wanted}: {len(rows)} of {len(board.group.rows)} jobs",
        [*keys, *(objective.name for objective in objectives), "run"],
        [
            [
                *(_text(value_of(row, key)) for key in keys),
                *(number(objective.value(row.first)) for objective in objectives),
                path_from(row.first, folder),
            ]
            for row in rows
        ],
    )


def _text(value: object) -> str:
    return "" if value is None else parameter(value)
