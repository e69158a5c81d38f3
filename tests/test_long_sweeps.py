"""Sweeps that are killed again and again, sweeps of many jobs, and the study's dashboard."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from command import run_command, start_command, sweep_of
from processes import processor_s, resident_mb

pytestmark = pytest.mark.slow

FOREST = ("data=wine", "model=random_forest")
SWEEPS = {
    "basic": ("-m", *FOREST, "seed=0,1,2", "search.n_iter=3", "compute.n_jobs=1"),
    "optuna": (
        *("-m", "hydra/sweeper=optuna", "data=wine", "model=choice(random_forest,svm)"),
        *("hydra.sweeper.n_trials=9", "compute.n_jobs=1", "cv=repeated", "cv.n_repeats=5"),
    ),
    "joblib": ("-m", *FOREST, "seed=0,1,2", "search.n_iter=3", "hydra/launcher=joblib"),
}
KILLS = int(os.environ.get("RUNNER_KILLS", "10"))


def outcome(sweep: Path) -> tuple[Any, list[str]]:
    """``sweep.json`` and ``leaderboard.csv``, times aside."""
    record = json.loads((sweep / "sweep.json").read_text())
    for job in record["jobs"]:
        del job["total_s"]
    lines = (sweep / "leaderboard.csv").read_text().splitlines()
    column = lines[0].split(",").index("total_s")
    return record, [",".join(c for i, c in enumerate(li.split(",")) if i != column) for li in lines]


@pytest.mark.parametrize("name", SWEEPS)
def test_killed_again_and_again_it_ends_as_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    """SIGKILL at random moments, RUNNER_KILLS times; a sweep that gets done first is begun anew."""
    rng = random.Random(name)
    whole = tmp_path / "whole"
    whole.mkdir()
    began = time.monotonic()
    assert run_command(*SWEEPS[name], cwd=whole).code == 0
    whole_s = time.monotonic() - began
    kills = attempt = 0
    while kills < KILLS:
        folder = tmp_path / f"killed-{attempt}"
        folder.mkdir()
        attempt += 1
        process = start_command(*SWEEPS[name], cwd=folder)
        while process.poll() is None:
            if kills < KILLS:
                time.sleep(rng.uniform(1.0, whole_s * 0.7))
                kills += process.poll() is None
                process.kill()
            process.wait()
            found = list(folder.glob("outputs/sweeps/*/*/request.json"))
            if process.returncode == 0:
                break
            assert process.returncode == -signal.SIGKILL
            if not found:  # killed before it began
                shutil.rmtree(folder)
                folder.mkdir()
            arguments = ("resume", str(found[0].parent)) if found else SWEEPS[name]
            process = start_command(*arguments, cwd=folder)
        assert process.returncode == 0
        assert outcome(sweep_of(folder)) == outcome(sweep_of(whole))
    sys.stdout.write(f"{name}: {kills} kills, {attempt} sweeps\n")


@pytest.mark.parametrize(
    "job",
    [
        ("model=logistic_regression",),
        ("model=mlp", "model.hidden_layer_one=8", "model.hidden_layer_two=8", "training.epochs=1"),
    ],
    ids=["logistic_regression", "mlp"],
)
def test_a_hundred_jobs_keep_memory_and_cost_flat(job: tuple[str, ...], tmp_path: Path) -> None:
    request = ("-m", "data=iris", *job, "seed=range(100)", "search=none", "compute.n_jobs=1")
    process = start_command(*request, cwd=tmp_path)
    ended: list[float] = []  # by the processor's clock, which other work does not change
    resident: list[float] = []
    try:
        while len(ended) < 100 and process.poll() is None:
            found = list(tmp_path.glob(f"outputs/sweeps/*/*/{len(ended)}/result.json"))
            if found:
                ended.append(processor_s(process.pid))
                resident.append(resident_mb(process.pid))
            time.sleep(0.01)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    cost = [after - before for before, after in itertools.pairwise(ended)]
    early, late = statistics.median(cost[5:15]), statistics.median(cost[-15:])
    sys.stdout.write(
        f"{job[0]}: {early:.3f} s, later {late:.3f} s a job; "
        f"{resident[10]:.0f} MB, later {resident[-1]:.0f} MB\n"
    )
    assert late <= 1.2 * early
    assert resident[-1] <= 1.1 * resident[10]


def test_scores_within_a_sweep_are_those_of_the_job_alone(tmp_path: Path) -> None:
    jobs = [
        ("model=mlp", "data=iris", "training.epochs=3"),
        ("model=mlp", "data=wine", "training.epochs=3"),
        ("model=random_forest", "data=iris", "training.epochs=3"),
        ("model=random_forest", "data=wine", "training.epochs=3"),
    ]
    request = ("-m", "model=mlp,random_forest", "data=iris,wine", "training.epochs=3")
    more = ("search.n_iter=2", "compute.n_jobs=1")
    together = tmp_path / "together"
    together.mkdir()
    assert run_command(*request, *more, cwd=together).code == 0
    for number, job in enumerate(jobs):
        alone = tmp_path / str(number)
        alone.mkdir()
        done = run_command(*job, *more, cwd=alone)
        assert done.code == 0, done.err
        within = json.loads((sweep_of(together) / str(number) / "result.json").read_text())
        for key in ("best", "baseline", "comparison"):
            assert within[key] == done.result[key]


def test_the_dashboard_shows_the_study(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    study = ("-m", "hydra/sweeper=optuna", "data=iris", "model=svm", "hydra.sweeper.n_trials=3")
    assert run_command(*study, "compute.n_jobs=1", cwd=tmp_path).code == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = f"sqlite:///{sweep_of(tmp_path) / 'study.db'}"
    program = "from optuna_dashboard._cli import main; main()"
    dashboard = subprocess.Popen(
        [sys.executable, "-c", program, database, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = _wait_for(f"http://127.0.0.1:{port}/api/studies")
        (shown,) = answer["study_summaries"]
        assert shown["study_name"] == "sweep"
        trials = _wait_for(f"http://127.0.0.1:{port}/api/studies/{shown['study_id']}")["trials"]
        assert [trial["state"] for trial in trials] == ["Complete"] * 3
    finally:
        dashboard.kill()
        dashboard.wait()


def _wait_for(address: str) -> Any:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            assert time.monotonic() < deadline, "the dashboard does not answer"
            time.sleep(0.2)
