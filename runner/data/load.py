"""From a data function and its options to training and test rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from runner.data.dataset import Array, DataOptions, Dataset, Features, Task
from runner.data.features import clean_features, is_nested
from runner.data.returned import Rows, read_rows
from runner.data.split import Split, split_rows
from runner.data.target import task_of
from runner.errors import RequestError, did_you_mean, listing


def load_dataset(source: Callable[[], Any], options: DataOptions) -> Dataset:
    """Read, check and split a data set; see `DataOptions` for what can be chosen.

    Equal options give equal rows in equal order, in every process.

    Parameters
    ----------
    source
        Called once; returns ``(X, y)`` or ``(X_train, y_train, X_test, y_test)``. X: array of shape
        (n, features), (n, height, width) or (n, height, width, channels), list, series or data
        frame; y: n labels. See `clean_features` and `task_of` for what becomes of them.

    Raises
    ------
    RequestError
        For ``data`` or the option at fault: what doesn't fit, and what is allowed.
    """
    _check_options(options)
    rows = read_rows(source)
    task = task_of(rows.y, options.task)
    _check_target(rows, task)
    X, groups = _without_column(rows.X, options.group, "data.group")
    X, time_column = _without_column(X, options.time, "data.time")
    times = None if time_column is None else _sortable(time_column)
    group_names = None if groups is None else groups.to_numpy()
    X = clean_features(X)
    split = split_rows(rows.y, task, options, group_names, times, rows.n_shipped_train)
    _check_split(rows.y, task, split, options, rows.n_shipped_train is not None)
    return Dataset(
        name=options.name,
        task=task,
        X_train=_take(X, split.train),
        y_train=rows.y[split.train],
        X_test=_take(X, split.test),
        y_test=rows.y[split.test],
        groups_train=None if group_names is None else group_names[split.train],
        unused=_unused(rows, X),
    )


def _unused(rows: Rows, X: Features) -> tuple[str, ...]:
    target = [] if rows.target is None else [rows.target]
    if isinstance(rows.X, pd.DataFrame) and isinstance(X, pd.DataFrame):
        return (*target, *(str(name) for name in rows.X.columns if name not in X.columns))
    return tuple(target)


def _check_options(options: DataOptions) -> None:
    if not 0 < options.test_size < 1:
        raise RequestError(
            "data.test_size", f"must be between 0 and 1, but got {options.test_size}"
        )
    if options.limit is not None and options.limit < 2:
        raise RequestError("data.limit", f"must be null or at least 2, but got {options.limit}")
    if options.seed < 0:
        raise RequestError("data.seed", f"must be 0 or more, but got {options.seed}")
    if options.group is not None and options.time is not None:
        both = f"got group='{options.group}' and time='{options.time}'"
        raise RequestError("data.time", f"can't be used together with data.group; {both}")


def _check_target(rows: Rows, task: Task) -> None:
    pool = rows.y if rows.n_shipped_train is None else rows.y[: rows.n_shipped_train]
    labels, counts = np.unique(pool, return_counts=True)
    if len(labels) == 1:
        same = f"has the same value, {_shown(labels[0])}, in all {len(pool)} rows"
        raise RequestError("data.target", f"{same}; there is nothing to learn")
    single = [_shown(label) for label in labels[counts == 1]]
    if task == "classification" and single:
        which = f"classes with a single row: {listing(single)}"
        advice = "" if pool.dtype.kind in "bO" else ", or data.task=regression"
        raise RequestError("data.target", f"{which}; each needs at least 2{advice}")


def _without_column(X: Features, name: str | None, path: str) -> tuple[Features, pd.Series | None]:
    """Take the column `name` out of the features."""
    if name is None:
        return X, None
    if not isinstance(X, pd.DataFrame):
        raise RequestError(path, f"'{name}' names a column, but the data is an array without names")
    if name not in X.columns:
        known = [str(column) for column in X.columns]
        problem = f"no column '{name}'; the data has {listing(known)}{did_you_mean(name, known)}"
        raise RequestError(path, problem)
    column = X[name]
    n_missing = int(column.isna().sum())
    if n_missing:
        problem = f"{n_missing} of {len(column)} rows have no value in '{name}'"
        raise RequestError(path, problem)
    if any(map(is_nested, column)):
        raise RequestError(path, f"'{name}' holds nested values; one value a row is needed")
    return X.drop(columns=name), column


def _sortable(column: pd.Series) -> Array:
    """Return numbers or dates as an array that sorts in the order of time."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    try:
        with warnings.catch_warnings():
            # pandas warns that it can't guess the format; what it then makes of it is what counts.
            warnings.simplefilter("ignore", UserWarning)
            return pd.to_datetime(column, utc=True).to_numpy(dtype="datetime64[ns]")
    except (ValueError, TypeError) as error:
        allowed = "numbers or dates such as 2024-12-31 are needed"
        example = f"'{column.name}' holds {column.iloc[0]!r}"
        raise RequestError("data.time", f"{example}; {allowed}") from error


def _check_split(y: Array, task: Task, split: Split, options: DataOptions, shipped: bool) -> None:
    known = np.unique(y[split.train])
    path = _what_splits(options, shipped)
    if len(known) == 1:
        same = f"all training rows have the target {_shown(known[0])}"
        raise RequestError(path, f"after the split {same}; there is nothing to learn")
    unknown = np.setdiff1d(y[split.test], known)
    if task == "classification" and len(unknown):
        labels = listing([_shown(label) for label in unknown])
        raise RequestError(path, f"after the split only test rows have the class {labels}")


def _what_splits(options: DataOptions, shipped: bool) -> str:
    if shipped:
        return "data.target"
    if options.group is not None:
        return "data.group"
    return "data.time" if options.time is not None else "data.test_size"


def _take(X: Features, rows: Array) -> Features:
    return X.iloc[rows].reset_index(drop=True) if isinstance(X, pd.DataFrame) else X[rows]


def _shown(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)
