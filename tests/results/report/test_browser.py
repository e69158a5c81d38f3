"""The pages in a real browser."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from reading import add_objectives, evil_page

from runner.results.comparison.leaderboard import write_leaderboard
from runner.results.report.page import render
from runner.results.report.run import run_page
from runner.results.report.sweep import sweep_page
from runner.results.run_directory import RunDirectory

api = pytest.importorskip("playwright.sync_api")

LIGHT_TEXT, DARK_TEXT = "rgb(27, 31, 36)", "rgb(232, 234, 237)"


@dataclass
class Opened:
    """A page in the browser, and what it did that it must not."""

    page: api.Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = shutil.which("chromium") or shutil.which("google-chrome") or own
        if not Path(found).exists():
            pytest.skip("there is no Chromium")
        # Chromium can't make a sandbox of its own where it runs as root.
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Open a page from disk and wait until all its plots are drawn."""

    def open_(content: str, scheme: str = "light", width: int = 1100, **options) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(content)
        page = browser.new_page(
            color_scheme=scheme, viewport={"width": width, "height": 900}, **options
        )
        opened = Opened(page)
        page.on("console", lambda message: opened.complaints.append(message.text))
        page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(path.as_uri())
        if 'id="specs"' in content:
            page.wait_for_selector("html.drawn", timeout=20_000, state="attached")
        return opened

    return open_


@pytest.fixture(scope="module")
def report(digits_run, curves) -> str:
    winner = replace(digits_run.details.winner, curves={**curves, "val_loss": curves["loss"]})
    details = replace(digits_run.details, winner=winner)
    return render(run_page(digits_run.result, digits_run.trials, details))


@pytest.fixture
def sweep(digits_run, tmp_path) -> str:
    folder = tmp_path / "sweep"
    for number, score in enumerate([0.8, 0.9, 0.7]):
        (folder / str(number)).mkdir(parents=True)
        best = replace(digits_run.result.best, cv_mean=score, cv_scores=[score] * 3)
        result = replace(digits_run.result, best=best, overrides=[f"model.depth={10 - number}"])
        RunDirectory(folder / str(number)).write_result(result)
    boards = write_leaderboard(folder)
    columns = {"accuracy": [0.9, 0.8, 0.7], "speed": [1, 2, 3], "pareto": True}
    add_objectives(folder, columns, ["accuracy", "speed"])
    return render(sweep_page(folder, boards, "runner -m model.depth=8,9,10"))


@pytest.mark.parametrize(("scheme", "colour"), [("light", LIGHT_TEXT), ("dark", DARK_TEXT)])
def test_every_plot_is_drawn_in_the_readers_theme_without_a_complaint(
    report, open_page, scheme, colour
):
    opened = open_page(report, scheme)
    assert opened.complaints == []
    n_plots = opened.page.locator(".plot").count()
    assert n_plots >= 13
    assert opened.page.locator(".plot .main-svg").first.is_visible()
    assert opened.page.locator(".plot.js-plotly-plot").count() == n_plots
    fill = "titles => titles.map(title => getComputedStyle(title).fill)"
    colours = set(opened.page.locator(".xtitle").evaluate_all(fill))
    assert colours == {colour}
    background = "getComputedStyle(document.body).backgroundColor"
    assert opened.page.evaluate(background) != colour


def test_a_change_of_theme_reaches_the_plots(report, open_page):
    page = open_page(report).page
    page.emulate_media(color_scheme="dark")
    api.expect(page.locator(".xtitle").first).to_have_css("fill", DARK_TEXT)


def test_no_request_leaves_the_page(report, sweep, open_page):
    for content in (report, sweep):
        opened = open_page(content)
        asked = [url for url in opened.requests if not url.startswith(("data:", "blob:"))]
        assert [Path(url).name for url in asked] == ["report.html"]
        assert opened.complaints == []


def test_the_browser_would_complain_about_a_request_or_an_error(report, open_page):
    extra = '<img src="http://127.0.0.1:9/x.png"><script>undefined_name()</script>'
    complaints = open_page(report.replace("</body>", f"{extra}</body>")).complaints
    assert any("Content Security Policy" in text for text in complaints)
    assert any("undefined_name is not defined" in text for text in complaints)


def test_the_pointer_shows_values(report, open_page):
    page = open_page(report).page
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".points path").first.hover(force=True)
    api.expect(plot.locator(".hovertext")).to_contain_text(re.compile(r"fold 1: 0\.\d{4}"))


def test_markup_is_text_in_plots_and_tables(digits_run, open_page):
    content = render(evil_page(digits_run)).replace("alert(1)", "document.title='owned'")
    opened = open_page(content)
    assert opened.complaints == []
    assert opened.page.title() != "owned"
    ticks = opened.page.locator(".plot text").all_text_contents()
    assert any("owned" in tick for tick in ticks)


def test_a_click_sorts_trials_with_empty_cells_last(digits_run, open_page):
    trials = digits_run.trials.copy()
    trials.loc[0, "mean_test_score"] = np.nan
    page = open_page(render(run_page(digits_run.result, trials, digits_run.details))).page
    table = page.locator("table.sortable").last
    header = table.locator("th", has_text="mean_test_score")
    header.locator("button").click()
    expected = [f"{score:.4g}" for score in sorted(trials["mean_test_score"].dropna())]
    assert table.locator("tbody td:nth-child(2)").all_text_contents() == [*expected, ""]
    assert header.get_attribute("aria-sort") == "ascending"
    header.locator("button").press("Enter")
    assert table.locator("tbody td:nth-child(2)").all_text_contents() == [*expected[::-1], ""]


def test_a_click_sorts_a_sweeps_leaderboard_by_value(sweep, open_page):
    page = open_page(sweep).page
    jobs = page.locator("table.sortable tbody td:nth-child(2)")
    assert jobs.all_text_contents() == ["1", "0", "2"]
    page.locator("table.sortable th button", has_text="model.depth").click()
    # 8, 9, 10 as numbers.
    assert jobs.all_text_contents() == ["2", "1", "0"]


def test_a_sweeps_page_has_its_sections(sweep, open_page):
    page = open_page(sweep, "dark").page
    titles = page.locator("h2").all_text_contents()
    assert titles == ["Leaderboard", "Parameters", "Time", "Pareto front", "Run it again"]


@pytest.mark.parametrize("which", ["report", "sweep"])
def test_a_phone_needs_no_sideways_scrolling(which, open_page, request):
    page = open_page(request.getfixturevalue(which), width=390).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_is_dark_on_white_and_fits_the_paper(report, open_page):
    page = open_page(report, "dark").page
    page.emulate_media(media="print")
    api.expect(page.locator(".xtitle").first).to_have_css("fill", "rgb(0, 0, 0)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_thousand_trials_open_within_two_seconds(digits_run, many_trials, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(run_page(digits_run.result, many_trials, digits_run.details)))
    page = browser.new_page()
    started = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector(".plot .main-svg")
    assert time.perf_counter() - started < 2
