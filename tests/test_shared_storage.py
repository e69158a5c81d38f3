"""Folders that several processes write in: locks that work, that don't, and that end at a host."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import refusal, sweep_of
from processes import started, wait_until
from slurm import is_installed, slurm_cluster
from sweeping import statuses, write_troubled

from runner.errors import RequestError
from runner.results.locks import check_locks, is_locked, locked
from runner.results.run_directory import RunDirectory
from runner.results.state import Writer, holder_is_unseen
from runner.search.record import FitEntry, FitRecord

SWEEP = ("-m", "data=iris", "model=logistic_regression", "seed=0,1", "search=none", "plots=false")


def without_locks(*arguments: Any) -> None:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def test_a_file_system_without_locks_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", without_locks)
    said = refusal(*SWEEP, cwd=tmp_path)
    assert "is on a file system without locks (flock: Function not implemented)" in said
    assert not list(tmp_path.glob("outputs/sweeps/*/*/0"))
    assert not is_locked(sweep_folder(tmp_path))


def test_a_file_system_that_grants_a_lock_twice_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: None)
    said = refusal(*SWEEP, cwd=tmp_path)
    assert "whose locks (flock) do not keep a second process out; see docs/" in said
    assert not list(tmp_path.glob("outputs/sweeps/*/*/0"))


def sweep_folder(folder: Path) -> Path:
    (found,) = folder.glob("outputs/sweeps/*/*")
    return found


def test_a_lock_that_another_process_sees_is_found_to_work(tmp_path: Path) -> None:
    with locked(tmp_path):
        check_locks(tmp_path)
        with (
            pytest.raises(RequestError, match="is being written by a live process"),
            locked(tmp_path),
        ):
            pass
    with pytest.raises(RequestError, match="do not keep a second process out"):
        check_locks(tmp_path)


def test_a_writer_of_another_host_is_known_by_its_lock_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = RunDirectory(tmp_path)
    with locked(tmp_path), monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        Writer(directory).begin({}, "data")
        elsewhere.undo()
        assert not holder_is_unseen(directory)
    assert holder_is_unseen(directory)
    Writer(directory).begin({}, "data")
    assert not holder_is_unseen(directory)


def test_a_line_is_added_to_the_record_when_nobody_else_adds_one(tmp_path: Path) -> None:
    record = FitRecord(tmp_path / "fits.jsonl")
    record.append(FitEntry.started("one", {}, "fold"))
    with record.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        entry = FitEntry.started("two", {}, "fold")
        adding = threading.Thread(target=record.append, args=(entry,))
        adding.start()
        time.sleep(0.2)
        assert len(list(record)) == 1
    adding.join(timeout=10)
    assert [entry.candidate for entry in record] == ["one", "two"]


@contextlib.contextmanager
def two_hosts(shared: Path) -> Iterator[None]:
    """Mount one folder as on two hosts that see each other's files, but not each other's locks.

    Within the block `shared` is what this host sees; what starts with `on_the_other_host` sees the
    same files there by a mount of its own.
    """
    (real, other) = (shared.with_name(name) for name in ("real", "other"))
    mounted = []
    try:
        for mount in (shared, other):
            for folder in (real, mount):
                folder.mkdir(exist_ok=True)
            subprocess.run(["bindfs", str(real), str(mount)], check=True)
            mounted.append(mount)
        yield
    finally:
        for mount in mounted:
            subprocess.run(["umount", "--lazy", str(mount)], check=True)


def on_the_other_host(shared: Path | None = None) -> list[str]:
    """Words that start a command under another host's name, with its view of a shared folder."""
    other = "" if shared is None else f"mount --bind {shared.with_name('other')} {shared} &&"
    script = f'hostname elsewhere && {other} exec "$@"'
    return ["unshare", "--mount", "--uts", "sh", "-c", script, "sh"]


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for sockets, whose path must be short."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        yield Path(folder)


def wait_for_stalled_job(folder: Path) -> None:
    wait_until((folder / "stalled").exists, "the job's start", 300)


STALLS = ("-m", "data=iris", "search=none", "model=troubled", "model.C=2", "model.trouble=stalls")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts and host names are for root")
@pytest.mark.parametrize("reach", [True, False])
def test_locks_that_do_not_reach_from_host_to_host_are_told(
    reach: bool, tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    if not is_installed() or not shutil.which("bindfs"):
        pytest.skip("needs SLURM and bindfs")
    folder = tmp_path / "shared"
    with contextlib.ExitStack() as stack:
        if reach:
            folder.mkdir()
        else:
            stack.enter_context(two_hosts(folder))
        inside = on_the_other_host(None if reach else folder)
        environment = stack.enter_context(slurm_cluster(short / "cluster", 1, inside=inside))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        write_troubled(folder)
        launcher = "hydra/launcher=submitit_slurm"
        with started(*STALLS, launcher, cwd=folder) as process:
            wait_for_stalled_job(folder)
            state = json.loads((sweep_of(folder) / "0" / "state.json").read_text())
            assert state["host"] == "elsewhere"
            time.sleep(12)
            (folder / "go_on").touch()
            assert process.wait(timeout=60) == 0
            assert process.stdout is not None
            said = process.stdout.read().decode()
        assert statuses(folder) == ["completed"]
        assert said.count("do not reach from host to host") == (0 if reach else 1)
