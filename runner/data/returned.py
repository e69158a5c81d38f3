"""What a data function returned, as one table of rows with the shipped split remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from runner.data.dataset import Array, Features
from runner.data.features import named_columns
from runner.data.target import clean_target
from runner.errors import RequestError, did_you_mean


@dataclass(frozen=True)
class Rows:
    """All rows; of a shipped split, the training rows come first.

    ``target`` is the target's name where it has one.
    """

    X: Features
    y: Array
    n_shipped_train: int | None
    target: str | None = None


def read_rows(source: Callable[[], Any]) -> Rows:
    """Call a data function and check what it returned.

    Parameters
    ----------
    source
        Returns ``(X, y)``, ``(X_train, y_train, X_test, y_test)``, or Keras's
        ``((X_train, y_train), (X_test, y_test))``.

    Raises
    ------
    RequestError
        For ``data``: a file could not be read, something else was returned, no rows, or training
        and test rows that don't match. For ``data.target``: not one label for each row.
    """
    try:
        parts = _parts(source())
    except OSError as error:
        raise RequestError("data", f"cannot be read: {error}") from error
    tables = [_features(X) for X in parts[0::2]]
    targets = [_one_label_each(X, y) for X, y in zip(tables, parts[1::2], strict=True)]
    target = _name_of(parts[1])
    if len(tables) == 1:
        return Rows(tables[0], targets[0], None, target)
    if targets[0].dtype.kind != targets[1].dtype.kind:
        kinds = f"{targets[0].dtype} in the training rows, {targets[1].dtype} in the test rows"
        if not {targets[0].dtype.kind, targets[1].dtype.kind} <= set("iuf"):
            raise RequestError("data.target", f"is {kinds}")
    return Rows(_stacked(*tables), np.concatenate(targets), len(targets[0]), target)


def _name_of(y: Any) -> str | None:
    name = y.columns[0] if isinstance(y, pd.DataFrame) else getattr(y, "name", None)
    return None if name is None else str(name).strip()


def _parts(returned: Any) -> list[Any]:
    if isinstance(returned, tuple | list):
        if len(returned) == 2 and all(isinstance(p, tuple) and len(p) == 2 for p in returned):
            return [*returned[0], *returned[1]]
        if len(returned) in (2, 4):
            return list(returned)
    size = f" of {len(returned)}" if isinstance(returned, tuple | list) else ""
    got = f"the data function returned a {type(returned).__name__}{size}"
    expected = "expected (X, y) or (X_train, y_train, X_test, y_test)"
    raise RequestError("data", f"{got}; {expected}")


def _features(X: Any) -> Features:
    if isinstance(X, pd.DataFrame):
        return named_columns(X)
    if isinstance(X, pd.Series):
        return named_columns(X.to_frame())
    if sparse.issparse(X):
        raise RequestError("data", "X is a sparse matrix; return X.toarray()")
    try:
        if np.ma.isMaskedArray(X):
            return np.asarray(np.ma.filled(np.ma.asarray(X, dtype=float), np.nan))
        return np.asarray(X)
    except ValueError as error:  # rows of unequal length
        raise RequestError("data", f"X is not an array: {error}") from error


def _one_label_each(X: Features, y: Any) -> Array:
    if X.ndim == 0:
        raise RequestError("data", "X is a single value, not rows")
    if len(X) == 0:
        raise RequestError("data", "there are no rows")
    target = clean_target(y)
    if len(X) != len(target):
        raise RequestError("data.target", f"X has {len(X)} rows but y has {len(target)}")
    return target


def _stacked(train: Features, test: Features) -> Features:
    if isinstance(train, pd.DataFrame) and isinstance(test, pd.DataFrame):
        for name in train.columns:
            if name not in test.columns:
                hint = did_you_mean(str(name), test.columns)
                raise RequestError("data", f"the test rows have no column '{name}'{hint}")
        return pd.concat([train, test[list(train.columns)]], ignore_index=True)
    if isinstance(train, pd.DataFrame) or isinstance(test, pd.DataFrame):
        raise RequestError("data", "training and test rows must both be arrays or data frames")
    if train.shape[1:] != test.shape[1:]:
        shapes = f"training rows have shape {train.shape[1:]}, test rows {test.shape[1:]}"
        raise RequestError("data", shapes)
    return np.concatenate([train, test])
