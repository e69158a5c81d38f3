"""The summary at the end of a run, as a plain terminal shows it."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from runner.results.schema import Evaluation, Result, TrialCounts
from runner.results.summary import render_summary
from runner.results.verdict import duration, parameter


def _show(result: Result, run_dir: Path, width: int = 100) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(render_summary(result, run_dir))
    return stream.getvalue()


def test_summary_shows_scores_verdict_parameters_duration_and_place(digits_run, tmp_path):
    (tmp_path / "report.html").write_text("")
    shown = _show(digits_run.result, tmp_path)
    best, baseline = digits_run.result.best, digits_run.result.baseline
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    for label, entry in (("baseline", baseline), ("tuned", best)):
        assert f"{entry.cv_mean:.4f} ± {entry.cv_std:.4f}" in rows[label]
        low, high = entry.test_ci95
        assert f"{entry.test['accuracy']:.4f} [{low:.4f}, {high:.4f}]" in rows[label]
    assert "Tuning helped: accuracy" in shown
    for path, value in best.params.items():
        assert rows[path].split()[1] == parameter(value)
    assert "Took 1 min 23 s, of which the search 1 min 2 s" in shown
    assert rows["Files"].split()[1] == str(tmp_path)
    assert rows["Report"].split()[1] == str(tmp_path / "report.html")
    assert "failed" not in shown


@pytest.mark.parametrize("width", [40, 80, 100])
def test_plain_summary_fits_its_width_without_escapes_or_boxes(digits_run, width):
    shown = _show(digits_run.result, Path("/a" * 80), width)
    assert all(len(line) <= width for line in shown.splitlines())
    assert not set(shown) & set("\x1b─━│┃┏┓└┘|")
    assert "/a" * 80 in shown.replace("\n", "")


def test_failed_candidates_are_counted(digits_run, tmp_path):
    shown = _show(replace(digits_run.result, trials=TrialCounts(12, 36, 3)), tmp_path)
    assert "3 of 12 candidates failed" in shown


def test_text_from_a_config_is_not_markup(digits_run, tmp_path):
    best = replace(digits_run.result.best, params={"model.[red]x": "[bold]y[/bold]"})
    shown = _show(replace(digits_run.result, best=best), tmp_path)
    assert "model.[red]x" in shown
    assert "[bold]y[/bold]" in shown


def test_a_failed_run_says_why(tmp_path):
    error = {"type": "MemoryError", "message": "[too] big"}
    shown = _show(Result("failed", None, {}, 0, None, [], {}, error=error), tmp_path)
    assert "The run failed: MemoryError: [too] big" in shown
    assert str(tmp_path) in shown.replace("\n", "")


def test_an_interrupted_run_says_so(digits_run, tmp_path):
    result = replace(digits_run.result, status="interrupted", best=None, comparison=None)
    assert "Interrupted before the end. There is no winner" in _show(result, tmp_path)


def test_every_test_metric_has_a_column_and_the_interval_stays_with_its_own(tmp_path):
    best = Evaluation({}, 0.9, 0.01, [0.9], {"accuracy": 0.875, "roc_auc": math.nan}, (0.8, 0.95))
    result = Result("completed", "classification", {}, 0, "accuracy", [], {}, best=best)
    header, row, *_ = _show(result, tmp_path).splitlines()
    assert "test accuracy" in header
    assert "test roc_auc" in header
    assert "0.8750 [0.8000, 0.9500]" in row
    assert row.split()[-1] == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.96, "1 min 0 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (math.nan, "–"),
    ],
)
def test_durations_are_in_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-4, "0.0001"),
        (0.1 + 0.2, "0.3"),
        (None, "null"),
        (True, "true"),
        ([1, 2], "[1, 2]"),
        ("a", "a"),
    ],
)
def test_parameters_read_as_on_the_command_line(value, text):
    assert parameter(value) == text
