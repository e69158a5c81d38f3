"""Clusters for tests, and runs to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_processes import FOREST, LONG, NETWORK, Processes, finished, only
from command import Once


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    running = Processes(folder)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="session")
def on_this_machine(once: Once) -> dict[str, Path]:
    """Runs in one process, to compare with."""
    made = {}
    for name, request in (("network", NETWORK), ("long", LONG), ("forest", FOREST)):
        folder = once(f"{name} here", lambda cwd, request=request: run_here(request, cwd))
        made[name] = only(folder)
    return made


def run_here(request: tuple[str, ...], folder: Path) -> None:
    finished(*request, "compute.n_jobs=1", cwd=folder)
