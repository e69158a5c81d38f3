"""The report of a sweep: who leads, and what each choice did to the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from runner.results.comparison.board import Board, make_boards, path_from
from runner.results.comparison.board_tables import board_tables, cv_cell, lead_sentence, test_cell
from runner.results.comparison.entry import Entry
from runner.results.comparison.keys import differing_names, differing_overrides, value_of
from runner.results.comparison.ranking import Row, best_of
from runner.results.report import search
from runner.results.report.figure import is_missing
from runner.results.report.importance import FEWEST
from runner.results.report.page import (
    REPORT,
    Cell,
    Page,
    Plot,
    Section,
    Table,
    make_page,
    write_page,
)
from runner.results.report.pareto import pareto_plots
from runner.results.report.search_sections import parameters, search_sections
from runner.results.verdict import duration, number, parameter


def write_sweep_report(folder: Path, boards: Sequence[Board], command: str) -> None:
    """Write ``report.html`` and ``plots/`` into a sweep's folder.

    Parameters
    ----------
    folder
        The sweep's, with the leaderboard that was written before.
    boards
        Its leaderboards, a row for each job.
    command
        The line that runs it again.

    Raises
    ------
    OSError
        When the folder can't be written.
    """
    write_page(folder, sweep_page(folder, boards, command))


def sweep_page(folder: Path, boards: Sequence[Board], command: str) -> Page:
    entries = [entry for board in boards for row in board.group.rows for entry in row.entries]
    counts = pd.Series([entry.status for entry in entries], dtype=object).value_counts()
    # As its winners are: seeds of the same choices count as one.
    repeats = make_boards(entries, by_seed=True)
    return make_page(
        title=f"Sweep {folder.name}",
        subtitle=", ".join(f"{count} {status}" for status, count in counts.items()),
        verdict=" ".join(_winner(board, len(boards) > 1) for board in repeats) or "No job was run.",
        note="",
        sections=[
            *(section for board in boards for section in _board_sections(board, boards, folder)),
            _means_over_seeds(entries, repeats),
            Section("Pareto front", plots=list(pareto_plots(folder))),
            Section("Run it again", commands=[("The whole sweep:", command)]),
        ],
    )


def _winner(board: Board, is_one_of_many: bool) -> str:
    first = board.group.rows[0]
    if first.rank is None:
        return f"{_about(board)}: no job has a score."
    best = best_of(first.ranked)
    keys = [key for key in _keys(board) if key != "seed"]
    given = {key: _given(first, key) for key in keys}
    choices = ", ".join(f"{k}={_text(v)}" for k, v in given.items() if not is_missing(v))
    who = f"{choices} (job {best.number})" if choices else f"job {best.number}"
    where = f"On {_about(board)}: best" if is_one_of_many else "Best"
    if len(first.ranked) > 1:
        scores = f"{number(first.cv_mean)} ± {number(first.cv_spread)} cross-validated, "
        scores += f"{number(first.test)} on test rows, over {len(first.ranked)} seeds"
    else:
        scores = f"{cv_cell(first)} cross-validated, {test_cell(first)} on test rows"
    said = f"{where} is {who}: {best.scoring} {scores}."
    return " ".join([said, *filter(None, [lead_sentence(board)])])


def _board_sections(board: Board, boards: Sequence[Board], folder: Path) -> Iterator[Section]:
    """A leaderboard, and what each choice did; of one board among several with its data's name."""
    suffix = f": {_about(board)}" if len(boards) > 1 else ""
    prefix = f"{board.group.number}-" if len(boards) > 1 else ""
    keys = _keys(board)
    yield Section(f"Leaderboard{suffix}", tables=[_leaderboard(board, keys, folder)])
    trials = as_trials(board, keys)
    if trials["mean_test_score"].isna().all():
        return
    # Few jobs are a comparison rather than a search.
    sections = (
        [parameters(trials, search.varied_paths(trials), unit="job")]
        if len(trials) < FEWEST
        else search_sections(trials, unit="job")
    )
    for section in sections:
        plots = [
            Plot(f"{prefix}{plot.name}", plot.title, plot.figure, plot.note, plot.is_wide)
            for plot in section.plots
        ]
        yield Section(f"{section.title}{suffix}", section.note, plots=plots)
    if trials["mean_test_score"].notna().sum() > 1:
        seconds = {row.first.number: row.total_s for row in board.group.rows}
        figure = search.score_by_time(trials, pd.Series(seconds, dtype=float))
        plots = [Plot(f"{prefix}score-by-time", "Score against duration", figure)]
        yield Section(f"Time{suffix}", plots=plots)


def as_trials(board: Board, keys: Sequence[str]) -> pd.DataFrame:
    """A sweep's jobs as a table of trials, by their numbers; those without an end left out."""
    rows = [row for row in board.group.rows if row.rank is not None or row.first.status == "failed"]
    rows = sorted(rows, key=lambda row: row.first.number or 0)
    table = pd.DataFrame(
        {
            "rank": [row.rank or len(rows) for row in rows],
            "mean_test_score": pd.Series([row.cv_mean for row in rows], dtype=float),
            "status": ["failed" if row.rank is None else "completed" for row in rows],
        }
    )
    for key in keys:
        values = [_given(row, key) for row in rows]
        table[key] = pd.Series(values, dtype=object)
    return table.set_index(np.array([row.first.number or 0 for row in rows], dtype=int))


def _given(row: Row, key: str) -> Any:
    """What a job was given; NaN where it was not, as a table of trials has it."""
    value = value_of(row, key)
    if key == "seed":
        return str(value)  # a name rather than a number
    is_given = value is not None or key in row.first.overridden or key in row.first.params
    return value if is_given else np.nan


def _keys(board: Board) -> list[str]:
    """What the jobs differ in."""
    rows = board.group.rows
    names = [name for name in differing_names(rows) if len({value_of(r, name) for r in rows}) > 1]
    return [*names, *differing_overrides(rows)]


def _leaderboard(board: Board, keys: Sequence[str], folder: Path) -> Table:
    rows = board.group.rows
    scoring = rows[0].first.scoring or "score"
    columns: list[tuple[str, Callable[[Row], Cell]]] = [
        ("rank", lambda row: Cell(str(row.rank or "–"))),
        ("job", lambda row: _link(row.first, folder)),
        *((key, _value_cell(key)) for key in keys),
        (f"CV {scoring}", lambda row: Cell(cv_cell(row), row.cv_mean)),
        (f"test {scoring}", lambda row: Cell(test_cell(row), row.test)),
        ("took", lambda row: Cell(duration(row.total_s), row.total_s)),
        ("status", lambda row: Cell(row.first.status)),
    ]
    if any(row.first.error for row in rows):
        columns.append(("error", lambda row: Cell(row.first.error or "")))
    cells = [[cell(row) for _, cell in columns] for row in rows]
    return Table([name for name, _ in columns], cells, is_sortable=True)


def _value_cell(key: str) -> Callable[[Row], Cell]:
    return lambda row: Cell(_text(_given(row, key)))


def _text(value: object) -> str:
    return "" if is_missing(value) else parameter(value)


def _link(entry: Entry, folder: Path) -> Cell:
    path = path_from(entry, folder)
    has_report = (entry.path / REPORT).exists()
    return Cell(path, entry.number, quote(f"{path}/{REPORT}") if has_report else "")


def _means_over_seeds(entries: Sequence[Entry], repeats: Sequence[Board]) -> Section:
    if len({entry.seed for entry in entries if entry.is_ranked}) < 2:
        return Section("Means over seeds")
    tables = board_tables(repeats, by_seed=True)
    return Section(
        "Means over seeds",
        note=" ".join(f"{table.title}." for table in tables),
        tables=[
            Table(
                ["rank", *table.header[1:]],
                [[Cell(text) for text in row] for row in table.rows],
                is_sortable=True,
            )
            for table in tables
        ],
    )


def _about(board: Board) -> str:
    first = board.group.rows[0].first
    return ", ".join([first.data or "unknown data", first.scoring or "no score"])
