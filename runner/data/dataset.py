"""The data of one experiment: training rows, test rows, and what they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from runner.data.fingerprint import fingerprint

Task = Literal["classification", "regression"]
Features = np.ndarray | pd.DataFrame
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class DataOptions:
    """What every data option knows, whatever its source.

    Parameters
    ----------
    name
        The data set's name in results.
    test_size
        Fraction of the rows set apart for the one look at the end, in (0, 1). Ignored where the
        source ships its own test rows.
    limit
        Keep at most this many training rows (stratified by class); None keeps all. Test rows of a
        source that ships them are limited to the same number.
    seed
        Seeds the subsample and the split.
    task
        ``auto`` infers it from the target.
    group, time
        Columns (of a table) that rows of one group share, or that order the rows in time.
    """

    name: str
    test_size: float = 0.2
    limit: int | None = None
    seed: int = 0
    task: Literal["auto", "classification", "regression"] = "auto"
    group: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Training and test rows, targets as the user wrote them.

    ``X_train`` is an array of shape (n, features), (n, height, width) or
    (n, height, width, channels), or a data frame; ``y_train`` has shape (n,). ``groups_train``
    holds the group of each training row where ``data.group`` names one. With ``data.time`` the
    training rows are ordered by time. ``unused`` names what the source has beside the features: the
    target, group and time, and columns that were left out.
    """

    name: str
    task: Task
    X_train: Features
    y_train: Array
    X_test: Features
    y_test: Array
    groups_train: Array | None = None
    unused: tuple[str, ...] = ()

    @property
    def n_train(self) -> int:
        return len(self.y_train)

    @property
    def n_test(self) -> int:
        return len(self.y_test)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row: (features,), (height, width) or (height, width, channels)."""
        return tuple(int(size) for size in self.X_train.shape[1:])

    @property
    def is_images(self) -> bool:
        return self.X_train.ndim > 2

    @cached_property
    def classes(self) -> Array | None:
        """The class labels, sorted; None for regression."""
        return np.unique(self.y_train) if self.task == "classification" else None

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any value, label, type or the split changes."""
        parts = [self.X_train, self.y_train, self.X_test, self.y_test]
        if self.groups_train is not None:
            parts.append(self.groups_train)
        return fingerprint(*parts)
