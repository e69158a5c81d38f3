"""What a sweep leaves in its folder."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from runner.results.comparison.lead import METHOD, corrected_resampled_p_value
from runner.results.comparison.leaderboard import write_leaderboard
from runner.results.run_directory import RunDirectory

FOLDS = {"a": (0.90, 0.95, 0.94), "b": (0.88, 0.91, 0.91)}


@pytest.fixture
def sweep(tmp_path, digits_run) -> Path:
    """Jobs 0 to 3 are two models under two seeds, job 4 failed, job 10 is damaged."""

    def write(number: int, model: str, seed: int, **changes) -> None:
        directory = RunDirectory(tmp_path / str(number))
        directory.path.mkdir()
        folds = [score - 0.1 * seed for score in FOLDS.get(model, ())]
        result = digits_run.result
        best = replace(result.best, cv_scores=folds, cv_mean=sum(folds) / 3 if folds else 0.0)
        result = replace(
            result,
            name={**result.name, "model": model},
            seed=seed,
            overrides=[f"model={model}", f"seed={seed}"],
            data=replace(result.data, fingerprint=f"digits-{seed}"),
            best=best,
        )
        directory.write_result(replace(result, **changes))

    for number, (model, seed) in enumerate([("b", 0), ("a", 0), ("b", 1), ("a", 1)]):
        write(number, model, seed)
    error = {"type": "ValueError", "message": "no"}
    write(4, "c", 0, status="failed", best=None, error=error)
    (tmp_path / "10").mkdir()
    (tmp_path / "10" / "result.json").write_text("{")
    (tmp_path / "multirun.yaml").touch()
    return tmp_path


def test_sweep_json_has_jobs_groups_and_a_winner_tested_over_all_seeds(sweep):
    write_leaderboard(sweep)
    record = json.loads((sweep / "sweep.json").read_text())
    assert list(record)[:2] == ["schema", "status"]
    assert (record["schema"], record["status"]) == (1, "completed")
    jobs = record["jobs"]
    assert [job["number"] for job in jobs] == [0, 1, 2, 3, 4, 10]
    assert [job["directory"] for job in jobs] == ["0", "1", "2", "3", "4", "10"]
    assert set(jobs[0]) == {
        *("number", "overrides", "status", "cv_mean", "cv_std", "test", "test_ci95", "total_s"),
        *("error", "directory"),
    }
    assert jobs[1]["overrides"] == ["model=a", "seed=0"]
    assert jobs[1]["cv_mean"] == pytest.approx(sum(FOLDS["a"]) / 3)
    assert [job["status"] for job in jobs[4:]] == ["failed", "failed"]
    assert jobs[4]["error"] == "ValueError: no"
    assert "is not valid JSON" in jobs[5]["error"]
    first, second, *_ = record["groups"]
    assert (first["overrides"], first["n"]) == (["model=a"], 2)
    assert first["cv_mean"] == pytest.approx(0.88)
    assert first["cv_spread"] == pytest.approx(0.1 / 2**0.5)
    assert second["overrides"] == ["model=b"]
    winner = record["winner"]
    assert (winner["number"], winner["method"]) == (1, METHOD)
    assert winner["lead"] == pytest.approx(0.03)
    expected = corrected_resampled_p_value([0.02, 0.04, 0.03] * 2, 1 / 2)
    assert winner["p_value"] == pytest.approx(expected, rel=1e-6)


def test_leaderboard_csv_has_a_row_for_every_job_with_paths_inside_the_sweep(sweep):
    write_leaderboard(sweep)
    with (sweep / "leaderboard.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["1", "0", "3", "2", "4", "10"]
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "", ""]
    assert float(rows[0]["cv_mean"]) == pytest.approx(sum(FOLDS["a"]) / 3)


def test_writing_again_after_a_job_was_added_renews_both(sweep):
    write_leaderboard(sweep, status="running")
    assert json.loads((sweep / "sweep.json").read_text())["status"] == "running"
    (sweep / "0" / "result.json").rename(sweep / "10" / "result.json")
    write_leaderboard(sweep)
    record = json.loads((sweep / "sweep.json").read_text())
    assert [job["status"] for job in record["jobs"] if job["number"] == 10] == ["completed"]
    assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == [
        *("leaderboard.csv", "multirun.yaml", "sweep.json"),
    ]


def test_a_sweep_over_two_data_sets_has_a_winner_for_each(sweep, digits_run):
    other = RunDirectory(sweep / "5")
    other.path.mkdir()
    name = {**digits_run.result.name, "data": "wine"}
    other.write_result(replace(digits_run.result, name=name))
    write_leaderboard(sweep)
    record = json.loads((sweep / "sweep.json").read_text())
    assert record["winner"] is None
    assert [winner["number"] for winner in record["winners"]] == [1, 5]


def test_a_sweep_without_jobs_is_written_too(tmp_path):
    write_leaderboard(tmp_path)
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert (record["jobs"], record["groups"], record["winner"]) == ([], [], None)
    assert (tmp_path / "leaderboard.csv").read_text() == ""
