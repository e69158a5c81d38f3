"""What a run's page says, and that nothing in it can run."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from reading import EVIL, evil_page, run_report, specs_of, strings_in, text_of, titles_of

from runner.results.report.page import render
from runner.results.report.run import ReportDetails, run_page, write_report
from runner.results.schema import Comparison, Evaluation, Result

FAILED = Result(
    "failed", None, {}, 0, None, [], {}, error={"type": "ValueError", "message": f"NaN {EVIL}"}
)


@pytest.fixture(scope="module")
def page(digits_run, curves):
    winner = replace(digits_run.details.winner, curves={**curves, "val_loss": curves["loss"]})
    baseline = replace(digits_run.details.baseline, curves={"loss": curves["loss"]})
    details = replace(digits_run.details, winner=winner, baseline=baseline)
    return run_page(digits_run.result, digits_run.trials, details)


def test_page_shows_verdict_scores_parameters_trials_time_and_command(page, digits_run):
    text = text_of(render(page))
    result = digits_run.result
    assert "Tuning helped: accuracy" in text
    assert f"on {result.data.n_test} test rows (95% interval" in text
    assert f"{result.best.cv_mean:.4f} ± {result.best.cv_std:.4f}" in text
    assert f"{result.baseline.test['accuracy']:.4f} [{result.baseline.test_ci95[0]:.4f}" in text
    for path in result.best.params:
        assert path in text
    for score in digits_run.trials["mean_test_score"]:
        assert f"{score:.4g}" in text
    assert "total 1 min 23 s search 1 min 2 s refit 4.1 s all else 17.6 s" in text
    assert f"numpy {np.__version__}" in text
    assert "The whole run: runner model=tree" in text


def test_page_has_a_section_for_each_question_and_a_plot_where_one_helps(page):
    assert titles_of(page) == [
        *("Scores", "Best parameters", "Search", "What mattered", "Parameters"),
        *("Learning curves", "Test rows", "Worst predictions", "Trials", "Time"),
        *("Environment", "Run it again"),
    ]
    names = [plot.name for plot in page.plots]
    slices = {name for name in names if name.startswith("slice-")}
    assert slices == {
        *("slice-min_samples_leaf", "slice-max_features", "slice-max_depth", "slice-ccp_alpha")
    }
    assert [name for name in names if name not in slices] == [
        *("fold-scores", "search-history", "importance", "parallel-coordinates"),
        *("curve-loss", "curve-accuracy", "confusion", "calibration"),
    ]


def test_page_asks_the_network_for_nothing(page):
    rendered = render(page)
    assert "http" not in rendered.replace("http-equiv", "")
    assert "default-src 'none'" in rendered


def test_regression_shows_residuals_and_r2(diabetes_run):
    page = run_page(diabetes_run.result, diabetes_run.trials, diabetes_run.details)
    (section,) = [section for section in page.sections if section.title == "Test rows"]
    assert [plot.name for plot in section.plots] == ["residuals"]
    text = text_of(render(page))
    assert "R² " in text
    # The test rows can't tell these two apart, and the page must say so.
    assert "Tuning made no difference that the test rows can show" in text


def test_page_with_markup_in_every_text_shows_it_and_runs_none(digits_run):
    page = render(evil_page(digits_run))
    assert EVIL not in page
    assert text_of(page).count(EVIL) >= 12


def test_plots_escape_markup_as_plotly_reads_text_as_html(digits_run):
    strings = list(strings_in(specs_of(render(evil_page(digits_run)))))
    assert sum("alert(1)" in text for text in strings) >= 20
    assert not any("<script" in text for text in strings)


def test_tuning_that_did_not_help_is_said(digits_run):
    page = run_report(
        digits_run, best=digits_run.result.baseline, comparison=Comparison(0, (0, 0), 1, "exact")
    )
    said = "Tuning did not help, no candidate beat the baseline in cross-validation"
    assert said in text_of(page)
    assert [trace["name"] for trace in specs_of(page)[0]["data"]] == ["baseline, kept"]


def test_tuning_that_did_harm_on_the_test_rows_is_said(digits_run):
    page = run_report(digits_run, comparison=Comparison(-0.1, (-0.15, -0.05), 0.001, "exact"))
    assert "Tuning did not help, it did harm: accuracy" in text_of(page)
    said = "-0.1000 on 450 test rows (95% interval -0.1500 to -0.0500; p = 0.001)"
    assert said in text_of(page)


def test_what_does_not_apply_is_left_out(digits_run):
    result = replace(digits_run.result, baseline=None, comparison=None, trials=None, timing=None)
    page = run_page(result, digits_run.trials.head(1), ReportDetails())
    assert page.verdict.startswith("Nothing to compare with: cross-validated accuracy")
    assert [plot.name for plot in page.plots] == ["fold-scores", "search-history"]
    page = run_page(result, pd.DataFrame(), ReportDetails())
    assert titles_of(page) == ["Scores", "Best parameters", "Environment"]


def test_a_failed_run_has_a_page_that_says_why():
    page = run_page(FAILED, pd.DataFrame(), ReportDetails())
    assert page.verdict == f"The run failed: ValueError: NaN {EVIL}"
    assert specs_of(render(page)) == []


@pytest.mark.filterwarnings("error")
def test_undefined_scores_are_dashes_and_failed_candidates_have_no_score(digits_run):
    nan = math.nan
    trials = digits_run.trials.copy()
    trials.loc[:3, ["mean_test_score", "split0_test_score"]] = nan
    trials.loc[:3, "status"] = "failed"
    best = Evaluation({}, nan, nan, [nan, 0.5], {"accuracy": nan}, (nan, nan))
    comparison = Comparison(nan, (nan, nan), nan, "exact")
    result = replace(digits_run.result, best=best, comparison=comparison)
    page = run_page(result, trials, ReportDetails())
    text = text_of(render(page))
    assert "– [–, –]" in text
    assert "p undefined" in text
    assert "nan" not in text.lower()
    (history,) = [plot.figure for plot in page.plots if plot.name == "search-history"]
    failed = next(trace for trace in history.data if trace.name == "failed")
    assert len(failed.y) == 4
    all_failed = trials.assign(mean_test_score=nan, status="failed")
    assert specs_of(render(run_page(result, all_failed, ReportDetails())))


def test_a_thousand_trials_make_a_page_under_six_megabytes(digits_run, many_trials):
    started = time.process_time()
    page = render(run_page(digits_run.result, many_trials, digits_run.details))
    assert time.process_time() - started < 8
    assert len(page) < 6_000_000
    text = text_of(page)
    assert re.search(r"The best \d+ of 1000; all of them are in trials.csv", text)
    assert f"{many_trials['mean_test_score'].max():.4g}" in text


def test_page_and_plots_are_written_and_earlier_plots_are_gone(digits_run, tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "slice-old.png").touch()
    write_report(tmp_path, digits_run.result, digits_run.trials, digits_run.details)
    page = run_page(digits_run.result, digits_run.trials, digits_run.details)
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {f"{plot.name}.{suffix}" for plot in page.plots for suffix in ("png", "svg")}
    write_report(tmp_path, digits_run.result, digits_run.trials, with_plots=False)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
