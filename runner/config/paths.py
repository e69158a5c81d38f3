"""Config paths: a nested config as leaves named by their dotted path, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Name every leaf by its path; lists and empty mappings are leaves, ``_target_`` is none."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        if str(key).startswith("_"):
            continue
        if isinstance(value, Mapping) and value:
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def replaced(node: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Copy `node` with the leaves in `values` (path to value) set."""
    copy = {k: replaced(v, {}) if isinstance(v, Mapping) else v for k, v in node.items()}
    for path, value in values.items():
        *parents, last = path.split(".")
        inner = copy
        for name in parents:
            inner = inner[name]
        inner[last] = value
    return copy
