"""States of unfinished training on disk, so that any process can go on from them."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from runner.training.loop import TrainingState
from runner.training.session import Arrays

_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


class StateStore:
    """A folder of training states, bounded in size; the oldest are dropped first.

    Losing a state costs time only: the fit starts from the beginning and ends the same.

    Parameters
    ----------
    folder
        Created when the first state is saved.
    max_mb
        Bound on the sum of the files, in megabytes.
    """

    def __init__(self, folder: Path, max_mb: float) -> None:
        self.folder = folder
        self.max_bytes = max_mb * 1e6

    def load(self, key: str, at_most: int) -> TrainingState | None:
        """Return the state under `key`, unless there is none or it has over `at_most` epochs."""
        try:
            with np.load(self.folder / f"{key}.npz", allow_pickle=False) as stored:
                if sum(member.file_size for member in stored.zip.infolist()) > self.max_bytes:
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
        """Write `state` in one step; does nothing for a state larger than the bound."""
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
        if size > self.max_bytes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._make_room(size)
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, self.folder / f"{key}.npz")

    def _make_room(self, size: int) -> None:
        stored = []
        for path in self.folder.glob("*.npz"):
            try:
                stored.append((path.stat().st_mtime_ns, path.stat().st_size, path))
            except FileNotFoundError:  # another process made room at the same time
                continue
        total = size + sum(length for _, length, _ in stored)
        for _, length, path in sorted(stored):
            if total <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= length


def _listed(stored: np.lib.npyio.NpzFile, name: str) -> Arrays:
    n_arrays = sum(key.startswith(f"{name}_") for key in stored.files)
    return [stored[f"{name}_{index}"] for index in range(n_arrays)]
