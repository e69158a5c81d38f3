"""Fixtures for tests that run the whole product."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Once
from hypothesis import settings

# The same examples each time, so that a change is judged by what it changes; other ones are tried
# with HYPOTHESIS_PROFILE=search.
settings.register_profile("repeat", derandomize=True)
settings.register_profile("search", derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to run commands in, outside the checkout."""
    working = tmp_path / "work"
    working.mkdir()
    return working


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fill a named folder once, however many processes the tests are spread over."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def _once(name: str, fill: Callable[[Path], None]) -> Path:
        made = root / name
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / f"{name}.done").exists():
                made.mkdir()
                fill(made)
                (root / f"{name}.done").touch()
        return made

    return _once
