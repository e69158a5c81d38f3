"""Scores on each fold."""

from __future__ import annotations

import plotly.graph_objects as go

from runner.results.report.figure import BASELINE, TUNED, new_figure
from runner.results.schema import Evaluation


def fold_scores(baseline: Evaluation | None, best: Evaluation | None) -> go.Figure:
    """Score on each fold, baseline and tuned; the baseline alone where it was kept."""
    figure = new_figure("fold", "score")
    entries = [("baseline", baseline, BASELINE), ("tuned", best, TUNED)]
    if baseline is not None and best is not None and baseline.params == best.params:
        entries = [("baseline, kept", baseline, TUNED)]
    for name, entry, colour in entries:
        if entry is not None and entry.cv_scores:
            figure.add_scatter(
                x=[str(fold) for fold in range(1, len(entry.cv_scores) + 1)],
                y=entry.cv_scores,
                name=name,
                mode="lines+markers",
                line_color=colour,
                hovertemplate="fold %{x}: %{y:.4f}<extra></extra>",
            )
    return figure.update_xaxes(type="category")
