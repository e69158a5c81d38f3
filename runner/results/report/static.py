"""Plots as PNG and SVG: Plotly's figures drawn again by Matplotlib, which needs no browser.

It knows what the figures here are made of (scatter, bars, heatmap) and what they say about axes.
"""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES, _DOTS_PER_INCH, _PIXELS_PER_INCH = 6.4, 144, 100
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#8b93a1",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "font.size": 9,
    "grid.color": "#e3e7ec",
    "legend.frameon": False,
    # Names come from configs and data, where $ is no mathematics.
    "text.parse_math": False,
    # Text stays text, and the same plot the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "runner",
}
_SYMBOLS = {"circle": "o", "x": "x", "triangle-down": "v"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_TEXT_SIDES: dict[str, dict[str, Any]] = {
    "middle right": {"xytext": (4, 0), "va": "center"},
    "top center": {"xytext": (0, 3), "ha": "center", "va": "bottom"},
    "bottom center": {"xytext": (0, -3), "ha": "center", "va": "top"},
}
_MANY_LETTERS, _MOST_LETTERS = 55, 90  # of labels side by side below an axis

Places = dict[str, int] | None
"""Of an axis: where its categories stand."""


def draw(title: str, figure: go.Figure) -> dict[str, bytes]:
    """Draw a figure on white; return the files' contents by format."""
    # Only now: it takes a part of a second.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    png, svg = io.BytesIO(), io.BytesIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A class may be named in a script that the font lacks: boxes, but a plot.
        warnings.filterwarnings("ignore", "Glyph")
        drawn = _drawn(title, figure)
        # Straight to the canvas: `savefig` draws everything once more, to see how large it is.
        FigureCanvasAgg(drawn).print_png(png)  # type: ignore[no-untyped-call]
        drawn.set_layout_engine("none")
        FigureCanvasSVG(drawn).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return {"png": png.getvalue(), "svg": svg.getvalue()}


def _drawn(title: str, figure: go.Figure) -> Figure:
    from matplotlib.figure import Figure as NewFigure

    layout = figure.layout
    height = (layout.height or 320) / _PIXELS_PER_INCH
    drawn = NewFigure((_WIDTH_INCHES, height), _DOTS_PER_INCH, layout="constrained")
    axes = drawn.subplots()
    axes.set_axisbelow(True)
    places = [_places(figure, name) for name in ("x", "y")]
    for trace in figure.data:
        _DRAW[trace.type](axes, trace, *places)
    for axis, categories in zip((axes.xaxis, axes.yaxis), places, strict=True):
        if categories is not None:
            axis.set_ticks(range(len(categories)), [_plain(name) for name in categories])
    axes.set(xlabel=_plain(layout.xaxis.title.text), ylabel=_plain(layout.yaxis.title.text))
    _dress(axes, layout)
    # Above the plot, as on the page; the title above that.
    axes.set_title(_plain(title), pad=22 if _add_legend(axes, figure) else 8)
    return drawn


def _add_legend(axes: Axes, figure: go.Figure) -> bool:
    """Name the traces that have names, in Plotly's order; say whether there are any."""
    handles, names = axes.get_legend_handles_labels()
    ranks = {_plain(trace.name): trace.legendrank or 0 for trace in figure.data}
    shown = sorted(zip(handles, names, strict=True), key=lambda each: ranks[each[1]])
    if shown:
        axes.legend(
            *zip(*shown, strict=True),
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(shown),
            borderaxespad=0,
            fontsize=8,
        )
    return bool(shown)


def _places(figure: go.Figure, name: str) -> dict[str, int] | None:
    """Where an axis's categories stand on it, in the order in which they come; None for numbers."""
    axis = figure.layout[f"{name}axis"]
    if axis.type != "category":
        return None
    given = (value for trace in figure.data for value in trace[name])
    names = dict.fromkeys([*(axis.categoryarray or ()), *given])
    return {name: place for place, name in enumerate(names)}


def _dress(axes: Axes, layout: Any) -> None:
    from matplotlib.ticker import MultipleLocator

    for name, wanted in (("x", layout.xaxis), ("y", layout.yaxis)):
        axis = getattr(axes, f"{name}axis")
        if wanted.type == "log":
            getattr(axes, f"set_{name}scale")("log")
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(lambda value, _: "")
        elif wanted.dtick == 1:
            axis.set_major_locator(MultipleLocator(1))
        if wanted.range is not None:
            getattr(axes, f"set_{name}lim")(*wanted.range)
        if wanted.autorange == "reversed":
            axis.set_inverted(True)
        if wanted.rangemode == "tozero":
            getattr(axes, f"set_{name}lim")(0)
        if wanted.tickformat == ".0%":
            axis.set_major_formatter(lambda value, _: f"{value:.0%}")
        if wanted.showgrid is False:
            axis.grid(False)
        if wanted.visible is False:
            axis.set_visible(False)
            axes.spines["left" if name == "y" else "bottom"].set_visible(False)
    labels = [max(text.get_text().split("\n"), key=len) for text in axes.get_xticklabels()]
    letters = sum(map(len, labels)) if layout.xaxis.type == "category" else 0
    if letters > _MANY_LETTERS:
        axes.tick_params("x", labelsize=7)
    if letters > _MOST_LETTERS:
        axes.tick_params("x", rotation=45)
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")


def _draw_scatter(axes: Axes, trace: Any, *places: Places) -> None:
    x, y = (_values(*each) for each in zip((trace.x, trace.y), places, strict=True))
    modes = (trace.mode or "lines").split("+")
    name = None if trace.showlegend is False or not trace.name else _plain(trace.name)
    if "lines" in modes:
        line = trace.line
        axes.plot(
            x,
            y,
            _DASHES[line.dash or "solid"],
            color=_colour(line.color),
            drawstyle="steps-post" if line.shape == "hv" else "default",
            linewidth=line.width or 1.8,
            label=name,
        )
    if "markers" in modes:
        colour = trace.marker.color or trace.line.color
        axes.scatter(
            x,
            y,
            s=22,
            c=_colour(colour) if isinstance(colour, str) else [_colour(each) for each in colour],
            marker=_SYMBOLS[trace.marker.symbol or "circle"],
            alpha=trace.marker.opacity,
            linewidths=1 if trace.marker.symbol == "x" else 0,
            label=None if "lines" in modes else name,
            zorder=3,
        )
    if "text" in modes:
        sides = trace.textposition
        sides = [sides] * len(x) if isinstance(sides, str) else sides
        for place, height, text, side in zip(x, y, trace.text, sides, strict=True):
            looks = _TEXT_SIDES[side]
            axes.annotate(
                _plain(text), (place, height), textcoords="offset points", fontsize=8, **looks
            )


def _draw_bars(axes: Axes, trace: Any, *places: Places) -> None:
    lengths, at = (_values(*each) for each in zip((trace.x, trace.y), places, strict=True))
    axes.barh(at, lengths, color=_colour(trace.marker.color), height=0.7)


def _draw_heatmap(axes: Axes, trace: Any, *places: Places) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    stops = [(stop, _colour(colour)) for stop, colour in trace.colorscale]
    colours = LinearSegmentedColormap.from_list("", stops)
    axes.imshow(np.asarray(trace.z), colours, vmin=trace.zmin, vmax=trace.zmax, aspect="auto")
    if trace.texttemplate:
        for row, texts in enumerate(trace.text):
            for column, text in enumerate(texts):
                axes.text(column, row, str(text), ha="center", va="center", fontsize=8)


_DRAW: dict[str, Callable[..., None]] = {
    "scatter": _draw_scatter,
    "bar": _draw_bars,
    "heatmap": _draw_heatmap,
}


def _values(values: Any, places: Places) -> np.ndarray:
    if places is not None:
        values = [places[value] for value in values]
    return np.asarray(values, dtype=float)


def _plain(text: str | None) -> str:
    """Undo Plotly's HTML; spell out what XML can't hold."""
    lines = (text or "").replace("<br>", "\n")
    return "".join(
        c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in html.unescape(lines)
    )


def _colour(text: str) -> Any:
    """Read ``rgba(59,130,246,0.9)``; Matplotlib knows the rest itself."""
    if not text.startswith("rgba("):
        return text
    red, green, blue, alpha = (float(part) for part in text[5:-1].split(","))
    return red / 255, green / 255, blue / 255, alpha
