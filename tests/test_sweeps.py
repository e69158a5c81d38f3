"""Sweeps finish whatever one job does, go on where they were, and say who won."""

from __future__ import annotations

import csv
import json
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from command import run_command, start_command, summary, sweep_of

QUICK = ("search=none", "compute.n_jobs=1", "plots=false")


def outcome(folder: Path) -> list[dict[str, Any]]:
    """The jobs, without what depends on the clock."""
    return [{k: v for k, v in job.items() if k != "total_s"} for job in summary(folder)["jobs"]]


def test_every_combination_runs_and_the_winner_is_named(tmp_path: Path) -> None:
    done = run_command(
        "-m", "data=iris", "model=logistic_regression,svm", "seed=0,1", *QUICK, cwd=tmp_path
    )
    assert done.code == 0, done.err
    record = summary(tmp_path)
    assert record["status"] == "completed"
    assert [job["overrides"][1:3] for job in record["jobs"]] == [
        ["model=logistic_regression", "seed=0"],
        ["model=logistic_regression", "seed=1"],
        ["model=svm", "seed=0"],
        ["model=svm", "seed=1"],
    ]
    assert [group["n"] for group in record["groups"]] == [2, 2]
    assert record["winner"]["method"].startswith("corrected resampled t-test")
    with (sweep_of(tmp_path) / "leaderboard.csv").open() as file:
        assert {row["model"] for row in csv.DictReader(file)} == {"logistic_regression", "svm"}
    assert "±" in done.out
    assert "1 leads 2 by" in done.out
    report = (sweep_of(tmp_path) / "report.html").read_text()
    assert all(f'href="{number}/report.html"' in report for number in range(4))
    assert (sweep_of(tmp_path) / "plots" / "slice-model.svg").exists()


def test_a_job_that_makes_no_sense_fails_alone(tmp_path: Path) -> None:
    done = run_command("-m", "data=iris", "model=cnn,svm", *QUICK, cwd=tmp_path)
    assert done.code == 1
    assert "job 0 (model=cnn) will fail" in done.err
    assert done.err.splitlines()[-1].startswith("job 0 failed: ")
    assert "takes images" in done.err.splitlines()[-1]
    assert [job["status"] for job in outcome(tmp_path)] == ["failed", "completed"]
    assert "Traceback" not in done.err


def test_a_sweep_of_which_no_job_can_run_is_refused(tmp_path: Path) -> None:
    done = run_command("-m", "data=iris,wine", "model=cnn", *QUICK, cwd=tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("runner: job 0 (data=iris): ")
    assert "takes images" in line
    assert not (tmp_path / "outputs").exists()


def test_on_error_stop_refuses_a_bad_job_before_the_first_starts(tmp_path: Path) -> None:
    request = ("-m", "data=iris", "model=svm,cnn", "sweep.on_error=stop", *QUICK)
    done = run_command(*request, cwd=tmp_path)
    assert done.code == 2
    assert done.err.startswith("runner: job 1 (model=cnn): ")
    assert not list(tmp_path.glob("outputs/sweeps/*/*/0"))


def test_values_can_be_paired(tmp_path: Path) -> None:
    request = ("-m", "data=iris,wine", "model=svm,logistic_regression", *QUICK)
    done = run_command(*request, "sweep.zip=[data,model]", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [job["overrides"][:2] for job in outcome(tmp_path)] == [
        ["data=iris", "model=svm"],
        ["data=wine", "model=logistic_regression"],
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("model=svm,mlp,cnn", "sweep.zip=[data,model]"), "needs as many values of each"),
        (("sweep.zip=[data,modle]", "model=svm,mlp"), "did you mean 'model'?"),
        (("training.epochs=interval(1,3)",), "needs hydra/sweeper=optuna"),
        (("model=svm,modell",), "there is no option 'modell'"),
    ],
)
def test_mistakes_in_sweeps_get_one_line(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = run_command("-m", "data=iris,wine", *arguments, cwd=tmp_path)
    assert done.code == 2, done.err
    assert len(done.err.splitlines()) == 1
    assert problem in done.err
    assert done.imported == ()
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_killed_sweep_goes_on_and_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    request = ("-m", "data=wine", "model=random_forest,svm", "seed=0,1", "search.n_iter=3")
    process = start_command(*request, "compute.n_jobs=1", cwd=killed)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        records = list(killed.glob("outputs/sweeps/*/*/1/fits.jsonl"))
        if records and b'"completed"' in records[0].read_bytes():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = sweep_of(killed) / "0" / "result.json"
    written = first.stat().st_mtime_ns
    assert not (sweep_of(killed) / "2").exists()

    resumed = run_command("resume", str(sweep_of(killed)), cwd=killed)
    assert resumed.code == 0, resumed.err
    assert first.stat().st_mtime_ns == written
    second = json.loads((sweep_of(killed) / "1" / "result.json").read_text())
    assert second["trials"]["n_restored"] >= 1
    assert run_command(*request, "compute.n_jobs=1", cwd=whole).code == 0
    assert outcome(killed) == outcome(whole)


@pytest.mark.slow
def test_jobs_of_one_sweep_score_as_alone(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    network = ("data=iris", "training.epochs=3", "model.hidden_layer_two=8", *QUICK)
    assert (
        run_command("-m", "model.hidden_layer_one=16", "seed=0,1", *network, cwd=together).code == 0
    )
    done = run_command("model.hidden_layer_one=16", "seed=1", *network, cwd=alone)
    last = json.loads((sweep_of(together) / "1" / "result.json").read_text())
    assert last["best"] == done.result["best"]


STUDY = (
    *("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"),
    *("data=iris", "compute.n_jobs=1", "plots=false"),
)


def trials_of(folder: Path) -> list[dict[str, Any]]:
    study = optuna.load_study(
        study_name="sweep", storage=f"sqlite:///{sweep_of(folder) / 'study.db'}"
    )
    return [{"value": trial.value, **trial.params} for trial in study.trials]


@pytest.mark.slow
def test_optuna_sweeps_the_space_of_each_model(tmp_path: Path) -> None:
    groups = "model=choice(logistic_regression,svm)"
    done = run_command(*STUDY, groups, "hydra.sweeper.n_trials=5", cwd=tmp_path)
    assert done.code == 0, done.err
    trials = trials_of(tmp_path)
    assert [trial["value"] for trial in trials] == [job["cv_mean"] for job in outcome(tmp_path)]
    assert {trial["model"] for trial in trials} == {"logistic_regression", "svm"}
    for trial in trials:
        assert ("model.gamma" in trial) == (trial["model"] == "svm")
    best = max(trials, key=lambda trial: trial["value"])
    winner = outcome(tmp_path)[summary(tmp_path)["winner"]["number"]]
    assert f"model.C={best['model.C']}" in winner["overrides"]
    assert not any("Traceback" in text for text in (done.out, done.err))


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "qmc", "cmaes", "nsgaii", "grid"])
def test_every_sampler_sweeps(sampler: str, tmp_path: Path) -> None:
    space = ("space=none", "space.model.C=[0.1,1.0,10.0]", "model=logistic_regression")
    done = run_command(*STUDY, *space, f"hydra/sweeper/sampler={sampler}", cwd=tmp_path)
    assert done.code == 0, done.err
    trials = trials_of(tmp_path)
    assert len(trials) == 3
    if sampler == "grid":
        assert sorted(trial["model.C"] for trial in trials) == [0.1, 1.0, 10.0]


@pytest.mark.slow
def test_optuna_sweep_goes_on_where_it_was_and_ends_the_same(tmp_path: Path) -> None:
    short, whole = tmp_path / "short", tmp_path / "whole"
    short.mkdir()
    whole.mkdir()
    request = (*STUDY, "model=svm")
    assert run_command(*request, cwd=short).code == 0
    first = trials_of(short)
    jobs = [path.stat().st_mtime_ns for path in sorted(sweep_of(short).glob("*/result.json"))]
    more = "hydra.sweeper.n_trials=5"
    resumed = run_command("resume", str(sweep_of(short)), more, cwd=short)
    assert resumed.code == 0, resumed.err
    again = [path.stat().st_mtime_ns for path in sorted(sweep_of(short).glob("*/result.json"))]
    assert again[:3] == jobs
    assert run_command(*request, more, cwd=whole).code == 0
    assert trials_of(short) == trials_of(whole)
    assert trials_of(short)[:3] == first
    assert outcome(short) == outcome(whole)
    points = [tuple(sorted(trial.items())) for trial in trials_of(short)]
    assert len(set(points)) == 5
