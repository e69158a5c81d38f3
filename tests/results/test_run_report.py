"""The report: what it says, that nothing in it can run, and how a real browser takes it."""

from __future__ import annotations

import html
import json
import math
import os
import re
import shutil
import subprocess
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from runner.results import figures
from runner.results.report import ReportDetails, render_report, write_report
from runner.results.schema import Comparison, Evaluation, Result

CHROMIUM = shutil.which("chromium")
EVIL = "<script>alert(1)</script>"
FAILED = Result(
    "failed", None, {}, 0, None, [], {}, error={"type": "ValueError", "message": f"NaN {EVIL}"}
)


@pytest.fixture(scope="module")
def page(digits_run, curves) -> str:
    details = replace(
        digits_run.details,
        winner_curves={**curves, "val_loss": curves["loss"]},
        baseline_curves={"loss": curves["loss"]},
    )
    return render_report(digits_run.result, digits_run.trials, details)


def _text(page: str) -> str:
    """What a reader sees: the page without scripts and tags."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def _specs(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1]) if found else []


def test_page_shows_verdict_scores_parameters_trials_time_and_command(page, digits_run):
    text = _text(page)
    result = digits_run.result
    assert "Tuning helped: accuracy" in text
    assert f"on {result.data.n_test} test rows (95% interval" in text
    assert f"{result.best.cv_mean:.4f} ± {result.best.cv_std:.4f}" in text
    assert f"{result.baseline.test['accuracy']:.4f} [{result.baseline.test_ci95[0]:.4f}" in text
    for path in result.best.params:
        assert path in text
    for score in digits_run.trials["mean_test_score"]:
        assert f"{score:.4g}" in text
    assert "total 1 min 23 s" in text
    assert f"numpy {np.__version__}" in text
    assert "runner model=tree" in text


def test_page_has_a_plot_for_each_question(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions == [
        *("Score on each fold", "Candidates in order"),
        *("min_samples_leaf", "max_features", "max_depth", "ccp_alpha"),
        *("loss", "accuracy", "Confusion matrix"),
    ]
    assert len(_specs(page)) == len(captions)


def test_page_asks_the_network_for_nothing(page):
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "http" not in markup.replace("http-equiv", "")
    assert "default-src 'none'" in markup
    assert page.count("plotly.js v") == 1


def test_regression_shows_residuals_and_r2(diabetes_run):
    page = render_report(diabetes_run.result, diabetes_run.trials, diabetes_run.details)
    assert "Residuals" in page
    assert "Confusion matrix" not in page
    assert "R² " in _text(page)
    # The test rows can't tell these two apart, and the page must say so.
    assert "Tuning made no difference that the test rows can show" in _text(page)


def test_page_with_markup_in_every_text_shows_it_and_runs_none(digits_run):
    page = _evil_page(digits_run)
    assert EVIL not in page
    assert _text(page).count(EVIL) >= 6


def test_plots_escape_markup_as_plotly_reads_text_as_html(digits_run):
    strings = list(_strings(_specs(_evil_page(digits_run))))
    assert sum("alert(1)" in text for text in strings) >= 4
    assert not any("<script" in text for text in strings)


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        yield from value if isinstance(value, dict) else ()
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _evil_page(run) -> str:
    trials = run.trials.assign(**{f"model.{EVIL}": [EVIL, "fine"] * 6})
    names = {"data": EVIL, "model": "tree"}
    best = replace(run.result.best, params={f"model.{EVIL}": EVIL}, test={EVIL: 0.5})
    result = replace(run.result, name=names, best=best, environment={EVIL: EVIL}, scoring=EVIL)
    labels = np.where(run.details.y_test == 1, EVIL, "other")
    details = ReportDetails(labels, labels, [EVIL, "other"], {EVIL: [1.0, 2.0]}, None, EVIL)
    return render_report(result, trials, details)


def test_tuning_that_did_not_help_is_said(digits_run):
    baseline = digits_run.result.baseline
    result = replace(digits_run.result, best=baseline, comparison=Comparison(0, (0, 0), 1, "exact"))
    page = render_report(result, digits_run.trials, digits_run.details)
    assert "Tuning did not help, no candidate beat the baseline in cross-validation" in _text(page)


def test_tuning_that_did_harm_on_the_test_rows_is_said(digits_run):
    harm = Comparison(-0.1, (-0.15, -0.05), 0.001, "exact")
    page = render_report(
        replace(digits_run.result, comparison=harm), digits_run.trials, ReportDetails()
    )
    assert "Tuning did not help, it did harm: accuracy" in _text(page)
    assert "-0.1000 on 450 test rows (95% interval -0.1500 to -0.0500; p = 0.001)" in _text(page)


def test_a_run_without_baseline_or_search_has_a_report(digits_run):
    result = replace(digits_run.result, baseline=None, comparison=None, trials=None, timing=None)
    page = render_report(result, digits_run.trials.head(1), ReportDetails())
    assert "Nothing to compare with: cross-validated accuracy" in _text(page)
    assert len(_specs(page)) == 2
    page = render_report(result, pd.DataFrame(), ReportDetails())
    assert len(_specs(page)) == 1
    assert "<h2>Trials</h2>" not in page


def test_a_failed_run_has_a_report_that_says_why():
    page = render_report(FAILED, pd.DataFrame(), ReportDetails())
    assert f"The run failed: ValueError: NaN {EVIL}" in _text(page)
    assert _specs(page) == []


@pytest.mark.filterwarnings("error")
def test_undefined_scores_are_dashes_and_failed_candidates_have_no_score(digits_run):
    nan = math.nan
    trials = digits_run.trials.copy()
    trials.loc[:3, ["mean_test_score", "split0_test_score"]] = nan
    trials.loc[:3, "status"] = "failed"
    best = Evaluation({}, nan, nan, [nan, 0.5], {"accuracy": nan}, (nan, nan))
    comparison = Comparison(nan, (nan, nan), nan, "exact")
    result = replace(digits_run.result, best=best, comparison=comparison)
    page = render_report(result, trials, ReportDetails())
    assert "– [–, –]" in _text(page)
    assert "p undefined" in _text(page)
    assert "nan" not in _text(page).lower()
    history = _specs(page)[1]["data"]
    failed = next(trace for trace in history if trace["name"] == "failed")
    assert len(failed["y"]) == 4
    all_failed = trials.assign(mean_test_score=nan, status="failed")
    assert _specs(render_report(result, all_failed, ReportDetails()))


def test_a_thousand_trials_make_a_page_under_six_megabytes(digits_run, tmp_path):
    rng = np.random.default_rng(0)
    trials = pd.concat([digits_run.trials] * 84, ignore_index=True).head(1000)
    scores = rng.uniform(size=1000)
    trials["mean_test_score"], trials["rank"] = scores, 1 + np.argsort(np.argsort(-scores))
    for i in range(16):
        trials[f"model.long_name_{i}"] = [float(value) for value in 10 ** rng.uniform(-5, -1, 1000)]
    start = time.process_time()
    write_report(tmp_path / "report.html", digits_run.result, trials, digits_run.details)
    assert time.process_time() - start < 5
    assert (tmp_path / "report.html").stat().st_size < 6_000_000
    page = (tmp_path / "report.html").read_text()
    assert "of 1000; all of them are in trials.csv" in page
    assert f"{scores.max():.4g}" in _text(page)


def test_parameter_slice_shows_null_and_leaves_out_what_does_not_apply():
    trials = pd.DataFrame({"mean_test_score": [0.1, 0.2, 0.3, np.nan], "status": "completed"})
    trials["depth"] = pd.Series([10, None, np.nan, 2], dtype=object)
    figure = figures.parameter_slice(trials, "depth")
    assert list(figure.data[0].x) == ["10", "null"]
    assert list(figure.data[0].y) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-4, 1e-3, 1e-2], "log"),
        ([8, 16, 32], "linear"),
        (list(range(1, 100)), "linear"),
        ([0, 1e-3, 1e-2], "linear"),
        ([True, False], "category"),
        (["1", "10"], "category"),
        ([[64], [64, 64]], "category"),
    ],
)
def test_parameter_slice_has_the_axis_that_its_values_call_for(values, kind):
    trials = pd.DataFrame({"mean_test_score": 0.5, "status": "completed"}, index=range(len(values)))
    trials["p"] = pd.Series(values, dtype=object)
    axis = figures.parameter_slice(trials, "p").layout.xaxis
    assert (axis.type or "linear") == kind


def test_best_so_far_counts_only_candidates_that_ran_to_the_end():
    trials = pd.DataFrame({"mean_test_score": [0.5, 0.9, 0.7], "status": "completed"})
    trials.loc[1, "status"] = "stopped"
    best = figures.search_history(trials, None).data[-1]
    assert (list(best.x), list(best.y)) == ([1, 3], [0.5, 0.7])


def test_confusion_matrix_counts_true_classes_in_rows_and_keeps_the_given_order():
    true, predicted = np.array(["b", "b", "a", "c"]), np.array(["b", "a", "a", "d"])
    figure = figures.confusion(true, predicted, ["c", "b", "a"])
    heatmap = figure.data[0]
    assert list(heatmap.y) == ["c", "b", "a", "d"]
    assert np.array(heatmap.text).tolist() == [[0, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0] * 4]
    assert heatmap.z[1][1] == 0.5
    # The first class is at the top, as in scikit-learn's display.
    assert figure.layout.yaxis.autorange == "reversed"


def test_residuals_of_many_rows_are_thinned():
    figure = figures.residuals(np.arange(50_000.0), np.zeros((50_000, 1)))
    assert len(figure.data[0].x) == figures.MOST_POINTS
    assert figure.data[0].y[-1] == 49_999


# --- in a real browser --------------------------------------------------------------------


def _browse(path, *options) -> tuple[str, list[str]]:
    """Open a page in headless Chromium; return the resulting document and console messages."""
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *("--enable-logging=stderr", "--virtual-time-budget=4000", "--window-size=1100,900"),
            *(f"--user-data-dir={path.parent / 'profile'}", *options, path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "LANG": "C.UTF-8"},
    )
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]


in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@in_browser
@pytest.mark.parametrize(("scheme", "colour"), [(0, "rgb(232, 234, 237)"), (1, "rgb(27, 31, 36)")])
def test_browser_draws_every_plot_in_dark_and_light_without_a_complaint(
    page, tmp_path, scheme, colour
):
    path = tmp_path / "report.html"
    path.write_text(page)
    document, console = _browse(path, f"--blink-settings=preferredColorScheme={scheme}")
    assert console == []
    assert document.count('class="main-svg"') >= len(_specs(page))
    titles = re.findall(r'<text class="xtitle"[^>]*style="([^"]*)"', document)
    assert titles
    assert all(f"fill: {colour}" in style for style in titles)


@in_browser
def test_browser_would_complain_about_a_request_or_an_error(page, tmp_path):
    path = tmp_path / "report.html"
    extra = '<img src="http://127.0.0.1:9/x.png"><script>undefined_name()</script>'
    path.write_text(page.replace("</body>", f"{extra}</body>"))
    _, console = _browse(path)
    assert any("Content Security Policy" in line for line in console)
    assert any("undefined_name is not defined" in line for line in console)


@in_browser
def test_browser_shows_markup_as_text_in_plots_and_tables(digits_run, tmp_path):
    path = tmp_path / "report.html"
    marker = _evil_page(digits_run).replace("alert(1)", "document.title='owned'")
    path.write_text(marker)
    document, console = _browse(path)
    assert console == []
    assert "<title>owned" not in document
    ticks = re.findall(r'<text[^>]*data-unformatted="([^"]*)"', document)
    assert any("owned" in tick for tick in ticks)
    assert not re.search(r"<script>document", document)


@in_browser
def test_browser_sorts_trials_by_a_click_with_empty_cells_last(digits_run, tmp_path):
    trials = digits_run.trials.copy()
    trials.loc[0, "mean_test_score"] = np.nan
    page = render_report(digits_run.result, trials, ReportDetails())
    click = "<script>document.querySelectorAll('#trials button')[1].click()</script></body>"
    path = tmp_path / "report.html"
    path.write_text(page.replace("</body>", click))
    document, _ = _browse(path)
    table = document[document.index('<table id="trials"') :]
    cells = re.findall(r"<tr><td>\d+</td><td>([^<]*)</td>", table)
    expected = [f"{score:.4g}" for score in sorted(trials["mean_test_score"].dropna())]
    assert cells == [*expected, ""]


@in_browser
def test_browser_needs_no_sideways_scrolling_on_a_phone(page, tmp_path):
    (tmp_path / "report.html").write_text(
        page.replace(
            "</body>",
            "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script></body>",
        )
    )
    frame = tmp_path / "phone.html"
    frame.write_text(
        "<script>onmessage = event => document.title = `width ${event.data}`</script>"
        "<iframe src='report.html' style='width:400px;height:800px;border:0'></iframe>"
    )
    document, _ = _browse(frame)
    width = int(re.search(r"<title>width (\d+)</title>", document)[1])
    assert 300 < width <= 400
