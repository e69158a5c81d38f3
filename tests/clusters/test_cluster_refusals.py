"""What can not work on a cluster is refused in one line, before anything is loaded."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster_processes import (
    LEARNER,
    Processes,
    answers,
    free_port,
    start_dask,
    start_scheduler,
)
from command import Attempt, attempt_all, run_command
from processes import alive, descendants, wait_until

from runner.clusters.connections import check_compute
from runner.config.schema import Compute
from runner.errors import RequestError

pytest.importorskip("distributed")


def test_what_can_not_work_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    (tmp_path / "conf" / "compute").mkdir(parents=True)
    lab = tmp_path / "conf" / "compute" / "lab.yaml"
    lab.write_text("# The lab's.\ndefaults: [dask]\naddress: tcp://127.0.0.1:9\n")
    lines = {
        "a file's": ["compute=lab"],
        "nobody": ["compute=dask", f"compute.address={address}"],
        "form": ["compute=dask", "compute.address=localhost:8786"],
        "side by side": ["-m", "compute=dask", "hydra/launcher=joblib", "seed=0,1"],
        "unknown": ["compute=dsak"],
        "no gpu": ["compute.device=gpu"],
    }
    data = ("data=iris", "model=mlp")
    found = attempt_all({name: [*line, *data] for name, line in lines.items()}, tmp_path)
    expected = {
        "a file's": "compute.address: 'tcp://127.0.0.1:9' was not named by you; to trust it",
        "nobody": f"compute.address: nothing answers at {address}: Connection refused",
        "form": "compute.address: must look like tcp://HOST:8786, got 'localhost:8786'",
        "side by side": "compute.address: jobs side by side would start a dask cluster each",
        "unknown": "did you mean 'dask'",
        "no gpu": "compute.device: there is no GPU here",
    }
    for name, problem in expected.items():
        check_refused(found[name], problem)


def check_refused(attempt: Attempt, problem: str) -> None:
    assert attempt.code == 2, attempt
    (line,) = attempt.err.splitlines()
    assert problem in line
    assert not attempt.imported
    assert not attempt.left_behind


def test_an_address_that_is_not_rays_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    port = free_port()
    expected = {
        f"ray://127.0.0.1:{port}": f"nothing answers at ray://127.0.0.1:{port}",
        f"tcp://127.0.0.1:{port}": "must look like ray://HOST:10001",
    }
    lines = {to: ["compute=ray", f"compute.address={to}", "data=iris"] for to in expected}
    for to, attempt in attempt_all(lines, tmp_path).items():
        check_refused(attempt, f"compute.address: {expected[to]}")


def test_a_cluster_that_the_folder_names_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Compute(backend="dask", address=f"tcp://127.0.0.1:{free_port()}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNNER_CLUSTERS", raising=False)
    with pytest.raises(RequestError, match="was not named by you"):
        check_compute(compute, tmp_path)
    Path("pyproject.toml").write_text(f'[tool.runner]\nclusters = ["{compute.address}"]\n')
    with pytest.raises(RequestError, match="nothing answers"):
        check_compute(compute, tmp_path)


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_missing_package_is_named_by_its_extra(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=rf"pip install 'runner\[{backend}\]'"):
        check_compute(Compute(backend=backend), tmp_path)


@pytest.mark.slow
def test_workers_that_would_give_other_numbers_are_refused(
    tmp_path: Path, processes: Processes
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    (older / "sitecustomize.py").write_text(
        "from importlib import metadata\n"
        "actual = metadata.version\n"
        "metadata.version = lambda name: '1.26.4' if name == 'numpy' else actual(name)\n"
    )
    address = start_dask(processes, PYTHONPATH=str(older))
    done = run_command(*LEARNER, "compute=dask", f"compute.address={address}", cwd=tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    pattern = r"worker tcp://\S+ \(and 1 more of 2 workers\) has numpy 1\.26\.4 in place of 2\.\d"
    assert re.search(pattern, line), line
    assert not done.directories
    assert not done.imported


@pytest.mark.slow
def test_workers_with_several_tasks_in_a_process_are_refused(
    tmp_path: Path, processes: Processes
) -> None:
    port = free_port()
    start_scheduler(processes, port)
    processes.start("distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "4")
    address = f"compute.address=tcp://127.0.0.1:{port}"
    done = run_command(*LEARNER, "compute=dask", address, cwd=tmp_path)
    assert done.code == 2
    assert "start it with --nthreads 1 --nworkers 4" in done.err
    assert not done.directories


@pytest.mark.slow
def test_a_scheduler_without_workers_is_refused(tmp_path: Path, processes: Processes) -> None:
    port = free_port()
    start_scheduler(processes, port)
    wait_until(lambda: answers(port), "the scheduler")
    address = f"compute.address=tcp://127.0.0.1:{port}"
    began = time.monotonic()
    done = run_command(*LEARNER, "compute=dask", address, cwd=tmp_path)
    assert done.code == 2
    assert "has no workers" in done.err
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_workers_with_other_files_are_refused(tmp_path: Path, processes: Processes) -> None:
    """They see another folder under the same name, as on another machine."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs root, for a file system of one's own")
    port = free_port()
    start_scheduler(processes, port)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}"]
    script = f"mount -t tmpfs tmpfs {folder} && exec {' '.join(worker)} --nthreads 1 --no-dashboard"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            address = f"compute.address=tcp://127.0.0.1:{port}"
            done = run_command(*LEARNER, "compute=dask", address, cwd=folder)
        finally:
            for pid in alive([process.pid, *descendants(process.pid)]):
                os.kill(pid, signal.SIGKILL)
    assert done.code == 2, done.err
    assert "does not see this machine's" in done.err
    assert not done.directories
