"""Leaderboards as tables for people, with what can be said about the winner."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from runner.results.comparison.board import DEFAULT_BY, Board, path_from
from runner.results.comparison.keys import differing_names, differing_overrides, value_of
from runner.results.comparison.lead import METHOD
from runner.results.comparison.ranking import Row
from runner.results.comparison.tables import TextTable
from runner.results.verdict import duration, number, p_value_text, parameter

Cell = Callable[[Row], str]
_SHOWN = {
    *("rank", "cv_mean", "cv_std", "cv_spread", "test", "test_spread", "test_low", "test_high"),
    *("total_s", "status", "error", "path", "scoring"),
}
"""Facts that have a place in every table that needs them."""


def board_tables(
    boards: Sequence[Board], *, by: str = DEFAULT_BY, by_seed: bool = False, short: bool = False
) -> list[TextTable]:
    """Tables for people, one for each group, with what can be said about the winner's lead.

    Parameters
    ----------
    short
        Name runs below the folder that all of a table have in common, and that in the title.
    """
    titles = [_title(board) for board in boards]
    tables = []
    for board, title in zip(boards, titles, strict=True):
        data = board.group.rows[0].first.data_summary
        if data is not None and titles.count(title) > 1:
            title += f", fingerprint {data.fingerprint[:8]}"
        tables.append(_table(board, title, by, by_seed, short))
    if len(tables) > 1:
        sentence = "Runs of different data or scoring are not ranked against each other."
        tables[-1] = replace(tables[-1], notes=[*tables[-1].notes, sentence])
    return tables


def lead_sentence(board: Board) -> str | None:
    """Say whether the winner's lead is more than noise; None where there is no other."""
    lead = board.lead
    if lead is None:
        return None
    if lead.difference == 0:
        return "The first two have the same score."
    ahead = f"1 leads 2 by {number(lead.difference)}"
    if lead.p_value is None:
        return f"{ahead}; whether that is noise can't be tested: {lead.problem}."
    finding = "more than noise" if lead.is_significant else "within noise"
    return (
        f"{ahead}: {finding}, p {p_value_text(lead.p_value)}, {METHOD} over the same "
        f"{lead.n_folds} folds."
    )


def _table(board: Board, title: str, by: str, by_seed: bool, short: bool) -> TextTable:
    rows = board.group.rows
    folder = _common_folder(rows) if short and not by_seed else None
    columns = _columns(board, by, by_seed, folder)
    n_hidden = len(rows) - len(board.rows)
    sentences = [f"{n_hidden} more." if n_hidden else None, lead_sentence(board)]
    if not by_seed and len({row.first.seed for row in rows if row.rank}) > 1:
        sentences.append(
            "Seeds differ, and with them rows and folds; --group seed compares means over seeds."
        )
    return TextTable(
        title if folder is None else f"{title}, in {folder}",
        [header for header, _ in columns],
        [[cell(row) for _, cell in columns] for row in board.rows],
        [sentence for sentence in sentences if sentence],
    )


def _columns(board: Board, by: str, by_seed: bool, folder: Path | None) -> list[tuple[str, Cell]]:
    rows = board.group.rows
    scoring = rows[0].first.scoring or "score"
    keys = [*differing_names(rows, by_seed), *differing_overrides(rows)]
    if by not in _SHOWN:
        keys = list(dict.fromkeys([*keys, by]))
    columns: list[tuple[str, Cell]] = [
        ("", lambda row: str(row.rank or "–")),
        *((key, _value_cell(key)) for key in keys),
        (f"CV {scoring}", _cv_over_seeds if by_seed else cv_cell),
        (f"test {scoring}", _test_over_seeds if by_seed else test_cell),
        ("took", lambda row: duration(row.total_s)),
    ]
    if by_seed:
        columns.append(("seeds", lambda row: ", ".join(map(str, row.seeds))))
    if any(not entry.is_ranked for row in rows for entry in row.entries):
        columns.append(("status", _status))
    if not by_seed:
        columns.append(("run", lambda row: path_from(row.first, folder)))
    if any(row.first.error for row in rows):
        columns.append(("error", lambda row: row.first.error or ""))
    return columns


def _value_cell(key: str) -> Cell:
    def cell(row: Row) -> str:
        value = value_of(row, key)
        return "" if value is None else parameter(value)

    return cell


def cv_cell(row: Row) -> str:
    return _plus_minus(row.cv_mean, row.first.cv_std)


def test_cell(row: Row) -> str:
    interval = row.first.test_ci95
    if row.test is None or interval is None:
        return number(row.test)
    return f"{number(row.test)} [{number(interval[0])}, {number(interval[1])}]"


def _cv_over_seeds(row: Row) -> str:
    return _plus_minus(row.cv_mean, row.cv_spread)


def _test_over_seeds(row: Row) -> str:
    return _plus_minus(row.test, row.test_spread)


def _plus_minus(mean: float | None, spread: float | None) -> str:
    return number(mean) if spread is None else f"{number(mean)} ± {number(spread)}"


def _status(row: Row) -> str:
    if len(row.entries) == 1:
        return row.first.status
    statuses = [entry.status for entry in row.entries]
    counts = {status: statuses.count(status) for status in statuses}
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _common_folder(rows: Sequence[Row]) -> Path | None:
    parents = [row.first.path.parent for row in rows]
    if len({parent.is_absolute() for parent in parents}) > 1:
        return None
    folder = os.path.commonpath(parents)
    return Path(folder) if folder else None


def _title(board: Board) -> str:
    first = board.group.rows[0].first
    data = first.data_summary
    sizes = [f"{data.n_train} training and {data.n_test} test rows"] if data else []
    return ", ".join([first.data or "unknown data", first.scoring or "no score", *sizes])
