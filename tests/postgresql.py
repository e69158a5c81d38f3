"""A PostgreSQL server of its own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

USER, PASSWORD = "tuner", "correct-horse"


def _programs() -> Path | None:
    """The folder of the newest version's programs; Debian keeps them off the path."""
    found = shutil.which("pg_ctl")
    if found:
        folders = [Path(os.path.realpath(found)).parent]
    else:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


def has_postgresql() -> bool:
    is_root = os.getuid() == 0
    return _programs() is not None and (not is_root or shutil.which("runuser") is not None)


needs_postgresql = pytest.mark.skipif(not has_postgresql(), reason="no PostgreSQL is installed")


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run a server for the length of the block; yields its address, password included."""
    programs = _programs()
    assert programs is not None
    # The server refuses to be root, and pytest's own folders are closed to everyone else.
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        folder = Path(made)
        (folder / "password").write_text(PASSWORD)
        as_server: list[str] = []
        if os.getuid() == 0:
            as_server = ["runuser", "-u", "postgres", "--"]
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")

        def run(name: str, *arguments: str) -> None:
            command: Sequence[str] = [*as_server, str(programs / name), *arguments]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr

        data, port = str(folder / "data"), _free_port()
        safe = ("--auth=scram-sha-256", "--pwfile=password")
        run("initdb", "-D", data, "-U", USER, "--no-sync", *safe)
        options = f"-p {port} -h 127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-w", "-o", options, "start")
        try:
            yield f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
