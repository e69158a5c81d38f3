"""A worker that dies costs its fit only; a cluster that dies ends the run clearly."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_processes import (
    FOREST,
    LONG,
    MARKS,
    Processes,
    assert_quiet,
    cluster,
    fit_processes,
    free_port,
    only,
    outcome,
    own,
    record_of,
    start_scheduler,
    start_workers,
    working,
)
from command import run_command
from processes import started, wait_until

pytest.importorskip("distributed")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_killed_worker_costs_its_fit_only(
    backend: str, on_this_machine: Callable[[str], Path], tmp_path: Path
) -> None:
    with started(*LONG, *own(backend), cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit", 300)
        os.kill(working(process.pid, MARKS[backend])[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out.decode()
    assert b"a worker died, its fit is done again" in out
    assert_quiet(out.decode())
    assert outcome(only(tmp_path)) == outcome(on_this_machine("long"))
    # One fit was begun twice, and none was done twice.
    record = record_of(tmp_path)
    assert record.count('"started"') == record.count('"completed"') + 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_killed_worker_of_a_cluster_that_runs_already(
    backend: str, on_this_machine: Callable[[str], Path], processes: Processes, tmp_path: Path
) -> None:
    where = cluster(backend, processes)
    with started(*LONG, *where, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit", 300)
        os.kill(fit_processes(processes, backend)[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out.decode()
    assert outcome(only(tmp_path)) == outcome(on_this_machine("long"))


DEADLY = '''
import os, signal
from sklearn.linear_model import LogisticRegression

class Deadly(LogisticRegression):
    """Kills its process, where asked to."""

    def __init__(self, C=1.0, deadly=False):
        super().__init__(C=C, max_iter=500)
        self.deadly = deadly

    def fit(self, X, y):
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)
'''


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_fit_that_kills_its_worker_fails_alone(backend: str, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "deadly.yaml").write_text(
        "_target_: deadly.Deadly\nC: 1.0\ndeadly: false\n"
    )
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nallow = ["deadly.*"]\n')
    space = ("space=none", "space.model.deadly=[false,true]", "search=grid", "cv.n_splits=2")
    request = ("data=iris", "model=deadly", *space, *own(backend))
    done = run_command(*request, cwd=tmp_path)
    assert done.code == 0, done.err
    with (done.directory / "trials.csv").open() as file:
        statuses = {row["model.deadly"]: row["status"] for row in csv.DictReader(file)}
    assert statuses == {"false": "completed", "true": "failed"}
    assert "its worker process died" in (done.directory / "run.log").read_text()


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_clearly(
    on_this_machine: Callable[[str], Path], processes: Processes, tmp_path: Path
) -> None:
    port = free_port()
    scheduler = start_scheduler(processes, port)
    start_workers(processes, port)
    address = f"compute.address=tcp://127.0.0.1:{port}"
    with started(*FOREST, "compute=dask", address, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit", 300)
        scheduler.kill()
        out, _ = process.communicate(timeout=150)
    last = out.decode().splitlines()[-1]
    assert process.returncode == 1, out.decode()
    assert_quiet(out.decode())
    directory = only(tmp_path)
    assert last.endswith(f"go on with: python -m runner resume {directory.relative_to(tmp_path)}")
    assert f"tcp://127.0.0.1:{port}" in last
    refused = run_command("resume", str(directory), cwd=tmp_path)
    assert refused.code == 2
    assert "was not named by you" in refused.err
    resumed = run_command("resume", str(directory), "compute=local", cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert json.loads((directory / "result.json").read_text())["trials"]["n_restored"] >= 4
    assert outcome(directory) == outcome(on_this_machine("forest"))


@pytest.mark.slow
def test_a_scheduler_that_comes_back_is_used_again(
    on_this_machine: Callable[[str], Path], processes: Processes, tmp_path: Path
) -> None:
    port = free_port()
    scheduler = start_scheduler(processes, port)
    start_workers(processes, port)
    address = f"compute.address=tcp://127.0.0.1:{port}"
    with started(*FOREST, "compute=dask", address, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit", 300)
        scheduler.kill()
        scheduler.wait()
        start_scheduler(processes, port)
        start_workers(processes, port)
        out, _ = process.communicate(timeout=500)
    assert process.returncode == 0, out.decode()
    assert_quiet(out.decode())
    assert outcome(only(tmp_path)) == outcome(on_this_machine("forest"))


@pytest.mark.slow
def test_a_ray_that_dies_ends_the_run_clearly(
    on_this_machine: Callable[[str], Path], processes: Processes, tmp_path: Path
) -> None:
    where = cluster("ray", processes)
    with started(*FOREST, *where, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit", 300)
        processes.end()
        out, _ = process.communicate(timeout=150)
    assert process.returncode == 1, out.decode()
    directory = only(tmp_path)
    last = out.decode().splitlines()[-1]
    assert last.endswith(f"go on with: python -m runner resume {directory.relative_to(tmp_path)}")
    resumed = run_command("resume", str(directory), *own("dask"), cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert outcome(directory) == outcome(on_this_machine("forest"))
