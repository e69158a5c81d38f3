"""The target column: one clean array, and the task that it makes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from runner.data.dataset import Array, Task
from runner.errors import RequestError, listing

MAX_INFERRED_CLASSES = 20
"""Whole numbers with more distinct values than this are taken for a regression target."""

_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal"}
_TEXT = {"string"}
_TRUTH = {"boolean"}


def clean_target(y: Any) -> Array:
    """Return the target as an array of shape (n,): numbers, booleans, or objects that are `str`.

    Parameters
    ----------
    y
        An array or list of n labels, of shape (n,) or (n, 1), a series, or a data frame with one
        column.

    Raises
    ------
    RequestError
        For ``data.target``: another shape, missing or infinite values, or values that are neither
        numbers, booleans nor text.
    """
    column = _one_column(y)
    n_missing = int(column.isna().sum())
    if n_missing:
        raise RequestError("data.target", f"{n_missing} of {len(column)} rows have no value (NaN)")
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    kind = pd.api.types.infer_dtype(column)
    if kind in _NUMBERS:
        return _finite_numbers(column)
    if kind in _TRUTH:
        return column.to_numpy(dtype=bool)
    if kind in _TEXT:
        return column.to_numpy(dtype=object)
    if kind == "empty" or len(column) == 0:
        raise RequestError("data", "there are no rows")
    types = listing(sorted({type(value).__name__ for value in column}))
    allowed = "all numbers, all booleans or all text is needed"
    raise RequestError("data.target", f"holds values of type {types}; {allowed}")


def task_of(y: Array, asked: Literal["auto", "classification", "regression"]) -> Task:
    """Return the task, inferred from a clean target when `asked` is ``auto``.

    Text and booleans are classes. Numbers are classes when all are whole, at most
    `MAX_INFERRED_CLASSES` differ and each occurs twice on average; anything else is regression.

    Raises
    ------
    RequestError
        For ``data.task``: regression on text or booleans, classification of fractions.
    """
    numeric = y.dtype.kind in "iuf"
    whole = not numeric or y.dtype.kind in "iu" or bool((y == np.floor(y)).all())
    if asked == "regression" and not numeric:
        example = f"the target holds {y[0]!r}, not numbers"
        raise RequestError("data.task", f"regression is impossible: {example}; use classification")
    if asked == "classification" and not whole:
        fraction = y[y != np.floor(y)][0]
        example = f"the target holds fractions such as {fraction}"
        raise RequestError("data.task", f"classification is impossible: {example}; use regression")
    if asked != "auto":
        return asked
    few = not numeric or len(np.unique(y)) <= min(MAX_INFERRED_CLASSES, len(y) / 2)
    return "classification" if whole and few else "regression"


def _one_column(y: Any) -> pd.Series:
    if isinstance(y, pd.Series):
        return y.reset_index(drop=True)
    if isinstance(y, pd.DataFrame):
        if y.shape[1] != 1:
            raise RequestError("data.target", f"has {y.shape[1]} columns; one is needed")
        return y.iloc[:, 0].reset_index(drop=True)
    try:
        array = _as_array(y)
    except ValueError as error:  # a list of lists of unequal length
        raise RequestError("data.target", f"is not an array: {error}") from error
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        problem = f"has shape {array.shape}; one label for each row, shape (n,), is needed"
        raise RequestError("data.target", problem)
    return pd.Series(array)


def _as_array(y: Any) -> Array:
    if np.ma.isMaskedArray(y):
        return np.asarray(np.ma.filled(np.ma.asarray(y, dtype=object), np.nan))
    array = np.asarray(y)
    # NumPy turns the rest of a list with text into text too: 1 into "1", NaN into "nan".
    return array if hasattr(y, "dtype") or array.dtype.kind != "U" else np.asarray(y, dtype=object)


def _finite_numbers(column: pd.Series) -> Array:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iuf":
        numbers = column.to_numpy()
    elif isinstance(dtype, np.dtype):
        numbers = _from_objects(column)
    else:  # a pandas extension type; it has no missing values here
        numbers = np.asarray(column.tolist())
    n_infinite = int(np.isinf(numbers).sum())
    if n_infinite:
        problem = f"{n_infinite} of {len(numbers)} rows are infinite or too large for a float"
        raise RequestError("data.target", problem)
    return numbers


def _from_objects(column: pd.Series) -> Array:
    values = column.tolist()
    try:
        return np.array(values, dtype=np.int64 if _all_integers(values) else np.float64)
    except OverflowError:  # integers beyond 64 bits; those beyond floats end as infinite
        return np.array([as_float(value) for value in values])


def _all_integers(values: list[Any]) -> bool:
    return all(isinstance(value, int | np.integer) for value in values)


def as_float(value: Any) -> float:
    """Return `value` as a float, infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
