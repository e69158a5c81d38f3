"""Which runs no other one beats in every objective."""

from __future__ import annotations

from pathlib import Path

import pytest
from entries import run
from hypothesis import given
from hypothesis import strategies as st

from runner.results.comparison.board import make_boards
from runner.results.comparison.pareto import Objective, front_table, objective_columns, pareto_front

ACCURACY, FIT_S = Objective("accuracy", "maximize"), Objective("fit_s", "minimize")


def point(name: str, accuracy: float | None, fit_s: float | None):
    cv = {} if accuracy is None else {"accuracy": accuracy}
    return run(name, accuracy, cv=cv, fit_s=fit_s, overrides=(f"model.size={name}",))


ENTRIES = [
    point("0", 0.90, 1.0),
    point("1", 0.95, 2.0),
    point("2", 0.94, 3.0),
    point("3", 0.80, 0.5),
    point("4", None, None),
    point("5", 0.90, 1.0),
]


def test_front_has_what_no_other_run_beats_best_first():
    front = pareto_front(ENTRIES, [ACCURACY, FIT_S])
    assert [entry.number for entry in front] == [1, 0, 5, 3]


def test_direction_decides_what_is_better():
    slowest = Objective("fit_s", "maximize")
    assert [e.number for e in pareto_front(ENTRIES, [ACCURACY, slowest])] == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_every_other_run_is_beaten_by_one_on_the_front(points):
    entries = [point(str(i), float(a), float(b)) for i, (a, b) in enumerate(points)]
    front = pareto_front(entries, [ACCURACY, FIT_S])
    assert front
    values = [(-e.cv["accuracy"], e.fit_s) for e in front]
    for entry in entries:
        own = (-entry.cv["accuracy"], entry.fit_s)
        beaten = any(a <= own[0] and b <= own[1] and (a, b) != own for a, b in values)
        assert beaten != (entry in front)


def test_columns_and_table_name_every_objective():
    boards = make_boards(ENTRIES)
    columns = objective_columns(boards, [ACCURACY, FIT_S])
    assert columns[0] == {"accuracy": 0.95, "fit_s": 2.0, "pareto": True}
    assert [column["pareto"] for column in columns] == [True, False, True, True, True, False]
    assert objective_columns(boards, []) == [{}] * len(ENTRIES)
    table = front_table(boards[0], [ACCURACY, FIT_S], Path("outputs"))
    assert table.title == "Pareto front of accuracy (maximize), fit_s (minimize): 4 of 6 jobs"
    assert table.rows[0][-3:] == ["0.9500", "2.0000", "1"]


@pytest.mark.parametrize("objectives", [[], [ACCURACY]])
def test_one_objective_has_no_front(objectives):
    assert not any(
        column.get("pareto") for column in objective_columns(make_boards(ENTRIES), objectives)
    )
