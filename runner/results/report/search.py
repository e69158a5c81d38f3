"""What a search tried: in order, by parameter, and all parameters at once.

A table of trials is indexed here by what candidates are called: their number, or that of a job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
_MOST_AXES = 8
_MOST_TICKS = 12
_STATUS_COLOURS = {"completed": TUNED, "stopped": BASELINE}
_FIFTHS = {
    "last fifth": "rgba(139,147,161,0.18)",
    "fourth": "rgba(139,147,161,0.3)",
    "third": "rgba(124,143,180,0.4)",
    "second": "rgba(59,130,246,0.45)",
    "best fifth": "rgba(37,99,235,0.95)",
}


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
                text=hover_texts(rows),
                name=status,
                mode="markers",
                marker={"color": colour, "opacity": 0.75},
                hovertemplate=unit + " %{x}: %{y:.4f}<br>%{text}<extra></extra>",
            )
    _add_failures(figure, trials, unit)
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


def score_by_time(trials: pd.DataFrame, x_title: str, unit: str = "candidate") -> go.Figure:
    """Score against the seconds that it took."""
    rows = trials[trials["mean_test_score"].notna() & trials["mean_fit_time"].notna()]
    figure = new_figure(x_title, "mean CV score")
    figure.add_scatter(
        x=rows["mean_fit_time"],
        y=rows["mean_test_score"],
        text=[f"{unit} {number}" for number in rows.index],
        mode="markers",
        marker={"color": _colours(rows), "opacity": 0.75},
        hovertemplate="%{text}: %{y:.4f} in %{x:.3g} s<extra></extra>",
        showlegend=False,
    )
    return _fit_axis(figure, list(rows["mean_fit_time"]))


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
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    return figure.update_yaxes(type="category", autorange="reversed", showgrid=False)


def parallel_coordinates(trials: pd.DataFrame, paths: Sequence[str]) -> go.Figure:
    """A line for each candidate across its parameters to its score, the best fifth in front.

    Lines are ordinary ones rather than Plotly's ``parcoords``: those are drawn by WebGL, which
    needs code made at run time, and can't be printed everywhere.
    """
    scored = trials[trials["status"] != "failed"].sort_values("rank", kind="stable")
    axes = [_Axis(path, list(scored[path])) for path in paths[:_MOST_AXES]]
    axes.append(_Axis("score", list(scored["mean_test_score"])))
    figure = new_figure(height=420)
    for name, rows in zip(_FIFTHS, np.array_split(np.arange(len(scored))[::-1], 5), strict=True):
        _add_lines(figure, axes, name, rows)
    for axis in axes:
        ticks = axis.ticks()
        figure.add_scatter(
            x=[axis.name] * len(ticks),
            y=list(ticks.values()),
            text=list(ticks),
            mode="lines+text",
            line={"color": BASELINE, "width": 1},
            textposition="middle right",
            hoverinfo="skip",
            showlegend=False,
        )
    figure.update_xaxes(type="category", showgrid=False, range=[-0.15, len(axes) - 0.4])
    return figure.update_yaxes(visible=False, range=[-0.06, 1.06])


class _Axis:
    """One of the parallel axes: where on it, from 0 to 1, each value stands.

    Parameters
    ----------
    values
        Of each candidate; NaN where it lacks the parameter.
    """

    def __init__(self, path: str, values: list[Any]) -> None:
        # A name has no room but below itself.
        self.name = label(path).replace(".", "<br>")
        self.values = values
        self._given = [value for value in values if not is_missing(value)]
        self._is_numeric = all(is_number(value) for value in self._given)
        self._is_log = self._is_numeric and spans_decades(self._given)
        self._labels = [] if self._is_numeric else in_order(self._given)

    def place(self, value: Any) -> float:
        if is_missing(value):
            return float("nan")
        if not self._is_numeric:
            return self._labels.index(label(value)) / max(1, len(self._labels) - 1)
        low, high, at = (self._scaled(x) for x in (min(self._given), max(self._given), value))
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> dict[str, float]:
        """Places of the values that are written beside the axis; its ends at least."""
        if self._is_numeric:
            ends = [min(self._given, default=0), max(self._given, default=1)]
            return {label(float(f"{value:.4g}")): end for end, value in enumerate(ends)}
        last = max(1, len(self._labels) - 1)
        shown = np.unique(np.linspace(0, len(self._labels) - 1, _MOST_TICKS).astype(int))
        return {self._labels[place]: place / last for place in shown}

    def _scaled(self, value: float) -> float:
        return float(np.log(value)) if self._is_log else float(value)


def _add_lines(figure: go.Figure, axes: Sequence[_Axis], name: str, rows: Sequence[int]) -> None:
    """Add candidates as one trace, which breaks off after each of them."""
    x: list[str] = []
    y: list[float] = []
    texts: list[str] = []
    for row in rows:
        values = [axis.values[row] for axis in axes]
        x += [axis.name for axis in axes] + [axes[-1].name]
        y += [axis.place(value) for axis, value in zip(axes, values, strict=True)] + [np.nan]
        texts += [label(value) for value in values] + [""]
    figure.add_scatter(
        x=x,
        y=y,
        text=texts,
        name=name,
        mode="lines",
        line={"color": _FIFTHS[name], "width": 1.5},
        hovertemplate="%{x}: %{text}<extra></extra>",
        legendrank=-len(figure.data),
    )


def hover_texts(trials: pd.DataFrame) -> list[str]:
    """Parameters of each candidate, a line each; the first few, for the page's size."""
    columns = {path: list(trials[path]) for path in searched_paths(trials)}
    return ["<br>".join(_lines(columns, row)[:_MOST_HOVERED]) for row in range(len(trials))]


def _lines(columns: Mapping[str, list[Any]], row: int) -> list[str]:
    given = {path: values[row] for path, values in columns.items() if not is_missing(values[row])}
    return [f"{label(path)} = {label(value)}" for path, value in given.items()]


def _add_failures(figure: go.Figure, trials: pd.DataFrame, unit: str) -> None:
    """Mark failed candidates at the foot of the plot: they have no score to be placed by."""
    failed = trials[trials["status"] == "failed"]
    if len(failed):
        lowest = trials["mean_test_score"].min()
        figure.add_scatter(
            x=failed.index,
            y=[0.0 if np.isnan(lowest) else lowest] * len(failed),
            name="failed",
            mode="markers",
            marker={"color": FAILED, "symbol": "x"},
            hovertemplate=unit + " %{x} failed<extra></extra>",
        )


def _fit_axis(figure: go.Figure, values: Sequence[float]) -> go.Figure:
    if spans_decades(values):
        return figure.update_xaxes(type="log", dtick=1, exponentformat="power")
    return figure


def _colours(rows: pd.DataFrame) -> str | list[str]:
    """Colour by status; one for all where it can be, which keeps the page small."""
    colours = [_STATUS_COLOURS.get(status, FAILED) for status in rows["status"]]
    return colours[0] if len(set(colours)) == 1 else colours


def varied_paths(trials: pd.DataFrame) -> Iterator[str]:
    """The parameters that took more than one value."""
    for path in searched_paths(trials):
        if len({label(value) for value in trials[path] if not is_missing(value)}) > 1:
            yield path
