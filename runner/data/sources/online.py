"""Data sets that scikit-learn downloads and keeps in its own cache."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pandas as pd
from sklearn.datasets import fetch_california_housing, fetch_openml

from runner.data.sources.tables import table
from runner.errors import RequestError

_RETRIES: dict[str, Any] = {"n_retries": 1, "delay": 0.5}
"""Being offline should show within seconds."""


def california_housing(path: str | None = None) -> tuple[pd.DataFrame, pd.Series]:
    """Load Californian districts: (20640, 8) numbers, median house value in 100 000 dollars.

    Pace and Barry, Sparse spatial autoregressions, 1997.

    Parameters
    ----------
    path
        A CSV or Parquet file with the target in column ``MedHouseVal``; None downloads it, or
        takes it from scikit-learn's cache.

    Raises
    ------
    RequestError
        For ``data.path``: the file can't be read, or the download failed.
    """
    if path is not None:
        return table(path, target="MedHouseVal")
    try:
        with warnings.catch_warnings(action="ignore"):  # one for each retry
            bunch = fetch_california_housing(as_frame=True, **_RETRIES)
    except OSError as error:
        advice = "offline, give data.path=FILE.csv with a column MedHouseVal"
        problem = f"could not download california_housing ({error}); {advice}"
        raise RequestError("data.path", problem) from error
    return bunch.data, bunch.target


def openml(
    dataset: str | None = None,
    version: int | str = "active",
    data_id: int | None = None,
    target: str | None = None,
) -> tuple[pd.DataFrame, pd.Series]:
    """Load a table from https://www.openml.org, or from scikit-learn's cache.

    Parameters
    ----------
    dataset, version
        Name and version there; ``active`` is the oldest version that still holds.
    data_id
        Number there, instead of `dataset` and `version`.
    target
        Target column; None takes the one that OpenML names.

    Raises
    ------
    RequestError
        For ``data.dataset``: not one of `dataset` and `data_id`, no such data set, or the
        download failed. For ``data.target``: no such column, or none is named.
    """
    if (dataset is None) == (data_id is None):
        given = f"got dataset={dataset} and data_id={data_id}"
        raise RequestError("data.dataset", f"give one of data.dataset and data.data_id; {given}")
    # It becomes part of a path in scikit-learn's cache.
    if dataset is not None and re.fullmatch(r"\w[\w.()+-]*", dataset) is None:
        raise RequestError("data.dataset", f"'{dataset}' is no name of a data set on openml.org")
    return _fetch(dataset, version, data_id, target)


def _fetch(
    dataset: str | None, version: int | str, data_id: int | None, target: str | None
) -> tuple[pd.DataFrame, pd.Series]:
    shown = dataset or f"number {data_id}"
    # scikit-learn refuses a version beside a number.
    which: dict[str, Any] = (
        {"data_id": data_id} if dataset is None else {"name": dataset, "version": version}
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # one for each retry
            column = target or "default-target"
            bunch = fetch_openml(
                **which, target_column=column, as_frame=True, parser="auto", **_RETRIES
            )
    except OSError as error:
        problem = f"could not download '{shown}' from openml.org ({error}); it needs network access"
        raise RequestError("data.dataset", problem) from error
    except (ValueError, KeyError) as error:  # unknown name, version or column; sparse ARFF
        cause = " ".join(str(error).split())
        raise RequestError("data.dataset", f"cannot load '{shown}': {cause}") from error
    if bunch.target is None:
        raise RequestError("data.target", f"'{shown}' names no target; give data.target=COLUMN")
    return bunch.data, bunch.target
