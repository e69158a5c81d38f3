"""The report's figures, one function each.

Colours that depend on the page's theme (text, grid, background) are set by the page. Plotly reads
text as a subset of HTML, so whatever comes from a config or from data passes through `_text`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from sklearn.metrics import confusion_matrix

from runner.results.schema import Evaluation
from runner.results.trials import searched_paths
from runner.results.verdict import parameter

Array = np.ndarray[Any, np.dtype[Any]]
Curves = Mapping[str, Sequence[float]]

TUNED, BASELINE, FAILED = "#3b82f6", "#8b93a1", "#e5484d"
MOST_POINTS = 2000
_MOST_LABELS = 20
_LOG_RATIO = 10
_MOST_HOVERED = 8
_STATUS_COLOURS = {"completed": TUNED, "stopped": BASELINE}


def fold_scores(baseline: Evaluation | None, best: Evaluation | None) -> go.Figure:
    """Score on each fold, baseline and tuned."""
    figure = _figure("fold", "score")
    for name, entry, colour in (("baseline", baseline, BASELINE), ("tuned", best, TUNED)):
        if entry is not None and entry.cv_scores:
            folds = [str(fold) for fold in range(1, len(entry.cv_scores) + 1)]
            figure.add_scatter(
                x=folds, y=entry.cv_scores, name=name, mode="lines+markers", line_color=colour
            )
    return figure.update_xaxes(type="category")


def search_history(trials: pd.DataFrame, baseline: Evaluation | None) -> go.Figure:
    """Score of each candidate in order of evaluation, and the best one so far."""
    figure = _figure("candidate", "mean CV score")
    # By position: a column of its own could take a searched parameter's name.
    numbered = trials.set_index(np.arange(1, len(trials) + 1))
    for status, colour in _STATUS_COLOURS.items():
        rows = numbered[numbered["status"] == status]
        if len(rows):
            figure.add_scatter(
                x=rows.index,
                y=rows["mean_test_score"],
                text=_hover_texts(rows),
                name=status,
                mode="markers",
                marker={"color": colour, "opacity": 0.75},
                hovertemplate="%{y:.4f}<br>%{text}<extra></extra>",
            )
    for status, symbol in (("pruned", "triangle-down"), ("failed", "x")):
        _add_unscored(figure, numbered, status, symbol)
    completed = numbered[numbered["status"] == "completed"]
    figure.add_scatter(
        x=completed.index,
        y=completed["mean_test_score"].cummax(),
        name="best so far",
        mode="lines",
        line={"shape": "hv", "color": TUNED},
    )
    if baseline is not None and np.isfinite(baseline.cv_mean):
        figure.add_scatter(
            x=[1, max(len(trials), 2)],
            y=[baseline.cv_mean] * 2,
            name="baseline",
            mode="lines",
            line={"dash": "dot", "color": BASELINE},
        )
    return figure


def parameter_slice(trials: pd.DataFrame, path: str) -> go.Figure:
    """Score against the values of one searched parameter; failed candidates have none."""
    given = [not is_missing(value) for value in trials[path]]
    rows = trials[np.array(given, dtype=bool) & trials["mean_test_score"].notna()]
    values = list(rows[path])
    numeric = all(_is_number(value) for value in values)
    figure = _figure("", "mean CV score")
    figure.add_scatter(
        x=np.asarray(values, dtype=float) if numeric else [_text(value) for value in values],
        y=rows["mean_test_score"],
        mode="markers",
        marker={"color": _colours(rows), "opacity": 0.75},
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
        showlegend=False,
    )
    if not numeric:
        return figure.update_xaxes(type="category", categoryarray=_in_order(values))
    if _spans_decades(values):
        return figure.update_xaxes(type="log", dtick=1, exponentformat="power")
    return figure


def learning_curve(metric: str, tuned: Curves | None, baseline: Curves | None) -> go.Figure:
    """One metric per epoch: on the training rows, and dashed on the validation rows."""
    figure = _figure("epoch", "")
    for name, curves, colour in (("baseline", baseline, BASELINE), ("tuned", tuned, TUNED)):
        for key, suffix, dash in ((metric, "", "solid"), (f"val_{metric}", ", validation", "dash")):
            values = list((curves or {}).get(key, ()))
            if values:
                figure.add_scatter(
                    x=list(range(1, len(values) + 1)),
                    y=values,
                    name=name + suffix,
                    mode="lines" if len(values) > 1 else "markers",
                    line={"color": colour, "dash": dash},
                )
    return figure


def confusion(y_true: Array, y_pred: Array, labels: Sequence[Any] | None = None) -> go.Figure:
    """Counts of predicted classes for each true class; colours are shares of the true class."""
    true, predicted = np.asarray(y_true).astype(str), np.asarray(y_pred).astype(str)
    names = [str(label) for label in labels] if labels is not None else []
    names += sorted({*true, *predicted} - set(names))
    counts = confusion_matrix(true, predicted, labels=names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = _figure("predicted", "true")
    figure.add_heatmap(
        x=[_text(name) for name in names],
        y=[_text(name) for name in names],
        z=shares,
        text=counts.tolist(),
        zmin=0,
        zmax=1,
        # Cells fade into the page's background, whichever it is.
        colorscale=[[0, "rgba(59,130,246,0.04)"], [1, "rgba(59,130,246,0.9)"]],
        texttemplate="%{text}" if len(names) <= _MOST_LABELS else None,
        hovertemplate="true %{y}, predicted %{x}: %{text} (%{z:.1%})<extra></extra>",
        showscale=False,
    )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
    return figure.update_layout(height=int(np.clip(120 + 32 * len(names), 320, 800)))


def residuals(y_true: Array, y_pred: Array) -> go.Figure:
    """Residual (true minus predicted) against the prediction."""
    true, predicted = (np.asarray(values, dtype=float).ravel() for values in (y_true, y_pred))
    # More points than this slow the page down and show nothing new.
    shown = np.unique(np.linspace(0, len(true) - 1, min(len(true), MOST_POINTS)).astype(int))
    figure = _figure("predicted", "true − predicted")
    figure.add_scatter(
        x=predicted[shown],
        y=(true - predicted)[shown],
        mode="markers",
        marker={"color": TUNED, "opacity": 0.6},
        hovertemplate="predicted %{x:.4g}, off by %{y:.4g}<extra></extra>",
        showlegend=False,
    )
    return figure.add_hline(0, line={"dash": "dot", "color": BASELINE})


def curve_metrics(*curves: Curves | None) -> list[str]:
    """Names of the metrics that have a learning curve, validation counted with training."""
    names = [name.removeprefix("val_") for each in curves for name in each or {}]
    return list(dict.fromkeys(names))


def _add_unscored(figure: go.Figure, numbered: pd.DataFrame, status: str, symbol: str) -> None:
    """Mark candidates at the foot of the plot that have no score to be placed by."""
    rows = numbered[numbered["status"] == status]
    if len(rows):
        lowest = numbered["mean_test_score"].min()
        figure.add_scatter(
            x=rows.index,
            y=[0.0 if np.isnan(lowest) else lowest] * len(rows),
            name=status,
            mode="markers",
            marker={"color": FAILED, "symbol": symbol},
            hovertemplate=f"candidate %{{x}} {status}<extra></extra>",
        )


def _figure(x_title: str, y_title: str) -> go.Figure:
    figure = go.Figure(layout={"template": "none", "height": 320})
    figure.update_layout(margin={"l": 60, "r": 12, "t": 12, "b": 48}, hovermode="closest")
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(title=x_title, automargin=True, zeroline=False)
    return figure.update_yaxes(title=y_title, automargin=True, zeroline=False)


def _colours(rows: pd.DataFrame) -> str | list[str]:
    """Colour by status; one for all where it can be, which keeps the page small."""
    colours = [_STATUS_COLOURS.get(status, FAILED) for status in rows["status"]]
    return colours[0] if len(set(colours)) == 1 else colours


def _hover_texts(trials: pd.DataFrame) -> list[str]:
    """Parameters of each candidate, a line each; the first few, for the page's size."""
    columns = {path: list(trials[path]) for path in searched_paths(trials)}
    texts = []
    for row in range(len(trials)):
        given = {
            path: column[row] for path, column in columns.items() if not is_missing(column[row])
        }
        lines = [f"{_text(path)} = {_text(value)}" for path, value in given.items()]
        texts.append("<br>".join(lines[:_MOST_HOVERED]))
    return texts


def is_missing(value: object) -> bool:
    """Whether a candidate lacks a parameter; None (``null``) is a value like any other."""
    return isinstance(value, float) and np.isnan(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_order(values: Sequence[Any]) -> list[str]:
    """Categories sorted: numbers by size, then the rest by name (``auto``, ``null``)."""
    numbers = sorted(value for value in values if _is_number(value))
    others = sorted(_text(value) for value in values if not _is_number(value))
    return list(dict.fromkeys([*map(_text, numbers), *others]))


def _text(value: object) -> str:
    return html.escape(parameter(value), quote=False)


def _spans_decades(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis spreads the values better: positive, wide, most of them small."""
    low, high = min(values, default=0), max(values, default=0)
    return low > 0 and high / low >= _LOG_RATIO and float(np.median(values)) < (low + high) / 4
