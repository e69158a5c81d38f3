"""How the predictions for the test rows are off: confusion, residuals, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from sklearn.metrics import confusion_matrix

from runner.results.report.figure import (
    BASELINE,
    TUNED,
    Array,
    label,
    new_figure,
    thinned,
)
from runner.results.report.training import Curves

_MOST_LABELS = 20
_MOST_BINS = 10
_FEWEST_IN_BIN = 10


@dataclass(frozen=True)
class Fitted:
    """A configuration refitted on all training rows.

    ``y_pred`` has shape (n_test,), labels as the user wrote them; ``probabilities`` has shape
    (n_test, n_classes), or is None where the model gives none, as ``curves`` is.
    """

    y_pred: Array
    probabilities: Array | None = None
    curves: Curves | None = None


def confusion(y_true: Array, y_pred: Array, classes: Sequence[Any] | None = None) -> go.Figure:
    """Counts of predicted classes for each true class; colours are shares of the true class."""
    true, predicted = np.asarray(y_true).astype(str), np.asarray(y_pred).astype(str)
    names = [str(name) for name in classes] if classes is not None else []
    names += sorted({*true, *predicted} - set(names))
    counts = confusion_matrix(true, predicted, labels=names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = [label(name) for name in names]
    figure = new_figure("predicted", "true", height=int(np.clip(120 + 32 * len(names), 320, 800)))
    figure.add_heatmap(
        x=labels,
        y=labels,
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
    return figure.update_yaxes(type="category", showgrid=False, autorange="reversed")


def residuals(y_true: Array, y_pred: Array) -> go.Figure:
    """Residual (true minus predicted) against the prediction."""
    true, predicted = (np.asarray(values, dtype=float).ravel() for values in (y_true, y_pred))
    shown = thinned(len(true))
    figure = new_figure("predicted", "true − predicted")
    figure.add_scatter(
        x=predicted[shown],
        y=(true - predicted)[shown],
        mode="markers",
        marker={"color": TUNED, "opacity": 0.6},
        hovertemplate="predicted %{x:.4g}, off by %{y:.4g}<extra></extra>",
        showlegend=False,
    )
    return _add_ideal(figure, [predicted.min(), predicted.max()], [0, 0])


def calibration(
    y_true: Array, classes: Sequence[Any], tuned: Fitted, baseline: Fitted | None
) -> go.Figure | None:
    """How often predictions come true against the probability that they were given.

    Rows are binned by probability, as many in each bin (Nguyen and O'Connor, EMNLP 2015). With two
    classes the probability is the second one's; with more, the predicted class's (Guo et al.,
    ICML 2017).

    Returns
    -------
    Figure or None
        None without probabilities, or with fewer than 20 rows.
    """
    if tuned.probabilities is None or len(y_true) < 2 * _FEWEST_IN_BIN:
        return None
    of = "second class" if len(classes) == 2 else "predicted class"
    if len(classes) == 2:
        of = label(classes[1])
    figure = new_figure(f"probability of {of}", "how often it was so")
    _add_ideal(figure, [0, 1], [0, 1])
    for name, fitted, colour in (("baseline", baseline, BASELINE), ("tuned", tuned, TUNED)):
        if fitted is None or fitted.probabilities is None:
            continue
        bins = _reliability(np.asarray(y_true), classes, fitted.probabilities)
        figure.add_scatter(
            x=[mean for mean, _, _ in bins],
            y=[share for _, share, _ in bins],
            text=[str(n) for _, _, n in bins],
            name=name,
            mode="lines+markers",
            line_color=colour,
            hovertemplate="given %{x:.3f}, true %{y:.3f} (%{text} rows)<extra></extra>",
        )
    return figure


def _reliability(
    y_true: Array, classes: Sequence[Any], probabilities: Array
) -> list[tuple[float, float, int]]:
    """Mean probability, share that came true, and number of rows of each bin."""
    if len(classes) == 2:
        given, came_true = probabilities[:, 1], y_true == classes[1]
    else:
        predicted = np.asarray(classes)[probabilities.argmax(axis=1)]
        given, came_true = probabilities.max(axis=1), y_true == predicted
    n_bins = int(np.clip(len(given) // _FEWEST_IN_BIN, 2, _MOST_BINS))
    bins = np.array_split(np.argsort(given, kind="stable"), n_bins)
    return [(float(given[b].mean()), float(came_true[b].mean()), len(b)) for b in bins]


def _add_ideal(figure: go.Figure, x: Sequence[float], y: Sequence[float]) -> go.Figure:
    return figure.add_scatter(
        x=list(x),
        y=list(y),
        mode="lines",
        line={"dash": "dot", "color": BASELINE},
        hoverinfo="skip",
        showlegend=False,
    )
