"""Who trains on which GPU, on machines that have any number of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import compute, experiment
from runner.clusters import devices
from runner.clusters.devices import chosen_device, places, visible
from runner.compute import Processes, processes_for
from runner.config.schema import Compute
from runner.errors import RequestError


@pytest.mark.parametrize(
    ("n_gpus", "setting", "seen"),
    [
        (2, None, ("0", "1")),
        (0, None, ()),
        (0, "0,1", ()),
        (4, "2,0", ("2", "0")),
        (4, "3,-1,0", ("3",)),
        (2, "", ()),
        (2, "-1", ()),
        (2, "1,7,0", ("1",)),
        (1, "GPU-8932f937", ("GPU-8932f937",)),
    ],
)
def test_gpus_are_those_that_cuda_would_use(
    n_gpus: int, setting: str | None, seen: tuple[str, ...]
) -> None:
    environment = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}
    assert visible(n_gpus, environment) == seen


@given(n_gpus=st.integers(1, 8), n_workers=st.integers(1, 40))
def test_workers_are_spread_over_gpus_evenly(n_gpus: int, n_workers: int) -> None:
    names = [str(number) for number in range(n_gpus)]
    taken = list(islice(places(names), n_workers))
    assert len(set(taken)) == n_workers
    counts = Counter(name for name, _ in taken)
    assert max(counts.values()) - min(counts.get(name, 0) for name in names) <= 1


TAKE = """
import os, sys
from runner.clusters import devices
devices.gpus = lambda: ("0", "1")
devices.use_device("gpu")
print(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TF_FORCE_GPU_ALLOW_GROWTH"], flush=True)
sys.stdin.read()
"""


def started(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(folder)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", TAKE], env=environment, **pipes)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_take_turns_and_a_dead_ones_place_is_free(tmp_path: Path) -> None:
    processes = []
    try:
        for expected in ("0", "1", "0"):
            processes.append(started(tmp_path))
            assert said(processes[-1]) == f"{expected} true"
        processes[1].kill()
        processes[1].wait()
        processes.append(started(tmp_path))
        assert said(processes[-1]) == "1 true"
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_device_follows_what_is_asked_and_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_has_libraries", lambda: True)
    assert chosen_device("auto", is_network=True, n_gpus=1) == "gpu"
    assert chosen_device("auto", is_network=True, n_gpus=0) == "cpu"
    assert chosen_device("auto", is_network=False, n_gpus=1) == "cpu"
    assert chosen_device("cpu", is_network=True, n_gpus=1) == "cpu"
    monkeypatch.setattr(devices, "_has_libraries", lambda: False)
    assert chosen_device("auto", is_network=True, n_gpus=1) == "cpu"
    assert chosen_device("gpu", is_network=True, n_gpus=1) == "gpu"
    with pytest.raises(RequestError, match=r"compute.device: there is no GPU here"):
        chosen_device("gpu", is_network=True, n_gpus=0)


def test_one_fit_at_a_time_on_a_gpu_unless_more_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runner.clusters.connections.gpus", lambda: ("0", "1"))
    monkeypatch.setattr("runner.compute.n_cores", lambda: 16)
    found = processes_for(Compute(device="gpu"), n_fits=40, is_network=True)
    assert found.pace is not None
    assert (found.pace.n_jobs, found.device) == (2, "gpu")
    asked = processes_for(Compute(device="gpu", n_jobs=6), n_fits=40, is_network=True)
    assert asked == Processes(6, None, "gpu")
    learner = processes_for(Compute(device="gpu", n_jobs=6), n_fits=40, is_network=False)
    assert learner == Processes(6, None, "cpu")


def test_hidden_gpus_are_hidden_only_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "gpus", lambda: ())
    devices.use_device("cpu")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setattr(devices, "gpus", lambda: ("0",))
    # monkeypatch is to take it back.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    devices.use_device("cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def test_the_gpu_that_this_process_takes_leaves_the_others_to_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    monkeypatch.setattr(devices, "_n_gpus", lambda: 2)
    monkeypatch.setattr(devices, "_taken", None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(compute, "n_cores", lambda: 4)
    monkeypatch.setattr(experiment, "_start_tensorflow", lambda *_: None)
    asked: Any = SimpleNamespace(
        config=SimpleNamespace(compute=Compute(device="gpu")), is_network=True
    )
    processes = experiment._make_ready(asked, n_fits=8)
    assert processes.device == "gpu"
    assert processes.pace is not None
    assert processes.pace.n_jobs == 2
