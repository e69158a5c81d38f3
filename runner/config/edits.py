"""Edits of a composed config, as the overrides that would have made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.config.overrides import to_override
from runner.errors import RequestError

_RANGE = {"low", "high", "values"}


def overrides_for(edited: Mapping[str, Any], composed: Mapping[str, Any]) -> list[str]:
    """Write what differs as overrides: of values, and ``~path`` for what was taken out.

    Parameters
    ----------
    edited, composed
        Plain containers, interpolations unresolved.

    Raises
    ------
    RequestError
        For a value that no config file could hold.
    """
    return list(_differences(edited, composed, ""))


def _differences(
    edited: Mapping[str, Any], composed: Mapping[str, Any], prefix: str
) -> Iterator[str]:
    for key, value in edited.items():
        path, before = f"{prefix}{key}", composed.get(key)
        if key in composed and value == before and type(value) is type(before):
            continue
        if isinstance(value, Mapping) and isinstance(before, Mapping) and not _is_range(value):
            yield from _differences(value, before, f"{path}.")
            continue
        try:
            yield to_override(path, value)
        except TypeError as error:
            raise RequestError(path, str(error)) from None
    yield from (f"~{prefix}{key}" for key in composed if key not in edited)


def _is_range(value: Mapping[str, Any]) -> bool:
    """A range or a conditional choice of a space is replaced as a whole."""
    return bool(_RANGE & value.keys())
