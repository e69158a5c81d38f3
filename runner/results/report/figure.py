"""What all figures have in common: their frame, colours, and text that is safe to show.

Colours that depend on the page's theme (text, grid, background) are set by the page. Plotly reads
text as a subset of HTML, so whatever comes from a config or from data passes through `label`.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from runner.results.verdict import parameter

Array = np.ndarray[Any, np.dtype[Any]]

TUNED, BASELINE, FAILED = "#3b82f6", "#8b93a1", "#e5484d"
MOST_POINTS = 2000
_LOG_RATIO = 10
_LONGEST_LABEL = 48


def new_figure(x_title: str = "", y_title: str = "", height: int = 320) -> go.Figure:
    """An empty figure, `height` in pixels; its width is that of the page."""
    figure = go.Figure(layout={"template": "none", "height": height, "hovermode": "closest"})
    figure.update_layout(margin={"l": 60, "r": 16, "t": 12, "b": 48})
    figure.update_layout(legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(title=x_title, automargin=True, zeroline=False)
    return figure.update_yaxes(title=y_title, automargin=True, zeroline=False)


def label(value: object) -> str:
    """Spell a value for a plot: escaped, and long ones without their middle."""
    text = parameter(value)
    if len(text) > _LONGEST_LABEL:
        text = f"{text[: _LONGEST_LABEL // 2]}…{text[-_LONGEST_LABEL // 3 :]}"
    return html.escape(text, quote=False)


def is_missing(value: object) -> bool:
    """Whether a candidate lacks a parameter; None (``null``) is a value like any other."""
    return isinstance(value, float) and np.isnan(value)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def in_order(values: Sequence[Any]) -> list[str]:
    """Labels of categories, sorted: numbers by size, then the rest by name (``auto``, ``null``)."""
    numbers = sorted(value for value in values if is_number(value))
    others = sorted(label(value) for value in values if not is_number(value))
    return list(dict.fromkeys([*map(label, numbers), *others]))


def spans_decades(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis spreads the values better: positive, wide, most of them small."""
    low, high = min(values, default=0), max(values, default=0)
    return low > 0 and high / low >= _LOG_RATIO and float(np.median(values)) < (low + high) / 4


def thinned(n: int) -> Array:
    """Row numbers to show of `n`, spread evenly: more points slow a page and show nothing new."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).astype(int))
