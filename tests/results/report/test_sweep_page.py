"""What a sweep's page says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reading import EVIL, add_objectives, specs_of, text_of, titles_of

from runner.results.comparison.leaderboard import write_leaderboard
from runner.results.report.page import render
from runner.results.report.sweep import sweep_page, write_sweep_report
from runner.results.run_directory import RunDirectory
from runner.results.schema import Timing


@pytest.fixture
def write_job(tmp_path, digits_run):
    """Write a job that scored `score` on each fold, or failed."""

    def write(number: int, score: float | None, overrides: list[str], **changes) -> None:
        directory = RunDirectory(tmp_path / str(number))
        directory.path.mkdir()
        (tmp_path / "multirun.yaml").touch()
        result = digits_run.result
        chosen = dict(text.split("=", 1) for text in overrides)
        folds = [] if score is None else [score, score + 0.02, score - 0.01]
        best = replace(result.best, cv_mean=score or 0.0, cv_scores=folds)
        result = replace(
            result,
            status="failed" if score is None else "completed",
            name={**result.name, "model": chosen.get("model", "tree")},
            seed=int(chosen.get("seed", 0)),
            overrides=overrides,
            best=None if score is None else best,
            timing=Timing(1 + number, 1, 0),
            error=None if score is not None else {"type": "ValueError", "message": EVIL},
        )
        directory.write_result(replace(result, **changes))

    return write


def page_of(folder: Path):
    return sweep_page(folder, write_leaderboard(folder), "runner -m model=a,b")


def test_page_names_the_winner_and_how_sure_its_lead_is(write_job, tmp_path):
    write_job(0, 0.8, ["model=b"])
    write_job(1, 0.9, ["model=a"])
    write_job(2, None, ["model=c"])
    (tmp_path / "1" / "report.html").touch()
    page = page_of(tmp_path)
    assert page.verdict.startswith("Best is model=a (job 1): accuracy 0.9000")
    assert "1 leads 2 by 0.1000" in page.verdict
    assert page.subtitle == "2 completed, 1 failed"
    assert titles_of(page) == ["Leaderboard", "Parameters", "Time", "Run it again"]
    (table,) = page.sections[0].tables
    assert [row[1].text for row in table.rows] == ["1", "0", "2"]
    assert [row[1].link for row in table.rows] == ["1/report.html", "", ""]
    assert [plot.name for plot in page.plots] == ["slice-model", "score-by-time"]
    assert list(page.plots[0].figure.data[0].x) == ["b", "a"]
    rendered = render(page)
    assert f"ValueError: {EVIL}" in text_of(rendered)
    assert EVIL not in rendered


def test_where_all_jobs_failed_there_is_only_the_table(write_job, tmp_path):
    for number, model in enumerate("abc"):
        write_job(number, None, [f"model={model}"])
    write_sweep_report(tmp_path, write_leaderboard(tmp_path), "runner -m model=a,b,c")
    page = page_of(tmp_path)
    assert "no job has a score" in page.verdict
    assert titles_of(page) == ["Leaderboard", "Run it again"]


def test_jobs_of_different_data_have_leaderboards_of_their_own(write_job, tmp_path, digits_run):
    for number, (data, model) in enumerate([("x", "a"), ("x", "b"), ("y", "a"), ("y", "b")]):
        names = {"data": data, "model": model, "search": "none"}
        summary = replace(digits_run.result.data, fingerprint=data)
        overrides = [f"data={data}", f"model={model}"]
        write_job(number, 0.8 + number / 100, overrides, name=names, data=summary)
    page = page_of(tmp_path)
    assert [title for title in titles_of(page) if "Leaderboard" in title] == [
        *("Leaderboard: x, accuracy", "Leaderboard: y, accuracy")
    ]
    assert [plot.name for plot in page.plots] == [
        *("1-slice-model", "1-score-by-time", "2-slice-model", "2-score-by-time")
    ]
    assert "On x, accuracy: best is model=b (job 1)" in page.verdict
    assert "On y, accuracy: best is model=b (job 3)" in page.verdict


def test_seeds_are_also_shown_as_means(write_job, tmp_path, digits_run):
    for number, (model, seed) in enumerate([("a", 0), ("a", 1), ("b", 0), ("b", 1)]):
        summary = replace(digits_run.result.data, fingerprint=f"seed {seed}")
        overrides = [f"model={model}", f"seed={seed}"]
        write_job(number, 0.8 + number / 100, overrides, data=summary)
    page = page_of(tmp_path)
    assert page.verdict.startswith("Best is model=b (job 3): accuracy 0.8250 ± 0.0071 cross-")
    assert "over 2 seeds. 1 leads 2 by" in page.verdict
    (means,) = [section for section in page.sections if section.title == "Means over seeds"]
    (table,) = means.tables
    assert [row[1].text for row in table.rows] == ["b", "a"]
    assert "0.8250 ± 0.0071" in [cell.text for cell in table.rows[0]]


def test_null_is_a_choice_and_what_a_job_was_not_given_is_empty(write_job, tmp_path):
    write_job(0, 0.9, ["model.depth=null"])
    write_job(1, 0.8, ["model.depth=3", "model.leaf=1"])
    page = page_of(tmp_path)
    (table,) = page.sections[0].tables
    assert table.header[2:4] == ["model.depth", "model.leaf"]
    assert [[cell.text for cell in row[2:4]] for row in table.rows] == [["null", ""], ["3", "1"]]
    assert page.verdict.startswith("Best is model.depth=null (job 0)")


def test_many_jobs_are_shown_as_a_search(write_job, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        rate = 10 ** rng.uniform(-4, -1)
        write_job(number, 0.9 - 0.05 * abs(np.log10(rate) + 2), [f"rate={rate}", "kind=a"])
    page = page_of(tmp_path)
    assert {"Search", "Parameters"} <= set(titles_of(page))
    assert (
        next(plot for plot in page.plots if plot.name == "search-history").title == "Jobs in order"
    )


def test_page_plots_and_leaderboard_lie_together(write_job, tmp_path):
    write_job(0, 0.8, ["model=b"])
    write_job(1, 0.9, ["model=a"])
    write_sweep_report(tmp_path, write_leaderboard(tmp_path), "runner -m model=a,b")
    assert len(specs_of((tmp_path / "report.html").read_text())) == 2
    assert (tmp_path / "plots" / "slice-model.svg").exists()


def test_pareto_front_is_drawn_where_jobs_have_several_objectives(write_job, tmp_path):
    for number in range(4):
        write_job(number, 0.8, [f"model={number}"])
    boards = write_leaderboard(tmp_path)
    columns = {"accuracy": [0.9, 0.8, 0.7, 0.95], "fit_s": [3.0, 1.0, 2.0, None]}
    columns["pareto"] = [True, True, False, False]
    add_objectives(tmp_path, columns, ["accuracy", "fit_s"])
    page = sweep_page(tmp_path, boards, "runner")
    (section,) = [section for section in page.sections if section.title == "Pareto front"]
    (plot,) = section.plots
    beaten, front = plot.figure.data
    assert list(beaten.text) == ["job 2"]
    assert list(front.text) == ["job 1", "job 0"]
    assert (list(front.x), list(front.y)) == ([0.8, 0.9], [1.0, 3.0])
    assert plot.figure.layout.yaxis.title.text == "fit_s (minimize)"


@pytest.mark.parametrize(
    "objectives",
    [None, [], 3, [{"name": "accuracy", "direction": "maximize"}], [{"name": "a"}, {"name": "b"}]],
    ids=["none", "empty", "number", "one", "no directions"],
)
def test_a_sweep_without_several_objectives_has_no_front(write_job, tmp_path, objectives):
    write_job(0, 0.8, ["model=a"])
    boards = write_leaderboard(tmp_path)
    (tmp_path / "sweep.json").write_text(json.dumps({"objectives": objectives}))
    assert "Pareto front" not in titles_of(sweep_page(tmp_path, boards, "runner"))
