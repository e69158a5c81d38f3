"""What the run ran on, for whoever wants to run it again."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from typing import Any

import joblib

_PACKAGES = (
    "runner",
    "tensorflow",
    "keras",
    "scikit-learn",
    "scikeras",
    "hydra-core",
    "omegaconf",
    "optuna",
    "numpy",
    "pandas",
)
_GIT_TIMEOUT_S = 5


def describe_environment() -> dict[str, Any]:
    """Return Python, package versions, platform, CPUs and the current folder's git state.

    Versions are read from the installed metadata: nothing is imported. ``n_cpus`` counts what
    this process may use (affinity and container limits included). ``git_commit`` and
    ``git_dirty`` are None outside a git repository; files that git doesn't track don't make it
    dirty, as in ``git describe --dirty``.
    """
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "python": platform.python_version(),
        "packages": _package_versions(),
        "platform": platform.platform(),
        "n_cpus": int(joblib.cpu_count()),
        "git_commit": _git("rev-parse", "--verify", "HEAD"),
        "git_dirty": None if changes is None else bool(changes),
    }


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git(*arguments: str) -> str | None:
    """Ask git about the current folder; None where it has no answer, isn't there or hangs."""
    try:
        # Without optional locks, asking can't disturb a git command of the user's.
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
