"""Parallel coordinates: every candidate a line across its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from runner.results.report.figure import (
    BASELINE,
    Array,
    in_order,
    is_missing,
    is_number,
    label,
    new_figure,
    spans_decades,
)

_MOST_AXES = 8
_MOST_TICKS = 12
_FIFTHS = {
    "best fifth": "rgba(37,99,235,0.95)",
    "second": "rgba(59,130,246,0.45)",
    "third": "rgba(124,143,180,0.4)",
    "fourth": "rgba(139,147,161,0.3)",
    "last": "rgba(139,147,161,0.18)",
}


def parallel_coordinates(trials: pd.DataFrame, paths: Sequence[str]) -> go.Figure:
    """A line for each candidate across its parameters to its score, the best fifth in front.

    Lines are ordinary ones rather than Plotly's ``parcoords``: those are drawn by WebGL, which
    needs code made at run time, and can't be printed everywhere.
    """
    scored = trials[trials["status"] != "failed"].sort_values("rank", kind="stable")
    axes = [_Axis(path, list(scored[path])) for path in paths[:_MOST_AXES]]
    axes.append(_Axis("score", list(scored["mean_test_score"])))
    figure = new_figure(height=420)
    fifths = dict(zip(_FIFTHS, np.array_split(np.arange(len(scored)), 5), strict=True))
    for name, rows in reversed(fifths.items()):
        if len(rows):
            _add_lines(figure, axes, name, rows)
    for axis in axes:
        ticks = axis.ticks()
        figure.add_scatter(
            x=[axis.name] * len(ticks),
            y=list(ticks.values()),
            text=list(ticks),
            mode="lines+text",
            line={"color": BASELINE, "width": 1},
            textposition=axis.text_positions(),
            hoverinfo="skip",
            showlegend=False,
        )
    figure.update_xaxes(type="category", showgrid=False, range=[-0.15, len(axes) - 0.4])
    return figure.update_yaxes(visible=False, range=[-0.1, 1.1])


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
        # Away from the axis, where lines meet.
        return {f"  {self._labels[place]}": place / last for place in shown}

    def text_positions(self) -> list[str] | str:
        """Where ticks are written: beyond the ends, where no line crosses them, if that will do."""
        return ["bottom center", "top center"] if self._is_numeric else "middle right"

    def _scaled(self, value: float) -> float:
        return float(np.log(value)) if self._is_log else float(value)


def _add_lines(figure: go.Figure, axes: Sequence[_Axis], name: str, rows: Array) -> None:
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
