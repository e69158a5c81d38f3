"""The report of a run: one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from plotly.offline import get_plotlyjs

from runner.results import figures, verdict
from runner.results.atomic import write_text
from runner.results.schema import Result
from runner.results.trials import searched_paths
from runner.secrets import mask

Array = np.ndarray[Any, np.dtype[Any]]

# Both keep the page under 6 MB with 1000 trials; plotly.js alone takes 4.8 MB.
MOST_CELLS = 15_000
MOST_SLICES = 12


@dataclass(frozen=True)
class ReportDetails:
    """What the report shows beyond the record; whatever is None is left out.

    ``y_test`` and ``y_pred`` (the winner's) have shape (n_test,), labels as the user wrote them;
    ``class_labels`` is the order of the classes. Curves map metric names (``loss``,
    ``val_loss``) to a value per epoch. ``command`` is the line that runs it again.
    """

    y_test: Array | None = None
    y_pred: Array | None = None
    class_labels: Sequence[Any] | None = None
    winner_curves: figures.Curves | None = None
    baseline_curves: figures.Curves | None = None
    command: str | None = None


@dataclass(frozen=True)
class Plot:
    """A figure under its title."""

    title: str
    figure: go.Figure


@dataclass(frozen=True)
class Section:
    title: str
    plots: list[Plot]


@dataclass(frozen=True)
class TrialsView:
    """The rows of the trials table that fit the page, best first."""

    header: list[str]
    rows: list[list[str]]
    n_all: int


def write_report(
    path: Path, result: Result, trials: pd.DataFrame, details: ReportDetails | None = None
) -> None:
    """Write the report atomically; the page needs nothing but itself.

    Parameters
    ----------
    path
        The HTML file.
    trials
        As :func:`runner.results.trials.trials_table` makes it; may be empty.
    """
    write_text(path, render_report(result, trials, details or ReportDetails()))


def render_report(result: Result, trials: pd.DataFrame, details: ReportDetails) -> str:
    """Return the page as HTML. Every text from configs or data is escaped, in plots too."""
    sections = [section for section in _sections(result, trials, details) if section.plots]
    specs = [json.loads(plot.figure.to_json()) for part in sections for plot in part.plots]
    return _template().render(
        result=result,
        words=verdict,
        sections=sections,
        specs=specs,
        trials=_trials_view(trials),
        command=details.command,
        plotlyjs=get_plotlyjs(),
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        # Texts only: what is marked safe is code.
        finalize=lambda value: mask(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _sections(result: Result, trials: pd.DataFrame, details: ReportDetails) -> Iterator[Section]:
    if result.best or result.baseline:
        plot = Plot("Score on each fold", figures.fold_scores(result.baseline, result.best))
        yield Section("Cross-validation", [plot])
    if len(trials):
        plot = Plot("Candidates in order", figures.search_history(trials, result.baseline))
        yield Section("Search", [plot])
        yield Section("Parameters", _slices(trials))
    yield Section("Learning curves", _learning_curves(details))
    yield Section("Test rows", _predictions(result, details))


def _slices(trials: pd.DataFrame) -> list[Plot]:
    """One plot for each parameter that took more than one value."""
    varied = [path for path in searched_paths(trials) if _n_distinct(trials[path]) > 1]
    return [Plot(path, figures.parameter_slice(trials, path)) for path in varied[:MOST_SLICES]]


def _n_distinct(values: pd.Series) -> int:
    return len({verdict.parameter(value) for value in values if not figures.is_missing(value)})


def _learning_curves(details: ReportDetails) -> list[Plot]:
    tuned, baseline = details.winner_curves, details.baseline_curves
    return [
        Plot(metric, figures.learning_curve(metric, tuned, baseline))
        for metric in figures.curve_metrics(tuned, baseline)
    ]


def _predictions(result: Result, details: ReportDetails) -> list[Plot]:
    if details.y_test is None or details.y_pred is None:
        return []
    if result.task == "regression":
        return [Plot("Residuals", figures.residuals(details.y_test, details.y_pred))]
    figure = figures.confusion(details.y_test, details.y_pred, details.class_labels)
    return [Plot("Confusion matrix", figure)]


def _trials_view(trials: pd.DataFrame) -> TrialsView:
    header = [str(name) for name in trials.columns]
    if not header:
        return TrialsView([], [], 0)
    best_first = trials.sort_values("rank", kind="stable").head(MOST_CELLS // len(header))
    # Column by column, since rows of a data frame would turn integers into floats.
    columns = [[_cell(value) for value in best_first[name]] for name in trials.columns]
    return TrialsView(header, [list(row) for row in zip(*columns, strict=True)], len(trials))


def _cell(value: object) -> str:
    if figures.is_missing(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else verdict.parameter(value)
