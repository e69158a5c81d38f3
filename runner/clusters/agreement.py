"""What workers must have in common with the run's own process, so that numbers are the same."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import runner

_PACKAGES = (
    *("tensorflow", "keras", "scikit-learn", "scikeras"),
    *("numpy", "scipy", "pandas", "joblib"),
)
# TensorFlow's own kernels or oneDNN's: they round differently.
_VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "KERAS_BACKEND")
_ABSENT = "none"


@dataclass(frozen=True)
class Probe:
    """A file that the run's own process wrote, to be seen by its workers.

    ``facts`` are those of that process.
    """

    facts: Mapping[str, str]
    path: Path
    text: str


@cache
def facts() -> dict[str, str]:
    """What numbers depend on: versions, by name, and the environment's say in them."""
    found = {"python": platform.python_version(), "runner": _own_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = _ABSENT
    defaults = {"KERAS_BACKEND": "tensorflow"}
    return found | {name: os.environ.get(name, defaults.get(name, "")) for name in _VARIABLES}


def _own_version() -> str:
    """This package's version, and a fingerprint of its source files."""
    folder = Path(runner.__file__).parent
    digest = hashlib.blake2b(digest_size=4)
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes())
    return f"{runner.__version__} (source {digest.hexdigest()})"


def differences(expected: Mapping[str, str]) -> str:
    """Say where this process differs from what another one expects, or nothing."""
    own = facts()
    return ", ".join(
        f"{name} {own.get(name) or 'unset'} in place of {value or 'unset'}"
        for name, value in expected.items()
        if own.get(name) != value
    )


def disagreement(probe: Probe) -> str:
    """Say why this worker can't do the fits of the process that sent `probe`, or nothing."""
    different = differences(probe.facts)
    if different:
        return f"has {different}"
    try:
        sees_it = probe.path.read_text(encoding="utf-8") == probe.text
    except OSError:
        sees_it = False
    return "" if sees_it else f"does not see this machine's {probe.path.parent}"
