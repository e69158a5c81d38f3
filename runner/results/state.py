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
from typing import Any

import runner
from runner.errors import RequestError
from runner.results.jsonable import to_json
from runner.results.run_directory import RunDirectory


@dataclass(frozen=True)
class RunState:
    """What a run directory says of its writer.

    ``status`` is ``running``, ``interrupted``, ``failed`` or ``completed``; a writer that died
    without a word counts as interrupted. ``config`` and ``data`` are fingerprints, ``version`` the
    runner's.
    """

    status: str
    pid: int
    host: str
    started: float
    config: str
    data: str
    version: str


class Writer:
    """Holds a run directory for one process, and keeps its state."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._state: dict[str, Any] = {}

    def begin(self, config: Mapping[str, Any], data: str) -> None:
        """Note what is run: the checked config, and the data's fingerprint."""
        self._state = {
            "status": "running",
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time(),
            "config": config_fingerprint(config),
            "data": data,
            "version": runner.__version__,
        }
        self._write()

    def end(self, status: str) -> None:
        if self._state:
            self._state["status"] = status
            self._write()

    def _write(self) -> None:
        self._directory.write_text(self._directory.state, to_json(self._state, indent=2))


def config_fingerprint(config: Mapping[str, Any]) -> str:
    """Name a config by its values; where and with how many processes it ran makes no difference."""
    content = {k: v for k, v in config.items() if k not in ("compute", "log_level", "choices")}
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
    lock = os.open(directory.path / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RequestError(str(directory.path), "is being written by a live process") from None
        writer = Writer(directory)
        try:
            yield writer
        except KeyboardInterrupt:
            writer.end("interrupted")
            raise
        except BaseException:
            writer.end("failed")
            raise
        writer.end("completed")
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


def is_held(directory: RunDirectory) -> bool:
    """Whether a live process is writing in the directory."""
    try:
        lock = os.open(directory.path / ".lock", os.O_WRONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
