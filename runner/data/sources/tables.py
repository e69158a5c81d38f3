"""A table in a CSV or Parquet file."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from runner.data.sources.csv_files import CSV_ENDINGS, read_csv
from runner.data.sources.files import (
    MAX_BYTES,
    ending_of,
    existing_file,
    head_of,
    looks_like,
    not_what_it_says,
)
from runner.errors import RequestError, did_you_mean, listing

PARQUET_ENDINGS = (".parquet", ".pq")
_PARQUET_MAGIC = b"PAR1"


def table(path: str | os.PathLike[str], target: str) -> tuple[pd.DataFrame, pd.Series]:
    """Read a table: CSV (``.csv``, ``.tsv``, also ``.gz``; UTF-8, header first) or Parquet.

    Parameters
    ----------
    path
        Relative to the working directory; ``~`` is understood.
    target
        Name of the column to predict.

    Returns
    -------
    X, y
        The other columns, as they are in the file (dates of a CSV file are recognized), and the
        target.

    Raises
    ------
    RequestError
        For ``data.path``: no such file, not what its ending says, not UTF-8, rows of unequal
        length, a single column. For ``data.target``: no such column (the nearest is shown), or
        rows without a value in it.
    """
    file = existing_file(path, (*CSV_ENDINGS, *PARQUET_ENDINGS))
    frame = read_csv(file) if ending_of(file, CSV_ENDINGS) else _read_parquet(file)
    return _split_off_target(file, frame, target)


def _read_parquet(file: Path) -> pd.DataFrame:
    # Imported here because it takes long, and few tables are Parquet.
    from pyarrow import parquet

    check_is_parquet(file)
    try:
        shape = parquet.read_metadata(file)
        size = shape.num_rows * shape.num_columns * 8
        if size > MAX_BYTES:
            problem = f"'{file}' unpacks to {size / 2**30:,.1f} GiB; at most 8 GiB are read"
            raise RequestError("data.path", problem)
        content = parquet.read_table(file)
        content.validate(full=True)  # texts that are not UTF-8
        frame: pd.DataFrame = content.to_pandas()
    except RequestError:
        raise
    except Exception as error:  # on a damaged file, both libraries raise anything
        cause = " ".join(str(error).split())
        raise RequestError("data.path", f"'{file}' is damaged: {cause}") from error
    # pandas stores a named index as a column; only pandas would take it for anything else.
    return frame.reset_index(drop=all(name is None for name in frame.index.names))


def check_is_parquet(file: Path) -> None:
    """Refuse a file that does not begin as a Parquet file does."""
    head = head_of(file)
    if not head.startswith(_PARQUET_MAGIC):
        raise not_what_it_says(file, file.suffix, looks_like(head) or "text")


def _split_off_target(
    file: Path, frame: pd.DataFrame, target: str
) -> tuple[pd.DataFrame, pd.Series]:
    names = [str(name) for name in frame.columns]
    found = [position for position, name in enumerate(names) if name == str(target)]
    if not found:
        problem = f"no column '{target}' in '{file}'; it has {listing(names)}"
        raise RequestError("data.target", problem + did_you_mean(str(target), names))
    if len(names) == 1:
        problem = f"'{file}' has only one column, '{names[0]}'; a target and features are needed"
        raise RequestError("data.path", problem)
    if len(found) > 1:
        raise RequestError("data.target", f"'{file}' has {len(found)} columns named '{target}'")
    y = frame.iloc[:, found[0]]
    n_missing = int(y.isna().sum())
    if n_missing:
        problem = f"{n_missing} of {len(y)} rows have no value in '{target}' (empty, NA, null, …)"
        raise RequestError("data.target", problem)
    others = [position for position in range(len(names)) if position != found[0]]
    return frame.iloc[:, others], y
