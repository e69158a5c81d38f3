"""Learning curves, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from runner.results.report.figure import BASELINE, TUNED, new_figure

_MOST_TICKS = 15

Curves = Mapping[str, Sequence[float]]
"""Metric names (``loss``, ``val_loss``) to a value per epoch."""


def learning_curve(metric: str, tuned: Curves | None, baseline: Curves | None) -> go.Figure:
    """One metric per epoch: on the training rows, and dashed on the validation rows."""
    figure = new_figure("epoch")
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
                    hovertemplate="epoch %{x}: %{y:.4g}<extra></extra>",
                )
    n_epochs = max((len(trace.x) for trace in figure.data), default=0)
    return figure.update_xaxes(dtick=1) if n_epochs <= _MOST_TICKS else figure


def curve_metrics(*curves: Curves | None) -> list[str]:
    """Names of the metrics that have a learning curve, validation counted with training."""
    names = [name.removeprefix("val_") for each in curves for name in each or {}]
    return list(dict.fromkeys(names))
