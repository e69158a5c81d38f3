"""Python values as strict JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Set
from typing import Any

import numpy as np


def to_json(value: object, indent: int | None = None) -> str:
    """Write `value` as JSON that any parser accepts (RFC 8259: no NaN, no infinity)."""
    return json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Reduce `value` to what JSON knows.

    Dataclasses and mappings become dictionaries with text keys; tuples, sets and arrays lists;
    NumPy scalars Python's; NaN and infinities None. Anything else becomes its text: a strange
    parameter value must not cost a finished run its record.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {_text(key): plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return [plain(item) for item in sorted(value, key=repr)]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return _text(value)


def _text(value: object) -> str:
    """Spell `value` in valid Unicode: lone surrogates (odd bytes in a path) are written out."""
    return str(value).encode("utf-8", errors="backslashreplace").decode("utf-8")
