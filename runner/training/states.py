"""How far a fit has come, and a folder of such states, so that any process can go on from them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Arrays = list[np.ndarray]

_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass
class TrainingState:
    """A fit after some epochs; training goes on from here as if it had never stopped.

    ``history`` maps loss and metric names to one value per epoch; ``best`` holds the weights of the
    epoch with the lowest held-out loss, where early stopping is on; ``epoch_s`` how many seconds
    the last epoch took.
    """

    weights: Arrays
    optimizer: Arrays | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    best: Arrays | None = None
    best_epoch: int = 0
    stopped: bool = False
    epoch_s: float = 0.0

    @property
    def epoch(self) -> int:
        return max(map(len, self.history.values()), default=0)

    @property
    def final_weights(self) -> Arrays:
        return self.weights if self.best is None else self.best


@dataclass(frozen=True)
class StateStore:
    """A folder of training states, bounded in size; the oldest are dropped first.

    Losing a state costs time only: the fit starts from the beginning and ends the same.

    Parameters
    ----------
    folder
        Created when the first state is saved.
    max_mb
        Bound on the sum of the files, in megabytes.
    every_s
        Seconds of training between two states of a fit under way.
    keeps_finished
        Whether the state at the end of a fit is kept, for one with more epochs to go on from.
    """

    folder: Path
    max_mb: float = 1000.0
    every_s: float = 30.0
    keeps_finished: bool = True

    def load(self, key: str, at_most: int) -> TrainingState | None:
        """Return the state under `key`, unless there is none or it has over `at_most` epochs."""
        try:
            with np.load(self._path(key), allow_pickle=False) as stored:
                if sum(member.file_size for member in stored.zip.infolist()) > self.max_mb * 1e6:
                    return None
                about = json.loads(stored["about"].tobytes())
                state = TrainingState(
                    weights=_listed(stored, "weights"),
                    optimizer=_listed(stored, "optimizer"),
                    best=_listed(stored, "best") or None,
                    **about,
                )
        except _UNREADABLE:
            return None
        return state if state.epoch <= at_most else None

    def save(self, key: str, state: TrainingState) -> None:
        """Write `state` in one step; does nothing for one beyond the bound, or on a full disk."""
        about = {
            "history": state.history,
            "best_epoch": state.best_epoch,
            "stopped": state.stopped,
        }
        arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
        for name in ("weights", "optimizer", "best"):
            for index, array in enumerate(getattr(state, name) or ()):
                arrays[f"{name}_{index}"] = array
        size = sum(array.nbytes for array in arrays.values())
        if size > self.max_mb * 1e6:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            self._write(key, arrays)

    def drop(self, key: str) -> None:
        """Forget the state under `key`, if there is one."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _write(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(temporary, self._path(key))
        except BaseException:
            os.unlink(temporary)
            raise

    def _make_room(self, size: int) -> None:
        stored = []
        for path in self.folder.glob("*.npz"):
            try:
                stored.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            except FileNotFoundError:  # another process made room at the same time
                continue
        total = size + sum(length for _, length, _ in stored)
        for _, length, path in sorted(stored):
            if total <= self.max_mb * 1e6:
                break
            path.unlink(missing_ok=True)
            total -= length


class Checkpoint:
    """Stores a fit under way from time to time, and where it is ended early.

    Parameters
    ----------
    watch
        Called after each epoch but the first, which compiles; what it raises ends the fit.
    """

    def __init__(
        self, store: StateStore, key: str, watch: Callable[[TrainingState], None] | None = None
    ) -> None:
        self._store, self._key, self._watch = store, key, watch
        self._stored_at = time.monotonic()
        self._n_epochs = 0

    def after_epoch(self, state: TrainingState, current: Callable[[], TrainingState]) -> None:
        """Note the end of an epoch; `current` gives the state with its weights."""
        self._n_epochs += 1
        if self._watch is not None and self._n_epochs > 1:
            try:
                self._watch(state)
            except BaseException:
                self.save(current())
                raise
        if time.monotonic() - self._stored_at >= self._store.every_s:
            self.save(current())

    def save(self, state: TrainingState) -> None:
        self._store.save(self._key, state)
        self._stored_at = time.monotonic()


def _listed(stored: np.lib.npyio.NpzFile, name: str) -> Arrays:
    n_arrays = sum(key.startswith(f"{name}_") for key in stored.files)
    return [stored[f"{name}_{index}"] for index in range(n_arrays)]
