"""Jobs with several objectives: which of them no other beats in all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from runner.results.report.figure import BASELINE, TUNED, Array, label, new_figure
from runner.results.report.page import Plot

_MOST_PLOTS = 3


@dataclass(frozen=True)
class Objective:
    """What is to be made large, or small."""

    name: str
    is_minimized: bool = False


@dataclass(frozen=True)
class Trade:
    """Jobs and their objectives; ``values`` has shape (jobs, objectives)."""

    names: tuple[str, ...]
    objectives: tuple[Objective, ...]
    values: Array

    @property
    def on_front(self) -> Array:
        """Which jobs no other job beats: it is as good in every objective and better in one."""
        signs = np.array([-1.0 if each.is_minimized else 1.0 for each in self.objectives])
        gains = self.values * signs
        as_good = (gains[None, :, :] >= gains[:, None, :]).all(axis=2)
        better = (gains[None, :, :] > gains[:, None, :]).any(axis=2)
        return np.asarray(~(as_good & better).any(axis=1))


def read_trade(record: Mapping[str, Any]) -> Trade | None:
    """Find several objectives in a ``sweep.json``; None where its jobs have but one, or none.

    Each job's ``objectives`` maps names to values; the record's ``directions`` maps the names of
    those that are made small to ``minimize``. Jobs that lack a value are left out.
    """
    jobs = [job for job in record.get("jobs") or () if isinstance(job, dict)]
    names = _names(jobs)
    if len(names) < 2:
        return None
    directions = record.get("directions")
    directions = directions if isinstance(directions, dict) else {}
    objectives = tuple(Objective(name, directions.get(name) == "minimize") for name in names)
    rows = [(job, [_number(job["objectives"].get(name)) for name in names]) for job in _with(jobs)]
    known = [(job, row) for job, row in rows if all(map(math.isfinite, row))]
    if not known:
        return None
    called = tuple(_called(job) for job, _ in known)
    return Trade(called, objectives, np.array([row for _, row in known]))


def pareto_plots(trade: Trade) -> Iterator[Plot]:
    """One plot for each pair of objectives, the first few; the front is that of all together."""
    pairs = list(itertools.combinations(range(len(trade.objectives)), 2))
    for one, other in pairs[:_MOST_PLOTS]:
        names = [trade.objectives[i].name for i in (one, other)]
        title = f"{names[1]} against {names[0]}"
        yield Plot(f"pareto-{names[0]}-{names[1]}", title, _pareto(trade, one, other))


def _pareto(trade: Trade, one: int, other: int) -> go.Figure:
    figure = new_figure(*(_title(trade.objectives[i]) for i in (one, other)))
    front = trade.on_front
    for name, rows, colour in (("beaten", ~front, BASELINE), ("Pareto front", front, TUNED)):
        order = np.flatnonzero(rows)[np.argsort(trade.values[rows, one], kind="stable")]
        # Between points of a front of more than two objectives a line would mean nothing.
        has_line = colour == TUNED and len(trade.objectives) == 2
        figure.add_scatter(
            x=trade.values[order, one],
            y=trade.values[order, other],
            text=[label(trade.names[row]) for row in order],
            name=name,
            mode="lines+markers" if has_line else "markers",
            line={"color": colour},
            marker={"color": colour, "opacity": 0.85},
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        )
    return figure


def _title(objective: Objective) -> str:
    return (
        f"{label(objective.name)} ({'smaller' if objective.is_minimized else 'larger'} is better)"
    )


def _names(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(str(name) for job in _with(jobs) for name in job["objectives"]))


def _with(jobs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [job for job in jobs if isinstance(job.get("objectives"), dict)]


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def _called(job: Mapping[str, Any]) -> str:
    return f"job {job.get('number')}"
