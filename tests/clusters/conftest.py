"""Clusters for tests, and runs to compare with."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster_processes import FOREST, LONG, NETWORK, Processes, finished, only
from command import Once

REQUESTS = {"network": NETWORK, "long": LONG, "forest": FOREST}


@pytest.fixture(autouse=True)
def _same_token_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray asks for one."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    running = Processes(folder)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture
def on_this_machine(once: Once) -> Callable[[str], Path]:
    """Runs in one process, to compare with, by name."""

    def run(name: str) -> Path:
        def fill(folder: Path) -> None:
            finished(*REQUESTS[name], "compute.n_jobs=1", cwd=folder)

        return only(once(f"{name} here", fill))

    return run
