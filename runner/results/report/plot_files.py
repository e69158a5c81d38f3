"""A page's plots as files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go

from runner.results.report.static import draw

_LONGEST_NAME = 80


def write_plots(folder: Path, plots: Mapping[str, tuple[str, go.Figure]]) -> None:
    """Write each plot as ``<name>.png`` and ``<name>.svg``, in place of what was there before.

    Parameters
    ----------
    folder
        Made when it isn't there.
    plots
        Title and figure of each plot, by name; names become file names.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not plots:
        return
    folder.mkdir()
    taken: set[str] = set()
    for name, (title, figure) in plots.items():
        stem = _stem(name, taken)
        for suffix, content in draw(title, figure).items():
            (folder / f"{stem}.{suffix}").write_bytes(content)


def _stem(name: str, taken: set[str]) -> str:
    """A file name of its own, of letters, digits, dots and dashes."""
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:_LONGEST_NAME].strip(".-") or "plot"
    stem, number = safe, 2
    while stem.lower() in taken:
        stem, number = f"{safe}-{number}", number + 1
    taken.add(stem.lower())
    return stem
