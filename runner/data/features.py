"""Features as models can take them: numbers, booleans, text and categories; missing is NaN."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from runner.data.dataset import Features
from runner.data.target import as_float
from runner.errors import RequestError, listing

_log = logging.getLogger(__name__)

_TIMES = {"datetime64", "datetime", "date", "timedelta64", "timedelta", "time", "period"}
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}


def clean_features(X: Features) -> Features:
    """Return features that every preprocessing step can rely on.

    Arrays keep their type (8-bit images stay so) but for infinite values, which become NaN. In
    data frames, dates, nested values and columns without any value are left out; infinite values
    become NaN; mixed types become text. A warning is logged for each kind of change.

    Parameters
    ----------
    X
        Array of shape (n, features), (n, height, width) or (n, height, width, channels), or a data
        frame with unique names (see `named_columns`).

    Raises
    ------
    RequestError
        For ``data``: another shape, complex numbers, dates or text in an array, no features.
    """
    return _clean_frame(X) if isinstance(X, pd.DataFrame) else _clean_array(X)


def named_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Give every column a name of its own that is text, and number the rows from 0."""
    taken = {str(name) for name in frame.columns}
    names: list[str] = []
    seen: set[str] = set()
    for position, column in enumerate(frame.columns):
        name = str(column).strip() or f"column_{position}"
        unique, number = name, 0
        while unique in seen or (number and unique in taken):
            number += 1
            unique = f"{name}.{number}"
        seen.add(unique)
        names.append(unique)
    return frame.set_axis(names, axis=1).reset_index(drop=True)


def _clean_array(X: np.ndarray) -> np.ndarray:
    if X.ndim not in (2, 3, 4):
        allowed = "(n, features), (n, height, width) or (n, height, width, channels)"
        raise RequestError("data", f"X has shape {X.shape}; allowed are {allowed}")
    if 0 in X.shape[1:]:
        raise RequestError("data", f"X has shape {X.shape}: there are no features")
    numbers = _objects_as_numbers(X) if X.dtype.kind == "O" else X
    if numbers.dtype.kind not in "biuf":
        problem = f"X is an array of {numbers.dtype}; numbers are needed, or a data frame"
        raise RequestError("data", problem)
    if numbers.dtype.kind != "f":
        return numbers
    numbers = numbers.astype(_float_type(numbers.dtype), copy=False)
    infinite = np.isinf(numbers)
    if infinite.any():
        _log.warning("%d infinite values in X count as missing", int(infinite.sum()))
        numbers = np.where(infinite, numbers.dtype.type(np.nan), numbers)
    return numbers


def _objects_as_numbers(X: np.ndarray) -> np.ndarray:
    try:
        # Text that happens to read as a number is refused too: it is a sign of a wrong column.
        flat = [_number(value) for value in X.ravel()]
    except (TypeError, ValueError) as error:
        problem = f"X is an array of objects, {error}; numbers are needed, or a data frame"
        raise RequestError("data", problem) from error
    return np.array(flat, dtype=np.float64).reshape(X.shape)


def _number(value: Any) -> float:
    if value is None or value is pd.NA:
        return np.nan
    if isinstance(value, str | bytes | complex | np.complexfloating):
        raise TypeError(f"such as {value!r}")
    try:
        return as_float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"such as a {type(value).__name__}") from error


def _float_type(dtype: np.dtype) -> np.dtype:
    """Half precision overflows in sums; what is beyond 64 bits neither pandas nor Keras takes."""
    return np.dtype(
        np.float32 if dtype.itemsize < 4 else np.float64 if dtype.itemsize > 8 else dtype
    )


def _clean_frame(frame: pd.DataFrame) -> pd.DataFrame:
    kept: dict[str, pd.Series] = {}
    left_out: list[str] = []
    infinite: list[str] = []
    for name, column in frame.items():
        reason = _reason_to_leave_out(column)
        if reason:
            left_out.append(f"{name} ({reason})")
            continue
        cleaned = clean_column(column)
        if cleaned.dtype.kind == "f" and np.isinf(cleaned).any():
            infinite.append(str(name))
            cleaned = cleaned.where(np.isfinite(cleaned))
        kept[str(name)] = cleaned
    if left_out:
        _log.warning("columns left out: %s", listing(left_out))
    if infinite:
        _log.warning("infinite values count as missing in %s", listing(infinite))
    if not kept:
        why = f": left out were {listing(left_out)}" if left_out else ""
        raise RequestError("data", f"no feature column is left{why}")
    return pd.DataFrame(kept)


def _reason_to_leave_out(column: pd.Series) -> str | None:
    if column.isna().all():
        return "no values"
    kind = _kind(column)
    if kind in _TIMES:
        return "dates or times"
    if kind == "complex":
        raise RequestError("data", f"column '{column.name}' holds complex numbers")
    if kind == "mixed" and any(is_nested(value) for value in column):
        return "nested values"
    return None


def _kind(column: pd.Series) -> str:
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return str(pd.api.types.infer_dtype(values, skipna=True))


def is_nested(value: Any) -> bool:
    return isinstance(value, list | tuple | dict | set | np.ndarray)


def clean_column(column: pd.Series) -> pd.Series:
    """Return a column of a NumPy number type, bool, text or category."""
    kind = _kind(column)
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column if kind in {"string", "integer", "floating"} else as_text(column)
    if kind == "boolean":
        return column.astype(float if column.isna().any() else bool)
    if kind in _NUMBERS:
        return _as_numbers(column)
    return as_text(column)


def _as_numbers(column: pd.Series) -> pd.Series:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        return column.astype(_float_type(dtype)) if dtype.kind == "f" else column
    values = column.astype(object).where(column.notna(), np.nan)
    numbers = values.map(as_float, na_action="ignore").astype(float)
    exact = _kind(column) == "integer" and column.notna().all() and not np.isinf(numbers).any()
    # Integers of a pandas type without missing values stay integers where 64 bits hold them.
    return numbers.astype(np.int64) if exact and (abs(numbers) < 2**53).all() else numbers


def as_text(column: pd.Series) -> pd.Series:
    """Spell every value as text; missing ones stay missing."""
    return column.astype(object).map(str, na_action="ignore").astype("str")
