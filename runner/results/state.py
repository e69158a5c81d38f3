"""The state of a run directory at any moment: running, interrupted, failed or completed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import runner
from runner.results.jsonable import to_json
from runner.results.locks import is_locked, locked
from runner.results.run_directory import RunDirectory

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


def read_state(directory: RunDirectory) -> RunState | None:
    """Read who is or was writing; None when nothing was begun, or the file is unreadable."""
    state = _read(directory)
    if state is not None and state.status == "running" and not is_held(directory):
        return RunState(**{**vars(state), "status": "interrupted"})
    return state


def _read(directory: RunDirectory) -> RunState | None:
    try:
        return RunState(**json.loads(directory.state.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def note_death(directory: RunDirectory) -> None:
    """Note that a run failed whose process died, and so could not note it itself."""
    state = read_state(directory)
    if state is not None:
        directory.write_text(
            directory.state, to_json({**vars(state), "status": "failed"}, indent=2)
        )


def is_held(directory: RunDirectory) -> bool:
    """Whether a live process is writing in the directory."""
    return is_locked(directory.path)


def holder_is_unseen(directory: RunDirectory) -> bool:
    """Whether a process of another host claims to write here, but its lock is not seen on this one.

    So it has died, or locks do not reach from host to host.
    """
    state = _read(directory)
    claims = state is not None and state.status == "running" and state.host != socket.gethostname()
    return claims and not is_held(directory)
