"""The state of a run directory at any moment: running, interrupted, failed or completed."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runner
from runner.errors import RequestError
from runner.results.jsonable import to_json
from runner.results.run_directory import RunDirectory

_LOCK_TRIES, _LOCK_WAIT_S = 5, 0.05
_WITHOUT_EFFECT = ("compute", "tracking", "log_level", "plots", "choices", "sweep")


@dataclass(frozen=True)
class RunState:
    """What a run directory says of its writer.

    ``status`` is ``running``, ``interrupted``, ``failed`` or ``completed``; a writer that died
    without a word counts as interrupted. ``config`` and ``data`` are fingerprints, ``version`` the
    runner's. ``attempt`` counts how often the run has been resumed.
    """

    status: str
    pid: int
    host: str
    started: float
    config: str
    data: str
    version: str
    attempt: int = 0


class Writer:
    """Holds a run directory for one process, and keeps its state."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._state: dict[str, Any] = {}

    def begin(self, config: Mapping[str, Any], data: str) -> int:
        """Note what is run: the checked config, and the data's fingerprint; return the attempt."""
        before = read_state(self._directory)
        attempt = 0 if before is None else before.attempt + 1
        self._state = {
            "status": "running",
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time(),
            "config": config_fingerprint(config),
            "data": data,
            "version": runner.__version__,
            "attempt": attempt,
        }
        self._write()
        return attempt

    def end(self, status: str) -> bool:
        """Note how it ended; return False when that was noted before, or nothing had begun."""
        if self._state.get("status") != "running":
            return False
        self._state["status"] = status
        self._write()
        return True

    def _write(self) -> None:
        self._directory.write_text(self._directory.state, to_json(self._state, indent=2))


def config_fingerprint(config: Mapping[str, Any]) -> str:
    """Name a config by its values; where and with how many processes it ran makes no difference."""
    content = {k: v for k, v in config.items() if k not in _WITHOUT_EFFECT}
    if isinstance(search := content.get("search"), dict):
        arguments = dict(search.get("arguments") or {})
        arguments.pop("storage", None)  # where a shared study is to be found, password included
        content["search"] = {**search, "arguments": arguments}
    content["threads"] = dict(config.get("compute") or {}).get("threads")
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def hold(directory: RunDirectory) -> Iterator[Writer]:
    """Be the one process that writes in a run directory, for the length of the block.

    Raises
    ------
    RequestError
        When a live process holds it.
    """
    with locked(directory.path):
        writer = Writer(directory)
        try:
            yield writer
        except BaseException as error:
            # On a full disk the state stays "running", which without a writer means interrupted.
            with contextlib.suppress(OSError):
                writer.end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        writer.end("completed")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock for the length of the block; the system frees it when the process dies.

    Raises
    ------
    RequestError
        When a live process holds it.
    """
    lock = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # Whoever looks whether a process holds it holds it for an instant.
        for _ in range(_LOCK_TRIES):
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOCK_WAIT_S)
        else:
            raise RequestError(str(folder), "is being written by a live process")
        yield
    finally:
        os.close(lock)


def read_state(directory: RunDirectory) -> RunState | None:
    """Read who is or was writing; None when nothing was begun, or the file is unreadable."""
    try:
        state = RunState(**json.loads(directory.state.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if state.status == "running" and not is_held(directory):
        return RunState(**{**vars(state), "status": "interrupted"})
    return state


def note_death(directory: RunDirectory) -> None:
    """Note that a run failed whose process died, and so could not note it itself."""
    state = read_state(directory)
    if state is not None:
        directory.write_text(
            directory.state, to_json({**vars(state), "status": "failed"}, indent=2)
        )


def is_held(directory: RunDirectory) -> bool:
    """Whether a live process is writing in the directory."""
    try:
        lock = os.open(directory.path / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
