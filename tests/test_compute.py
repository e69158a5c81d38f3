"""Fits begin in the run's own process, and move to workers where that is worth it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from command import run_command
from sklearn.datasets import load_iris

from runner.compute import Pace, Processes, WorkersPayError, n_cores, processes_for
from runner.config.schema import Compute
from runner.estimator.base import ConfigClassifier
from runner.search.limits import Limits
from runner.search.record import FitEntry, FitRecord
from runner.training.states import StateStore

GROWING = """
import os, time

kept = []

def grow(size):
    kept.append(bytearray(b"x") * size)
    time.sleep(1.1)
    return os.getpid()
"""
GROW = """
from growing import grow
from joblib import Parallel, delayed
from runner.compute import worker_processes

with worker_processes(), Parallel(2) as workers:
    sizes = (1, 1, 400_000_000, 1, 1)
    print(*({*workers(delayed(grow)(size) for _ in range(2))} for size in sizes), sep="|")
"""

SLOW_MODEL = '''
import time
from sklearn.linear_model import LogisticRegression

class Slow(LogisticRegression):
    """Takes a while."""

    def __init__(self, C=1.0, random_state=None):
        super().__init__(C=C, random_state=random_state, max_iter=500)

    def fit(self, X, y):
        time.sleep(0.4)
        return super().fit(X, y)
'''


def note_fits(record: FitRecord, *seconds: float) -> None:
    for number, fit_s in enumerate(seconds):
        record.append(
            FitEntry.completed(str(number), {}, "fold", "rows", {"score": 1.0}, fit_s, [])
        )


@pytest.mark.parametrize(
    ("n_fits", "done", "first_compiles", "moves"),
    [
        (40, [], False, False),
        (40, [0.5], False, True),
        (40, [0.5], True, False),
        (40, [3.0, 0.5], True, True),
        (40, [3.0, 0.1], True, False),
        (12, [0.5, 0.5], False, False),
        (100, [0.1] * 60, False, False),
        (100, [0.1] * 40, False, True),
    ],
)
def test_workers_are_started_where_they_repay_it(
    tmp_path: Path, n_fits: int, done: list[float], first_compiles: bool, moves: bool
) -> None:
    record = FitRecord(tmp_path / "fits.jsonl")
    note_fits(record, *done)
    pace = Pace(n_fits, n_jobs=2, start_s=2.5, first_compiles=first_compiles)
    if not moves:
        pace.fit_begins(record)
        return
    with pytest.raises(WorkersPayError, match=f"fits of about {done[-1]} s"):
        pace.fit_begins(record)


def test_what_is_configured_is_not_judged() -> None:
    assert processes_for(Compute(n_jobs=3), 40, is_network=True) == Processes(3)
    assert processes_for(Compute(n_jobs="auto"), 1, is_network=True) == Processes(1)


@pytest.mark.slow
@pytest.mark.skipif(n_cores() < 2, reason="there is one core")
def test_a_search_moves_to_workers_and_repeats_no_fit(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_MODEL)
    options = tmp_path / "conf" / "model"
    options.mkdir(parents=True)
    (options / "slow.yaml").write_text("_target_: slow.Slow\nC: 1.0\nrandom_state: null\n")
    candidates = ("search=grid", "space=none", "space.model.C=[0.01,0.1,1.0,10.0,30.0,100.0]")
    request = ("data=iris", "model=slow", *candidates, "plots=false")
    allow = {"RUNNER_ALLOW": "slow.*"}
    for folder in ("auto", "1"):
        where = (f"compute.n_jobs={folder}", f"hydra.run.dir={folder}")
        done = run_command(*request, *where, cwd=tmp_path, env=allow)
        assert done.code == 0, done.err
    auto, alone = tmp_path / "auto", tmp_path / "1"
    log = (auto / "run.log").read_text()
    assert re.search(r"compute.n_jobs=auto: fits of about [\d.]+ s: 2 worker processes", log)
    assert "worker processes" not in (alone / "run.log").read_text()
    entries = list(FitRecord(auto / "fits.jsonl"))
    assert set(Counter((e.candidate, e.fold, e.status) for e in entries).values()) == {1}
    scores = [json.loads((run / "result.json").read_text())["best"] for run in (auto, alone)]
    assert scores[0] == scores[1]


@pytest.mark.slow
def test_a_worker_that_grows_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    (tmp_path / "growing.py").write_text(GROWING)
    command = [sys.executable, "-c", GROW]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    first, *_, last = done.stdout.strip().split("|")
    assert first == last, done.stderr


def test_a_long_fit_moves_on_where_it_was(tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    network = {"_target_": "runner.models.networks.mlp", "hidden_layer_one": 8}
    config = {"model": network, "training": {"epochs": 4}}
    record = FitRecord(tmp_path / "fits.jsonl")
    states = StateStore(tmp_path / "states", keeps_finished=False)
    pace = Pace(10**6, n_jobs=2, start_s=7.0, first_compiles=True)
    estimator = ConfigClassifier(config, record=record, states=states)
    with pytest.raises(WorkersPayError):
        estimator.set_params(limits=Limits(pace=pace)).fit(X, y)
    (kept,) = (tmp_path / "states").iterdir()
    moved = ConfigClassifier(config, record=record, states=states)
    state = states.load(kept.stem, at_most=4)
    assert state is not None
    assert state.epoch == 2
    assert moved.fit(X, y).history_ == ConfigClassifier(config).fit(X, y).history_
    assert moved.history_["loss"][:2] == state.history["loss"]
    assert [entry.status for entry in record] == ["started", "started"]


EAGER_MODEL = """
import keras

def eager(meta):
    model = keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    return model
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_why_keras_trains_is_logged_once_wherever_it_did(tmp_path: Path, n_jobs: int) -> None:
    (tmp_path / "eager.py").write_text(EAGER_MODEL)
    options = tmp_path / "conf" / "model"
    options.mkdir(parents=True)
    (options / "eager.yaml").write_text("_target_: eager.eager\n")
    request = ("data=iris", "model=eager", "search=none", "training.epochs=1")
    jobs = f"compute.n_jobs={n_jobs}"
    done = run_command(*request, jobs, cwd=tmp_path, env={"RUNNER_ALLOW": "eager.*"})
    assert done.code == 0, done.err
    log = (done.directory / "run.log").read_text()
    assert log.count("training through Keras's own fit: the model is compiled to run eagerly") == 1
    assert log.count("eager comes compiled: optimizer.* is not used") == 1
