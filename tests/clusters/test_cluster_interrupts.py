"""Ctrl-C, SIGTERM and SIGKILL end what a run started, and nothing else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster_processes import (
    FOREST,
    NETWORK,
    Processes,
    assert_quiet,
    fit_processes,
    only,
    outcome,
    own,
    record_of,
    start_dask,
)
from command import run_command
from processes import alive, descendants, started, wait_until

pytest.importorskip("distributed")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_was_started(
    backend: str, sent: signal.Signals, on_this_machine: Callable[[str], Path], tmp_path: Path
) -> None:
    with started(*FOREST, *own(backend), cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 2, "the second fit", 300)
        started_by_it = descendants(process.pid)
        at = time.monotonic()
        process.send_signal(sent)
        out, _ = process.communicate(timeout=30)
    assert time.monotonic() - at < 5
    assert process.returncode == 130, out.decode()
    assert_quiet(out.decode())
    directory = only(tmp_path)
    hint = f"interrupted; go on with: python -m runner resume {directory.relative_to(tmp_path)}"
    assert out.decode().splitlines()[-1] == hint
    wait_until(lambda: not alive(started_by_it), "the end of its processes", seconds=10)
    resumed = run_command("resume", str(directory), "compute=local", cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert outcome(directory) == outcome(on_this_machine("forest"))


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_on_a_cluster_of_others_only_the_runs_own_fits_end(
    sent: signal.Signals, processes: Processes, tmp_path: Path
) -> None:
    """Fits would take minutes; nobody waits for them any more."""
    address = start_dask(processes)
    long = (*NETWORK[:-1], "training.epochs=100000", "search=none")
    where = ("compute=dask", f"compute.address={address}")
    with started(*long, *where, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"started"') >= 2, "the first fits", 300)
        busy = fit_processes(processes, "dask")
        assert len(busy) == 2
        time.sleep(3)
        process.send_signal(sent)
        process.communicate(timeout=30)
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        wait_until(lambda: not any(client.processing().values()), "the end of the fits", 30)
        idle = [client.submit(os.getpid, pure=False) for _ in range(2)]
        assert {future.result(timeout=30) for future in idle} <= set(busy)
    assert alive(busy) == busy
    assert record_of(tmp_path).count('"completed"') == 0


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_killed_run_leaves_no_process(backend: str, tmp_path: Path) -> None:
    with started(*FOREST, *own(backend), cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 2, "the second fit", 300)
        left = descendants(process.pid)
        process.kill()
        process.wait()
        # Ray's own agents first try to tell a server that is gone, for a minute or so.
        wait_until(lambda: not alive(left), "the end of its processes", seconds=200)
