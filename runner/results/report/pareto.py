"""Jobs with several objectives: what one costs in another."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from runner.results.comparison.leaderboard import CSV, JSON
from runner.results.report.figure import BASELINE, TUNED, label, new_figure
from runner.results.report.page import Plot

_MOST_PLOTS = 3
_FRONT = "pareto"


def pareto_plots(folder: Path) -> Iterator[Plot]:
    """Plots of a sweep's objectives in pairs, the first few of each leaderboard.

    ``sweep.json`` names the objectives and whether each is made large or small;
    ``leaderboard.csv`` has the jobs' values, and which jobs no other one beats in all of them. A
    sweep with fewer than two objectives has no plots.
    """
    directions = _directions(folder)
    table = _values(folder, list(directions)) if len(directions) > 1 else pd.DataFrame()
    if table.empty:
        return
    for group, jobs in table.groupby("group"):
        prefix = f"{group}-" if table["group"].nunique() > 1 else ""
        pairs = itertools.combinations(directions, 2)
        for one, other in itertools.islice(pairs, _MOST_PLOTS):
            figure = _pareto(jobs, (one, other), directions)
            yield Plot(f"{prefix}pareto-{one}-{other}", f"{other} against {one}", figure)


def _directions(folder: Path) -> dict[str, str]:
    """The objectives of a sweep, and which way is better; none where its record names none."""
    try:
        record = json.loads((folder / JSON).read_text(encoding="utf-8"))
        return {str(each["name"]): str(each["direction"]) for each in record["objectives"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _values(folder: Path, names: list[str]) -> pd.DataFrame:
    """The jobs that have a value of every objective."""
    wanted = ["group", "path", _FRONT, *names]
    try:
        table = pd.read_csv(folder / CSV)[wanted]
    except (OSError, ValueError, KeyError):
        return pd.DataFrame()
    return table.dropna()


def _pareto(jobs: pd.DataFrame, pair: tuple[str, str], directions: dict[str, str]) -> go.Figure:
    """One objective against another, and the front of all together."""
    x_title, y_title = (f"{label(name)} ({directions[name]})" for name in pair)
    figure = new_figure(x_title, y_title)
    # A front of more than two objectives is no line.
    has_line = len(directions) == 2
    on_front = jobs[_FRONT].astype(bool)
    for name, rows, colour in (
        ("beaten", jobs[~on_front], BASELINE),
        ("Pareto front", jobs[on_front].sort_values(pair[0]), TUNED),
    ):
        looks: dict[str, Any] = {"line": {"color": colour}, "marker": {"color": colour}}
        figure.add_scatter(
            x=rows[pair[0]],
            y=rows[pair[1]],
            text=[f"job {label(path)}" for path in rows["path"]],
            name=name,
            mode="lines+markers" if has_line and colour == TUNED else "markers",
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
            **looks,
        )
    return figure
