"""Clusters of dask and ray as real processes on this machine, and runs on them."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import run_command
from distributed import Client
from processes import alive, descendants, wait_until

LEARNER = ("data=iris", "model=logistic_regression", "search.n_iter=3")
NETWORK = (
    *("data=digits", "data.limit=400", "model=mlp", "search.n_iter=4", "plots=false"),
    *("model.hidden_layer_one=32", "model.hidden_layer_two=16", "training.epochs=6"),
)
LONG = (*NETWORK[:-1], "training.epochs=40")
FOREST = ("data=wine", "model=random_forest", "search.n_iter=10", "model.n_estimators=150")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def outcome(directory: Path) -> dict[str, Any]:
    """All that must not depend on where fits ran, or how often they were interrupted."""
    result = json.loads((directory / "result.json").read_text())
    for key in ("timing", "environment", "overrides"):
        del result[key]
    del result["trials"]["n_restored"]
    with (directory / "trials.csv").open() as file:
        rows = [
            {k: v for k, v in row.items() if k != "mean_fit_time"} for row in csv.DictReader(file)
        ]
    return {"result": result, "trials": rows, "best": (directory / "best.overrides").read_text()}


def only(folder: Path) -> Path:
    (directory,) = folder.glob("outputs/runs/*/*")
    return directory


def record_of(folder: Path) -> str:
    texts = [path.read_text() for path in folder.glob("outputs/runs/*/*/fits.jsonl")]
    return "".join(texts)


def finished(*arguments: str, cwd: Path) -> Path:
    """Run to the end in a new folder, and return the run's directory."""
    cwd.mkdir(parents=True, exist_ok=True)
    done = run_command(*arguments, cwd=cwd)
    assert done.code == 0, done.err
    assert_quiet(done.err)
    return only(cwd)


def assert_quiet(said: str) -> None:
    """Nothing of a cluster's own is on the terminal."""
    noise = re.compile(r"distributed\.|Traceback|raylet|tornado|nanny|dashboard|Warning", re.I)
    assert not noise.search(said), said


def working(pid: int, mark: bytes) -> list[int]:
    """Descendants of a process whose command line has `mark` in it."""
    found = []
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if mark in Path("/proc", str(child), "cmdline").read_bytes():
                found.append(child)
    return found


MARKS = {"dask": b"runner.clusters.dask_worker", "ray": b"ray::_Actor"}


class Processes:
    """Processes of a cluster, started for a test and ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{module}-{len(self.running)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def end(self) -> None:
        for process in self.running:
            for pid in alive([process.pid, *descendants(process.pid)]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


def start_scheduler(processes: Processes, port: int) -> subprocess.Popen[bytes]:
    where = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    scheduler = processes.start("distributed.cli.dask_scheduler", *where)
    wait_until(lambda: answers(port), "the scheduler")
    return scheduler


def start_workers(
    processes: Processes, port: int, n: int = 2, *more: str, **environment: str
) -> subprocess.Popen[bytes]:
    size = ("--nworkers", str(n), "--nthreads", "1", "--memory-limit", "3GB", "--no-dashboard")
    address = f"tcp://127.0.0.1:{port}"
    return processes.start("distributed.cli.dask_worker", address, *size, *more, **environment)


def start_dask(processes: Processes, *more: str, **environment: str) -> str:
    port = free_port()
    start_scheduler(processes, port)
    start_workers(processes, port, 2, *more, **environment)
    address = f"tcp://127.0.0.1:{port}"
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=100)
    return address


def start_ray(processes: Processes) -> str:
    port, client_port = free_port(), free_port()
    head = ("start", "--head", "--port", str(port), "--ray-client-server-port", str(client_port))
    limits = (
        "--num-cpus",
        "2",
        "--include-dashboard",
        "false",
        "--object-store-memory",
        "200000000",
    )
    temporary = f"/tmp/rt-{os.getpid()}-{client_port}"
    processes.start(
        "ray.scripts.scripts",
        *(*head, *limits, "--temp-dir", temporary, "--block", "--disable-usage-stats"),
    )
    wait_until(lambda: answers(client_port), "ray's client server")
    return f"ray://127.0.0.1:{client_port}"


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cluster(backend: str, processes: Processes) -> tuple[str, str]:
    """Overrides for a cluster that runs already, of two workers."""
    if backend == "ray":
        pytest.importorskip("ray")
    address = start_dask(processes) if backend == "dask" else start_ray(processes)
    return f"compute={backend}", f"compute.address={address}"


def own(backend: str) -> tuple[str, str]:
    if backend == "ray":
        pytest.importorskip("ray")
    return f"compute={backend}", "compute.n_jobs=2"


def fit_processes(processes: Processes, backend: str) -> list[int]:
    """Processes of a cluster that have TensorFlow loaded."""
    found = []
    for process in processes.running:
        for child in descendants(process.pid):
            with contextlib.suppress(OSError):
                if "libtensorflow" in Path("/proc", str(child), "maps").read_text():
                    found.append(child)
    return found
