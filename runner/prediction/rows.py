"""Rows as a saved model takes them: the columns that it was trained on, or arrays of that shape."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer

from runner.data.dataset import Features
from runner.data.features import as_text, clean_column, clean_features, named_columns
from runner.errors import RequestError, did_you_mean, listing

logger = logging.getLogger(__name__)

Kind = Literal["number", "text", "code"]
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class RowFormat:
    """What the rows of a model's training data were.

    Parameters
    ----------
    shape
        Shape of one row: (features,), (height, width) or (height, width, channels).
    columns
        Of a table, the features' names in the model's order, each a ``number`` (truth values
        included), a category that is ``text``, or one whose names are numbers (``code``).
    unused
        Columns that the data had beside the features: the target, dates and the like.
    """

    shape: tuple[int, ...]
    columns: Mapping[str, Kind] | None = None
    unused: frozenset[str] = frozenset()

    @classmethod
    def of(cls, estimator: Any, unused: Sequence[str]) -> Self:
        """What a fitted `ConfigEstimator` was trained on."""
        preprocessor = estimator.preprocessor_
        columns = _kinds(preprocessor) if isinstance(preprocessor, ColumnTransformer) else None
        if columns is not None:
            columns = {name: columns[name] for name in estimator.feature_names_in_}
        return cls(estimator.row_shape_, columns, frozenset(unused))

    def check_columns(self, found: Sequence[str], ignore: Collection[str] = ()) -> None:
        """Refuse a table that lacks columns, or has others than those of the training data.

        Parameters
        ----------
        found
            The table's columns.
        ignore
            Those that it may have besides.

        Raises
        ------
        RequestError
            Naming the columns, and the nearest there is.
        """
        for name in ignore:
            if name not in found:
                near = did_you_mean(name, found)
                raise RequestError(None, f"has no column '{name}' to ignore{near}")
        unused = [name for name in found if name in self.unused - set(self.columns or ())]
        if unused:
            logger.info("columns that the model does not use: %s", _quoted(unused))
        given = [name for name in found if name not in {*ignore, *unused}]
        if self.columns is None:
            self._check_number(len(given))
            return
        missing = [name for name in self.columns if name not in given]
        foreign = [name for name in given if name not in self.columns]
        if missing:
            raise RequestError(None, _lacks(missing, foreign, given))
        if foreign:
            raise RequestError(
                None, f"has columns that the training data had not: {_quoted(foreign)}"
            )

    def _check_number(self, n_columns: int) -> None:
        if n_columns != math.prod(self.shape):
            raise RequestError(
                None, f"has {n_columns} columns; the model takes rows of shape {self.shape}"
            )

    def conform(self, X: Any, start: int = 0, ignore: Collection[str] = ()) -> Features:
        """Bring rows to the types, and columns to the order, of the training data.

        Parameters
        ----------
        X
            A data frame whose columns passed `check_columns`, or an array of shape (n, …).
        start
            Number of rows before these, for errors.

        Raises
        ------
        RequestError
            For another shape, or a value of another type, which is named with its row.
        """
        if isinstance(X, pd.DataFrame):
            frame = named_columns(X)
            if self.columns is not None:
                return self._typed(frame, start)
            kept = frame.drop(columns=[*ignore, *self.unused], errors="ignore")
            numbers = np.column_stack([_numbers(column, start) for _, column in kept.items()])
            return numbers.reshape(-1, *self.shape)
        rows = np.asarray(X)
        if self.columns is None:
            rows = np.asarray(clean_features(rows))
        if rows.shape[1:] != self.shape:
            raise RequestError(
                None, f"has rows of shape {rows.shape[1:]}; the model takes rows of {self.shape}"
            )
        if self.columns is None:
            return rows
        return self._typed(pd.DataFrame(rows, columns=list(self.columns)), start)

    def _typed(self, frame: pd.DataFrame, start: int) -> pd.DataFrame:
        assert self.columns is not None
        return pd.DataFrame(
            {name: _typed(frame[name], kind, start) for name, kind in self.columns.items()},
            index=frame.index,
        )


def _kinds(preprocessor: ColumnTransformer) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for step, transformer, names in preprocessor.transformers_:
        if step != "categories" or not len(names):
            kinds |= dict.fromkeys(names, "number")
            continue
        for name, known in zip(names, transformer[-1].categories_, strict=True):
            numeric = all(isinstance(value, int | float | np.number) for value in known)
            kinds[name] = "code" if numeric and len(known) else "text"
    return kinds


def _typed(column: pd.Series, kind: Kind, start: int) -> pd.Series:
    if kind == "number":
        return _numbers(column, start)
    if kind == "code":
        numbers = pd.to_numeric(column.astype(object), errors="coerce").astype(object)
        return numbers.where(numbers.notna(), column.astype(object))
    # Whole numbers beside gaps come as floats: 7.0, which was "7" in the training data.
    return as_text(column.convert_dtypes() if column.dtype.kind == "f" else column)


def _numbers(column: pd.Series, start: int) -> pd.Series:
    """Numbers, and truth values as such; infinite ones are missing."""
    cleaned = clean_column(column)
    if isinstance(cleaned.dtype, np.dtype) and cleaned.dtype.kind in "iuf":
        numbers = cleaned
    elif isinstance(cleaned.dtype, np.dtype) and cleaned.dtype.kind == "b":
        numbers = cleaned.astype(float)
    else:
        numbers = _parsed(column, start)
    return numbers.where(np.isfinite(numbers)) if numbers.dtype.kind == "f" else numbers


def _parsed(column: pd.Series, start: int) -> pd.Series:
    texts = column.astype(object).map(str, na_action="ignore").astype("str").str.strip()
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    numbers = numbers.fillna(texts.str.lower().map(_TRUTH).astype(float))
    wrong = np.flatnonzero(numbers.isna() & column.notna())
    if len(wrong):
        position = int(wrong[0])
        raise RequestError(
            None,
            f"row {start + position + 1} has {column.iloc[position]!r} in '{column.name}', "
            "where a number is needed",
        )
    return numbers


def _lacks(missing: Sequence[str], foreign: Sequence[str], found: Sequence[str]) -> str:
    if len(missing) == 1:
        near = did_you_mean(missing[0], foreign)
        return f"has no column '{missing[0]}'{near or f'; it has {listing(found)}'}"
    instead = f", but has {_quoted(foreign)}" if foreign else ""
    return f"has no columns {_quoted(missing)}{instead}"


def _quoted(names: Sequence[str]) -> str:
    return listing(f"'{name}'" for name in names)
