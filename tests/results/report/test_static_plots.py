"""Plots as files."""

from __future__ import annotations

import io
import time
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from reading import EVIL, evil_page

from runner.results.report import search
from runner.results.report.figure import new_figure
from runner.results.report.page import write_page
from runner.results.report.plot_files import write_plots
from runner.results.report.run import run_page
from runner.results.report.static import draw

SVG = "{http://www.w3.org/2000/svg}"


def svg_texts(content: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(content).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def page(digits_run):
    return run_page(digits_run.result, digits_run.trials, digits_run.details)


def test_every_plot_of_a_page_is_drawn_with_its_title_axes_and_names(page):
    for plot in page.plots:
        files = draw(plot.title, plot.figure)
        image = Image.open(io.BytesIO(files["png"]))
        assert image.format == "PNG"
        assert image.width == pytest.approx(922, abs=2)
        assert np.asarray(image.convert("L")).std() > 5, f"{plot.name} is blank"
        texts = svg_texts(files["svg"])
        assert plot.title in texts
        for axis in (plot.figure.layout.xaxis, plot.figure.layout.yaxis):
            assert not axis.title.text or axis.title.text in texts
        named = [trace for trace in plot.figure.data if trace.showlegend is not False]
        assert {trace.name for trace in named if trace.name} <= set(texts), plot.name


def test_points_and_lines_are_where_they_belong():
    figure = new_figure("x", "y").update_yaxes(range=[0, 1]).update_xaxes(range=[0, 1])
    figure.add_scatter(x=[0.75], y=[0.75], mode="markers", marker={"color": "#ff0000"})
    figure.add_scatter(x=[0, 1], y=[0.25, 0.25], mode="lines", line={"color": "#0000ff"})
    pixels = np.asarray(Image.open(io.BytesIO(draw("", figure)["png"])).convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    red = np.argwhere((pixels[..., 0] > 200) & (pixels[..., 1] < 60))
    blue = np.argwhere((pixels[..., 2] > 200) & (pixels[..., 0] < 60))
    assert red.mean(axis=0)[1] / width > 0.6
    assert red.mean(axis=0)[0] / height < blue.mean(axis=0)[0] / height - 0.2
    assert np.ptp(blue[:, 1]) / width > 0.7


def test_the_same_plot_is_the_same_file(page):
    plot = page.plots[0]
    assert draw(plot.title, plot.figure) == draw(plot.title, plot.figure)


def test_names_in_plots_are_text_whatever_they_hold(digits_run, tmp_path):
    write_page(tmp_path, evil_page(digits_run))
    files = sorted((tmp_path / "plots").iterdir())
    assert all(path.parent == tmp_path / "plots" for path in files)
    texts = [
        text for path in files if path.suffix == ".svg" for text in svg_texts(path.read_bytes())
    ]
    assert texts.count(EVIL) >= 3
    assert not any(f"{SVG}script" in path.read_text() for path in files if path.suffix == ".svg")


def bars(name: str) -> go.Figure:
    figure = new_figure().add_bar(x=[1.0], y=[name], orientation="h", marker_color="#3b82f6")
    return figure.update_yaxes(type="category")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("$x$", "$x$"),
        ("$\\frac{", "$\\frac{"),
        ("a\x00b", "a\\x00b"),
        ("名前", "名前"),
        ("_hidden", "_hidden"),
        ("a\ud800", "a\\ud800"),
    ],
    ids=["mathematics", "broken mathematics", "NUL", "Chinese", "underscore", "surrogate"],
)
def test_strange_names_are_drawn(name, shown):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert shown in svg_texts(draw("title", bars(name))["svg"])


def test_names_become_file_names_of_their_own(tmp_path):
    figure = bars("a")
    names = ["../../etc/x", "a b", "a/b", "A-B", "...", "n" * 500]
    write_plots(tmp_path / "plots", dict.fromkeys(names, ("title", figure)))
    found = {path.stem for path in (tmp_path / "plots").glob("*.png")}
    assert found == {"etc-x", "a-b", "a-b-2", "A-B-3", "plot", "n" * 80}
    assert {path.name for path in tmp_path.iterdir()} == {"plots"}


def test_a_small_run_hardly_waits_for_its_plots(page, tmp_path):
    started = time.process_time()
    write_page(tmp_path, page)
    assert time.process_time() - started < 4


def test_a_plot_of_a_thousand_candidates_is_a_small_file(many_trials):
    numbered = many_trials.set_index(np.arange(1, 1001))
    files = draw("history", search.search_history(numbered, None))
    assert len(files["svg"]) < 500_000
