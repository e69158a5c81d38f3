"""What goes wrong while a search runs costs as little as it can."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import run_command, start_command
from processes import alive, wait_until, workers_of

FOREST = (
    *("data=wine", "model=random_forest", "search.n_iter=6", "model.n_estimators=300"),
    "plots=false",
)
NETWORK = (
    "data=iris",
    "model=mlp",
    "model.hidden_layer_one=16",
    "model.hidden_layer_two=8",
    "search.n_iter=3",
    "plots=false",
)
OWN_MODEL = '''
import os, pathlib, signal, time
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

class Troubled(ClassifierMixin, BaseEstimator):
    """A logistic regression with troubles of its own."""

    def __init__(self, C=1.0, trouble="none", marks="."):
        self.C, self.trouble, self.marks = C, trouble, marks

    def fit(self, X, y):
        if self.trouble == "raises":
            raise ValueError("too much trouble")
        if self.trouble == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble == "dies once":
            mark = pathlib.Path(self.marks, "died")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble == "sleeps":
            for _ in range(600):
                time.sleep(0.1)
        if self.trouble == "sleeps deeply":
            time.sleep(60)
        if self.trouble == "slow":
            time.sleep(0.5)
        self.model_ = LogisticRegression(C=self.C, max_iter=500).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)
'''
ALLOW = {"RUNNER_ALLOW": "troubled.*"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with a model that can go wrong."""
    (tmp_path / "troubled.py").write_text(OWN_MODEL)
    options = tmp_path / "conf" / "model"
    options.mkdir(parents=True)
    (options / "troubled.yaml").write_text(
        f"_target_: troubled.Troubled\nC: 1.0\ntrouble: none\nmarks: {tmp_path}\n"
    )
    return tmp_path


def troubled(*troubles: str, n_jobs: int = 2, C: str = "[1.0]") -> tuple[str, ...]:
    listed = ",".join(troubles)
    space = ("space=none", f"space.model.C={C}", f"space.model.trouble=[{listed}]")
    jobs = f"compute.n_jobs={n_jobs}"
    return ("data=iris", "model=troubled", "search=grid", jobs, "plots=false", *space)


def trials(directory: Path) -> list[dict[str, Any]]:
    with (directory / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def scores(directory: Path) -> list[tuple[str, ...]]:
    table = trials(directory)
    return [tuple(row[k] for k in row if k.startswith("split") or k == "status") for row in table]


@contextlib.contextmanager
def started(folder: Path, *overrides: str) -> Iterator[subprocess.Popen[bytes]]:
    process = start_command(*overrides, cwd=folder, keeps_output=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def record_of(folder: Path) -> str:
    texts = [path.read_text() for path in folder.glob("outputs/runs/*/*/fits.jsonl")]
    return "".join(texts)


def test_a_killed_worker_costs_its_fit_only(tmp_path: Path) -> None:
    forest = (*FOREST, "model.n_estimators=100")
    disturbed, quiet = tmp_path / "disturbed", tmp_path / "quiet"
    disturbed.mkdir()
    quiet.mkdir()
    with started(disturbed, *forest, "compute.n_jobs=2") as process:
        wait_until(lambda: record_of(disturbed).count('"completed"') >= 3, "the third fit")
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert b"a worker process died" in out
    assert run_command(*forest, "compute.n_jobs=1", cwd=quiet).code == 0
    (left,), (right,) = (list(f.glob("outputs/runs/*/*")) for f in (disturbed, quiet))
    assert scores(left) == scores(right)


@pytest.mark.slow
def test_a_fit_that_kills_its_worker_fails_alone(folder: Path) -> None:
    done = run_command(*troubled("none", "dies"), "cv.n_splits=2", cwd=folder, env=ALLOW)
    assert done.code == 0, done.err
    statuses = {row["model.trouble"]: row["status"] for row in trials(done.directory)}
    assert statuses == {"none": "completed", "dies": "failed"}
    assert "its worker process died 2 times" in (done.directory / "run.log").read_text()


@pytest.mark.slow
def test_a_fit_that_died_once_is_repeated(folder: Path) -> None:
    done = run_command(*troubled("none", "dies once"), cwd=folder, env=ALLOW)
    assert done.code == 0, done.err
    assert [row["status"] for row in trials(done.directory)] == ["completed"] * 2
    assert (folder / "died").exists()


@pytest.mark.parametrize(
    ("trouble", "n_jobs"),
    [("sleeps", 1), pytest.param("sleeps deeply", 2, marks=pytest.mark.slow)],
)
def test_a_fit_that_takes_too_long_is_ended(folder: Path, trouble: str, n_jobs: int) -> None:
    began = time.monotonic()
    request = (*troubled("none", trouble, n_jobs=n_jobs), "cv.n_splits=2")
    done = run_command(*request, "search.trial_timeout=1", cwd=folder, env=ALLOW)
    assert time.monotonic() - began < 55
    assert done.code == 0, done.err
    failed = [row["model.trouble"] for row in trials(done.directory) if row["status"] == "failed"]
    assert failed == [trouble]
    log = (done.directory / "run.log").read_text()
    assert "FitTimeoutError: took longer than search.trial_timeout=1 s" in log
    assert "search.trial_timeout: which fits end in time depends on this machine's speed" in log


def test_failures_are_counted_and_may_be_too_many(folder: Path) -> None:
    request = troubled("none", "raises", n_jobs=1, C="[0.1,1.0]")
    few = run_command(*request, cwd=folder, env=ALLOW)
    assert few.code == 0, few.err
    assert few.result["trials"]["n_failed"] == 6
    assert "ValueError: too much trouble" in few.err
    many = run_command(*request, "search.max_failures=2", cwd=folder, env=ALLOW)
    assert many.code == 1
    assert "3 of 15 fits failed, more than search.max_failures=2 allows" in many.err
    assert "ValueError: too much trouble" in many.err.splitlines()[-1]


def test_a_batch_in_which_all_fits_fail_does_not_end_the_search(folder: Path) -> None:
    request = [part for part in troubled("none", "raises", n_jobs=1) if part != "search=grid"]
    adaptive = ("search=optuna", "search.n_iter=6", "search.batch_size=1", "cv.n_splits=2")
    done = run_command(*request, *adaptive, cwd=folder, env=ALLOW)
    assert done.code == 0, done.err
    assert {row["status"] for row in trials(done.directory)} == {"completed", "failed"}
    assert len(trials(done.directory)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("search", ["random", "optuna"])
def test_time_budget_keeps_what_is_done(folder: Path, search: str) -> None:
    space = ("space=none", "space.model.C={low:0.1,high:10.0}", "model.trouble=slow")
    request = ("data=iris", "model=troubled", "search.n_iter=40", "compute.n_jobs=1", *space)
    request = (*request, f"search={search}")
    done = run_command(*request, "search.time_budget_s=4", cwd=folder, env=ALLOW)
    assert done.code == 0, done.err
    counts = done.result["trials"]
    assert 1 <= counts["n_candidates"] <= 3
    assert counts["n_failed"] == 0
    assert len(trials(done.directory)) == counts["n_candidates"]
    assert f"{counts['n_candidates']} of 40 candidates were evaluated" in done.err


def interrupt(process: subprocess.Popen[bytes], folder: Path, number: int) -> tuple[float, bytes]:
    """Send a signal in the middle of the second fit; return how long it took, and the output."""
    wait_until(lambda: record_of(folder).count('"started"') >= 2, "the second fit")
    at = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    return time.monotonic() - at, out


@pytest.mark.parametrize(
    ("number", "n_jobs"),
    [
        (signal.SIGTERM, 1),
        (signal.SIGINT, 2),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 2, marks=pytest.mark.slow),
    ],
)
def test_signals_stop_within_seconds(folder: Path, number: signal.Signals, n_jobs: int) -> None:
    with started(folder, *FOREST, f"compute.n_jobs={n_jobs}") as process:
        wait_until(lambda: '"started"' in record_of(folder), "the first fit")
        workers = workers_of(process.pid)
        seconds, out = interrupt(process, folder, number)
    assert len(workers) == (0 if n_jobs == 1 else 2)
    assert seconds < 3
    assert process.returncode == 130
    (directory,) = folder.glob("outputs/runs/*/*")
    hint = f"interrupted; go on with: python -m runner resume {directory.relative_to(folder)}"
    assert out.decode().splitlines()[-1] == hint, out.decode()
    assert not alive(workers)
    assert json.loads((directory / "state.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_a_long_epoch_does_not_keep_a_run_from_stopping(tmp_path: Path) -> None:
    """Native code sees no signals: an epoch that would take a minute is left within seconds."""
    layers = ("model.hidden_layer_one=4000", "model.hidden_layer_two=4000")
    small_steps = ("training.batch_size=1", "data=digits", "compute.n_jobs=1")
    with started(tmp_path, "model=mlp", *layers, *small_steps) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        wait_until(lambda: "libtensorflow" in maps.read_text(), "TensorFlow's start")
        wait_until(lambda: '"started"' in record_of(tmp_path), "the first fit")
        time.sleep(10)
        at = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert time.monotonic() - at < 3
    assert process.returncode == 130
    assert b"go on with: python -m runner resume" in out


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "runner", *FOREST, "compute.n_jobs=2"])
    try:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 2, "the second fit")
        workers = workers_of(pid)
        at = time.monotonic()
        os.write(terminal, b"\x03")
        shown = b""
        while time.monotonic() - at < 15:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    shown += os.read(terminal, 4096)
                except OSError:
                    break
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    assert time.monotonic() - at < 3
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"go on with: python -m runner resume" in shown
    assert b"Traceback" not in shown
    assert len(workers) == 2
    wait_until(lambda: not alive(workers), "the end of the workers", seconds=1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with little room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_search_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    request = (*FOREST, "compute.n_jobs=1", f"hydra.run.dir={small_disk}/run")
    with started(tmp_path, *request) as process:
        record = small_disk / "run" / "fits.jsonl"
        wait_until(lambda: record.exists() and b"completed" in record.read_bytes(), "a fit")
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"can't write {record}: No space left on device" in out.decode()
    assert "Traceback" not in out.decode()
    done = record.read_bytes().count(b'"completed"')
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    resumed = run_command("resume", str(small_disk / "run"), cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    result = json.loads((small_disk / "run" / "result.json").read_text())
    assert result["trials"]["n_restored"] >= done - 1


@pytest.mark.slow
def test_a_fit_under_way_goes_on_from_its_last_stored_epoch(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    # One long fit of many short epochs.
    request = (*NETWORK, "search=none", "cv=holdout", "training.epochs=3000", "compute.n_jobs=1")
    with started(killed, *request, "compute.checkpoint_s=0.2") as process:
        wait_until(lambda: list(killed.glob("outputs/runs/*/*/states/*.npz")), "a stored state")
    (directory,) = killed.glob("outputs/runs/*/*")
    assert process.returncode
    assert '"completed"' not in record_of(killed)
    resumed = run_command("resume", str(directory), "log_level=debug", cwd=killed)
    assert resumed.code == 0, resumed.err
    assert "goes on from epoch" in resumed.err
    assert run_command(*request, cwd=whole).code == 0
    (other,) = whole.glob("outputs/runs/*/*")
    assert scores(directory) == scores(other)


@pytest.mark.slow
def test_two_resumes_at_once_leave_one(tmp_path: Path) -> None:
    with started(tmp_path, *FOREST, "compute.n_jobs=1") as process:
        wait_until(lambda: '"completed"' in record_of(tmp_path), "a fit")
        process.kill()
    (directory,) = tmp_path.glob("outputs/runs/*/*")
    both = [
        start_command("resume", str(directory), cwd=tmp_path, keeps_output=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0].decode() for process in both]
    assert sorted(process.returncode for process in both) == [0, 2], said
    assert any("is being written by a live process" in text for text in said)
