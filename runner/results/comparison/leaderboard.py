"""The leaderboard that a sweep leaves in its folder: ``leaderboard.csv`` and ``sweep.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.errors import RequestError
from runner.results.atomic import write_text
from runner.results.comparison.board import Board, board_records, make_boards, path_from
from runner.results.comparison.entry import Entry, read_entry
from runner.results.comparison.find import find_jobs
from runner.results.comparison.lead import METHOD
from runner.results.comparison.pareto import Objective, front_records, objective_columns
from runner.results.comparison.ranking import best_of, sweep_status
from runner.results.comparison.tables import Record, to_csv
from runner.results.jsonable import to_json
from runner.results.run_directory import RunDirectory

SCHEMA = 1
CSV, JSON = "leaderboard.csv", "sweep.json"


def write_leaderboard(
    folder: Path, status: str | None = None, objectives: Sequence[Objective] = ()
) -> list[Board]:
    """Write a sweep's leaderboard from its jobs' run directories, each file atomically.

    Parameters
    ----------
    folder
        The sweep's folder.
    status
        The sweep's, where the caller knows better than its jobs: jobs that are still to come
        leave no trace.
    objectives
        What else jobs are judged by; with several of them, which jobs no other one beats.

    Returns
    -------
    list of Board
        What was written, for a table.

    Raises
    ------
    OSError
        When the folder can't be written.
    """
    entries = [_read(job) for job in find_jobs(folder)]
    boards = make_boards(entries)
    repeats = make_boards(entries, by_seed=True)
    columns = objective_columns(boards, objectives)
    rows = zip(board_records(boards, base=folder), columns, strict=True)
    write_text(folder / CSV, to_csv([{**row, **more} for row, more in rows]))
    winners = [_winner(board) for board in repeats if board.group.rows[0].rank is not None]
    record = {
        "schema": SCHEMA,
        "status": status or sweep_status(entries),
        "jobs": [_job(entry, folder) for entry in entries],
        "groups": [group for board in repeats for group in _groups(board)],
        "winner": winners[0] if len(winners) == 1 else None,
        "winners": winners,
        "objectives": [asdict(objective) for objective in objectives],
        "pareto": front_records(boards, objectives),
    }
    write_text(folder / JSON, to_json(record, indent=2) + "\n")
    return boards


def _read(job: RunDirectory) -> Entry:
    try:
        return read_entry(job)
    except RequestError as error:
        return Entry(job, "failed", error=str(error))


def _job(entry: Entry, folder: Path) -> Record:
    return {
        "number": entry.number,
        "overrides": entry.overrides,
        "status": entry.status,
        "cv_mean": entry.cv_mean,
        "cv_std": entry.cv_std,
        "test": entry.test,
        "test_ci95": entry.test_ci95,
        "total_s": entry.total_s,
        "error": entry.error,
        "directory": path_from(entry, folder),
    }


def _groups(board: Board) -> list[Record]:
    """Jobs that differ only in seed, the best first."""
    return [
        {
            "group": board.group.number,
            "overrides": [text for text in row.first.overrides if text.partition("=")[0] != "seed"],
            "n": len(row.ranked),
            "cv_mean": row.cv_mean,
            "cv_spread": row.cv_spread,
            "numbers": [entry.number for entry in row.entries],
        }
        for row in board.group.rows
    ]


def _winner(board: Board) -> dict[str, Any]:
    """The best job of the best seeds' group; lead and test are those of the group's mean."""
    row, lead = board.group.rows[0], board.lead
    best = best_of(row.ranked)
    return {
        "group": board.group.number,
        "number": best.number,
        "lead": lead.difference if lead else None,
        "p_value": lead.p_value if lead else None,
        "method": METHOD if lead and lead.p_value is not None else lead and lead.problem,
    }
