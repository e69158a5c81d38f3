"""Rows from a file or a folder, a batch at a time, checked against what the model takes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from runner.data.dataset import Features
from runner.data.features import named_columns
from runner.data.sources.csv_files import CSV_ENDINGS, csv_batches, outline_csv
from runner.data.sources.files import ending_of, existing_file
from runner.data.sources.tables import PARQUET_ENDINGS, check_is_parquet
from runner.errors import RequestError, about
from runner.prediction.arrays import ARRAY_ENDINGS, array_batches, find_array
from runner.prediction.images import IMAGE_ENDING, find_images, image_batches
from runner.prediction.model import SavedModel

ENDINGS = (*CSV_ENDINGS, *PARQUET_ENDINGS, *ARRAY_ENDINGS, IMAGE_ENDING)

# Networks predict so many rows at a time; multiples of it leave their predictions as they are.
_GRAPH_ROWS = 2048
_BATCH_ROWS = 8 * _GRAPH_ROWS
_BATCH_BYTES = 2**26


@dataclass(frozen=True)
class Input:
    """Rows to predict.

    Parameters
    ----------
    n_rows
        How many there are.
    read
        Reads them in order, a batch at a time, as the model takes them.
    files
        The name of each row's file, where each has one of its own.
    """

    n_rows: int
    read: Callable[[], Iterator[Features]]
    files: Sequence[str] | None = None


def find_input(path: str) -> Path:
    """Find the file or folder that the user named.

    Raises
    ------
    RequestError
        When it is not there (the nearest name is shown), empty, or of a kind that is not read.
    """
    if Path(path).expanduser().is_dir():
        return Path(path).expanduser()
    with _without_config_path():
        return existing_file(path, ENDINGS)


def open_input(
    path: Path, model: SavedModel, ignore: Collection[str] = (), array: str | None = None
) -> Input:
    """Check rows, as far as that is possible before they are read, and get ready to read them.

    Parameters
    ----------
    path
        As `find_input` returned it: CSV, Parquet, ``.npz`` or ``.npy``, a PNG image or a folder
        with PNG images.
    ignore
        Columns of a table that the model does not know.
    array
        Which array of an ``.npz`` file; None takes the only one, ``X``, or that of the test rows.

    Raises
    ------
    RequestError
        When the file can't be read, or holds other rows than the model takes.
    """
    is_table = ending_of(path, (*CSV_ENDINGS, *PARQUET_ENDINGS)) is not None
    if ignore and not is_table:
        raise RequestError("--ignore", f"names columns, and '{path}' is no table")
    if array is not None and ending_of(path, (".npz",)) is None:
        raise RequestError("--array", f"names an array of an .npz file, and '{path}' is none")
    with _without_config_path():
        if path.is_dir() or ending_of(path, (IMAGE_ENDING,)):
            return _open_images(path, model)
        if ending_of(path, ARRAY_ENDINGS):
            return _open_array(path, model, array)
        if ending_of(path, CSV_ENDINGS):
            return _open_csv(path, model, ignore)
        return _open_parquet(path, model, ignore)


def _open_csv(path: Path, model: SavedModel, ignore: Collection[str]) -> Input:
    rows = model.rows
    many = rows.shape != (1,)
    outline = outline_csv(path, "the model takes more" if many else None)
    names = _column_names(outline.header)
    with about(str(path)):
        rows.check_columns(names, ignore)
    texts = [name for name, kind in (rows.columns or {}).items() if kind != "number"]
    batch_rows = _rows_of_size(8 * len(names))
    return Input(
        outline.n_rows,
        lambda: _conform(path, model, csv_batches(outline, names, texts, batch_rows), ignore),
    )


def _open_parquet(path: Path, model: SavedModel, ignore: Collection[str]) -> Input:
    # Imported here because it takes long, and few tables are Parquet.
    from pyarrow import parquet

    check_is_parquet(path)
    try:
        file = parquet.ParquetFile(path)
        raw, n_rows = list(file.schema_arrow.names), int(file.metadata.num_rows)
    except Exception as error:  # on a damaged file, pyarrow raises anything
        raise _damaged(path, error) from error
    if n_rows == 0:
        raise RequestError(None, f"'{path}' has no rows")
    # pandas stores an index without a name under one of this form.
    kept = [place for place, name in enumerate(raw) if not name.startswith("__index_level_")]
    names = _column_names([raw[place] for place in kept])
    with about(str(path)):
        model.rows.check_columns(names, ignore)

    def frames() -> Iterator[pd.DataFrame]:
        batches = file.iter_batches(_rows_of_size(8 * len(names)))
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                batch.validate(full=True)  # texts that are not UTF-8
                frame = batch.to_pandas(ignore_metadata=True)
            except Exception as error:
                raise _damaged(path, error) from error
            yield frame.iloc[:, kept].set_axis(names, axis=1)

    return Input(n_rows, lambda: _conform(path, model, frames(), ignore))


def _open_array(path: Path, model: SavedModel, name: str | None) -> Input:
    found = find_array(path, name)
    shape = model.rows.shape
    if found.header.shape[1:] != shape:
        raise RequestError(
            str(path),
            f"{found.what} has shape {found.header.shape}; the model takes rows of shape {shape}",
        )
    if found.n_rows < 1:
        raise RequestError(str(path), f"{found.what} has no rows")
    batch_rows = _rows_of_size(found.row_bytes)
    return Input(found.n_rows, lambda: _conform(path, model, array_batches(found, batch_rows)))


def _open_images(path: Path, model: SavedModel) -> Input:
    shape = model.rows.shape
    if len(shape) < 2:
        raise RequestError(str(path), f"holds images; the model takes rows of shape {shape}")
    files = find_images(path)
    batch_rows = _rows_of_size(math.prod(shape))
    threads = model.estimator.threads
    return Input(
        len(files),
        lambda: _conform(path, model, image_batches(files, shape, batch_rows, threads)),
        [file.name for file in files],
    )


def _conform(
    path: Path, model: SavedModel, batches: Iterator[Any], ignore: Collection[str] = ()
) -> Iterator[Features]:
    start = 0
    with _without_config_path():
        for batch in batches:
            with about(str(path)):
                rows = model.rows.conform(batch, start, ignore)
            if start == 0:
                model.warn_of_scale(rows)
            start += len(batch)
            yield rows


@contextlib.contextmanager
def _without_config_path() -> Iterator[None]:
    """Errors in reading a file name it, and no config path."""
    try:
        yield
    except RequestError as error:
        path = None if error.path == "data.path" else error.path
        raise RequestError(path, error.problem) from None


def _column_names(header: Sequence[str]) -> list[str]:
    """The names that such columns have in training data."""
    return [str(name) for name in named_columns(pd.DataFrame(columns=list(header))).columns]


def _rows_of_size(row_bytes: int) -> int:
    rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES // max(1, row_bytes)))
    return rows if rows < _GRAPH_ROWS else rows // _GRAPH_ROWS * _GRAPH_ROWS


def _damaged(path: Path, error: Exception) -> RequestError:
    return RequestError(None, f"'{path}' is damaged: {' '.join(str(error).split())}")
