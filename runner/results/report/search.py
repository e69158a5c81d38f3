"""What a search tried: in order, by time, by parameter, and which parameters mattered.

A table of trials is indexed here by what candidates are called: their number, or that of a job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from runner.results.report.figure import (
    BASELINE,
    FAILED,
    TUNED,
    in_order,
    is_missing,
    is_number,
    label,
    new_figure,
    spans_decades,
)
from runner.results.schema import Evaluation
from runner.results.trials import searched_paths

_MOST_HOVERED = 8
_STATUS_COLOURS = {"completed": TUNED, "stopped": BASELINE}


def search_history(
    trials: pd.DataFrame, baseline: Evaluation | None = None, unit: str = "candidate"
) -> go.Figure:
    """Score of each candidate in order of evaluation, and the best one so far."""
    figure = new_figure(unit, "mean CV score")
    for status, colour in _STATUS_COLOURS.items():
        rows = trials[trials["status"] == status]
        if len(rows):
            figure.add_scatter(
                x=rows.index,
                y=rows["mean_test_score"],
                text=_hover_texts(rows),
                name=status,
                mode="markers",
                marker={"color": colour, "opacity": 0.75},
                hovertemplate=unit + " %{x}: %{y:.4f}<br>%{text}<extra></extra>",
            )
    for status, symbol in (("pruned", "triangle-down"), ("failed", "x")):
        _add_unscored(figure, trials, status, symbol, unit)
    completed = trials[trials["status"] == "completed"]
    figure.add_scatter(
        x=completed.index,
        y=completed["mean_test_score"].cummax(),
        name="best so far",
        mode="lines",
        line={"shape": "hv", "color": TUNED},
        hoverinfo="skip",
    )
    if baseline is not None and np.isfinite(baseline.cv_mean):
        figure.add_scatter(
            x=[1, max(len(trials), 2)],
            y=[baseline.cv_mean] * 2,
            name="baseline",
            mode="lines",
            line={"dash": "dot", "color": BASELINE},
            hovertemplate="baseline %{y:.4f}<extra></extra>",
        )
    return figure


def score_by_time(trials: pd.DataFrame, seconds: pd.Series) -> go.Figure:
    """Score of each job against the `seconds` that it took."""
    rows = trials[trials["mean_test_score"].notna() & seconds.notna()]
    figure = new_figure("duration, s", "mean CV score")
    figure.add_scatter(
        x=seconds[rows.index],
        y=rows["mean_test_score"],
        text=[f"job {number}" for number in rows.index],
        mode="markers",
        marker={"color": _colours(rows), "opacity": 0.75},
        hovertemplate="%{text}: %{y:.4f} in %{x:.3g} s<extra></extra>",
        showlegend=False,
    )
    return _fit_axis(figure, list(seconds[rows.index]))


def parameter_slice(trials: pd.DataFrame, path: str) -> go.Figure:
    """Score against the values of one searched parameter; failed candidates have none."""
    given = [not is_missing(value) for value in trials[path]]
    rows = trials[np.array(given, dtype=bool) & trials["mean_test_score"].notna()]
    values = list(rows[path])
    numeric = all(is_number(value) for value in values)
    figure = new_figure(y_title="mean CV score")
    figure.add_scatter(
        x=np.asarray(values, dtype=float) if numeric else [label(value) for value in values],
        y=rows["mean_test_score"],
        mode="markers",
        marker={"color": _colours(rows), "opacity": 0.75},
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
        showlegend=False,
    )
    if not numeric:
        return figure.update_xaxes(type="category", categoryarray=in_order(values))
    return _fit_axis(figure, values)


def importance(shares: Mapping[str, float]) -> go.Figure:
    """Bars of how much each parameter mattered, as shares of 1, the largest first."""
    figure = new_figure("share", height=int(np.clip(90 + 30 * len(shares), 160, 640)))
    figure.add_bar(
        x=list(shares.values()),
        y=[label(path) for path in shares],
        orientation="h",
        marker_color=TUNED,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(tickformat=".0%", rangemode="tozero", nticks=6)
    return figure.update_yaxes(type="category", autorange="reversed", showgrid=False)


def _hover_texts(trials: pd.DataFrame) -> list[str]:
    """Parameters of each candidate, a line each; the first few, for the page's size."""
    columns = {path: list(trials[path]) for path in searched_paths(trials)}
    return ["<br>".join(_lines(columns, row)[:_MOST_HOVERED]) for row in range(len(trials))]


def _lines(columns: Mapping[str, list[Any]], row: int) -> list[str]:
    given = {path: values[row] for path, values in columns.items() if not is_missing(values[row])}
    return [f"{label(path)} = {label(value)}" for path, value in given.items()]


def _add_unscored(
    figure: go.Figure, trials: pd.DataFrame, status: str, symbol: str, unit: str
) -> None:
    """Mark candidates at the foot of the plot that have no score to be placed by."""
    rows = trials[trials["status"] == status]
    if len(rows):
        lowest = trials["mean_test_score"].min()
        figure.add_scatter(
            x=rows.index,
            y=[0.0 if np.isnan(lowest) else lowest] * len(rows),
            name=status,
            mode="markers",
            marker={"color": FAILED, "symbol": symbol},
            hovertemplate=f"{unit} %{{x}} {status}<extra></extra>",
        )


def _fit_axis(figure: go.Figure, values: Sequence[float]) -> go.Figure:
    if spans_decades(values):
        return figure.update_xaxes(type="log", dtick=1, exponentformat="power")
    return figure


def _colours(rows: pd.DataFrame) -> str | list[str]:
    """Colour by status; one for all where it can be, which keeps the page small."""
    colours = [_STATUS_COLOURS.get(status, FAILED) for status in rows["status"]]
    return colours[0] if len(set(colours)) == 1 else colours


def varied_paths(trials: pd.DataFrame) -> list[str]:
    """The parameters that took more than one value."""

    def n_distinct(values: pd.Series) -> int:
        return len({label(value) for value in values if not is_missing(value)})

    return [path for path in searched_paths(trials) if n_distinct(trials[path]) > 1]
