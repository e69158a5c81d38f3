"""The report of a run: what came of it, and how it got there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from runner.results import verdict
from runner.results.report import predictions, scores, training
from runner.results.report.examples import worst_predictions
from runner.results.report.figure import Array, is_missing
from runner.results.report.page import Cell, Page, Plot, Section, Table, make_page, write_page
from runner.results.report.predictions import Fitted
from runner.results.report.search_sections import search_sections
from runner.results.schema import Result
from runner.results.verdict import duration, parameter

# Keeps the page under 6 MB with 1000 trials.
MOST_CELLS = 15_000


@dataclass(frozen=True)
class ReportDetails:
    """What the report shows beyond the record; whatever is None is left out.

    ``X_test`` has shape (n_test, …) and ``y_test`` (n_test,), labels as the user wrote them;
    ``classes`` are in the order of the probabilities. ``baseline`` is None where it is the winner
    itself. ``commands`` say what each line runs again.
    """

    X_test: Array | pd.DataFrame | None = None
    y_test: Array | None = None
    classes: Sequence[Any] | None = None
    winner: Fitted | None = None
    baseline: Fitted | None = None
    commands: Sequence[tuple[str, str]] = ()


def write_report(
    folder: Path,
    result: Result,
    trials: pd.DataFrame,
    details: ReportDetails | None = None,
    with_plots: bool = True,
) -> None:
    """Write ``report.html``, which needs nothing but itself, and ``plots/``.

    Parameters
    ----------
    trials
        As :func:`runner.results.trials.trials_table` makes it; may be empty.
    with_plots
        Whether plots are written as files too.

    Raises
    ------
    OSError
        When the folder can't be written.
    """
    write_page(folder, run_page(result, trials, details or ReportDetails()), with_plots)


def run_page(result: Result, trials: pd.DataFrame, details: ReportDetails) -> Page:
    """Say what the report says; what does not apply to the run has no section."""
    return make_page(
        title=" · ".join(result.name.values()) or "Run",
        subtitle=_subtitle(result),
        verdict=verdict.verdict(result),
        note=f"{result.comparison.method}." if result.comparison else "",
        sections=_sections(result, trials, details),
    )


def _sections(result: Result, trials: pd.DataFrame, details: ReportDetails) -> Iterator[Section]:
    yield _scores(result)
    yield _best_parameters(result)
    # By position: a column of its own could take a searched parameter's name.
    yield from search_sections(trials.set_index(np.arange(1, len(trials) + 1)), result.baseline)
    yield _learning_curves(details)
    yield _test_rows(result, details)
    yield _worst(details)
    yield _trials(trials)
    yield _time(result)
    yield _environment(result)
    yield Section("Run it again", commands=details.commands)


def _subtitle(result: Result) -> str:
    data = result.data
    if data is None:
        return ""
    classes = f", {data.n_classes} classes" if data.n_classes else ""
    shape = "×".join(map(str, data.shape))
    return (
        f"{result.task}, {data.n_train} training rows and {data.n_test} test rows of shape "
        f"{shape}{classes}; scored by {result.scoring}"
    )


def _scores(result: Result) -> Section:
    entries = [("baseline", result.baseline), ("tuned", result.best)]
    metrics = verdict.test_metrics(result)
    rows = [
        [
            Cell(name),
            Cell(verdict.mean_and_std(entry)),
            *(Cell(verdict.test_score(entry, metric, result.scoring)) for metric in metrics),
        ]
        for name, entry in entries
        if entry is not None
    ]
    if not rows:
        return Section("Scores")
    header = ["", f"cross-validated {result.scoring}", *(f"test {metric}" for metric in metrics)]
    folds = scores.fold_scores(result.baseline, result.best)
    return Section(
        "Scores",
        note="± is the standard deviation over folds, [ ] the 95% interval on the test rows.",
        tables=[Table(header, rows)],
        plots=[Plot("fold-scores", "Score on each fold", folds)] if folds.data else [],
    )


def _best_parameters(result: Result) -> Section:
    if result.best is None or not result.best.params:
        return Section("Best parameters")
    before = result.baseline.params if result.baseline else {}
    rows = [
        [
            Cell(path),
            Cell(parameter(value)),
            *([Cell(parameter(before[path]) if path in before else "")] if before else []),
        ]
        for path, value in result.best.params.items()
    ]
    header = ["parameter", "tuned", *(["baseline"] if before else [])]
    return Section("Best parameters", tables=[Table(header, rows)])


def _learning_curves(details: ReportDetails) -> Section:
    tuned, baseline = (
        fitted.curves if fitted else None for fitted in (details.winner, details.baseline)
    )
    plots = [
        Plot(f"curve-{metric}", metric, training.learning_curve(metric, tuned, baseline))
        for metric in training.curve_metrics(tuned, baseline)
    ]
    return Section("Learning curves", plots=plots)


def _test_rows(result: Result, details: ReportDetails) -> Section:
    if details.y_test is None or details.winner is None:
        return Section("Test rows")
    if result.task == "regression":
        figure = predictions.residuals(details.y_test, details.winner.y_pred)
        return Section("Test rows", plots=[Plot("residuals", "Residuals", figure)])
    figure = predictions.confusion(details.y_test, details.winner.y_pred, details.classes)
    plots = [Plot("confusion", "Confusion matrix", figure)]
    if details.classes is not None:
        reliability = predictions.calibration(
            details.y_test, details.classes, details.winner, details.baseline
        )
        if reliability is not None:
            plots.append(Plot("calibration", "Calibration", reliability))
    return Section("Test rows", plots=plots)


def _worst(details: ReportDetails) -> Section:
    if details.X_test is None or details.y_test is None or details.winner is None:
        return Section("Worst predictions")
    return worst_predictions(details.X_test, details.y_test, details.winner, details.classes)


def _trials(trials: pd.DataFrame) -> Section:
    header = [str(name) for name in trials.columns]
    if trials.empty:
        return Section("Trials")
    best_first = trials.sort_values("rank", kind="stable").head(MOST_CELLS // len(header))
    # Column by column, since rows of a data frame would turn integers into floats.
    columns = [[Cell(_text(value)) for value in best_first[name]] for name in trials.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    left_out = f"The best {len(rows)} of {len(trials)}; all of them are in trials.csv."
    return Section(
        "Trials",
        note=left_out if len(rows) < len(trials) else "",
        tables=[Table(header, rows, is_sortable=True)],
    )


def _text(value: object) -> str:
    if is_missing(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else parameter(value)


def _time(result: Result) -> Section:
    facts, counts = [], result.trials
    if result.timing is not None:
        spent = result.timing
        facts = [
            ("total", duration(spent.total_s)),
            ("search", duration(spent.search_s)),
            ("refit", duration(spent.refit_s)),
            ("all else", duration(max(0.0, spent.total_s - spent.search_s - spent.refit_s))),
        ]
    note = counts and (
        f"{counts.n_candidates} candidates, {counts.n_fits} fits, {counts.n_failed} failed, "
        f"{counts.n_restored} taken from an earlier start."
    )
    return Section("Time", note=note or "", facts=facts)


def _environment(result: Result) -> Section:
    facts = [("seed", str(result.seed))]
    for key, value in result.environment.items():
        entries = value.items() if isinstance(value, dict) else [(key, value)]
        facts += [(name, "–" if each is None else parameter(each)) for name, each in entries]
    return Section("Environment", facts=facts)
