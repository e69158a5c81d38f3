"""Predictions as a table: CSV on standard output, or a CSV or Parquet file."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from runner.data.dataset import Array
from runner.errors import RequestError
from runner.prediction.model import Answers

Write = Callable[[pd.DataFrame], None]
_CSV, _PARQUET = ".csv", ".parquet"


def answers_table(
    answers: Answers, classes: Array | None, files: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row for each prediction.

    Returns
    -------
    DataFrame
        ``file`` where rows have one, ``prediction``, and ``probability_<class>`` for each class
        where the model gives probabilities.
    """
    columns: dict[str, Any] = {} if files is None else {"file": files}
    columns["prediction"] = answers.predictions
    if answers.probabilities is not None and classes is not None:
        for label, values in zip(classes, answers.probabilities.T, strict=True):
            columns[f"probability_{label}"] = values
    return pd.DataFrame(columns)


def check_output(path: Path, source: Path) -> None:
    """Refuse an output that can't be written before anything is predicted.

    Raises
    ------
    RequestError
        For another ending than ``.csv`` or ``.parquet``, a folder that is not there, or the input
        itself.
    """
    if path.suffix.lower() not in (_CSV, _PARQUET):
        raise RequestError("--output", f"'{path}' must end in {_CSV} or {_PARQUET}")
    if path.is_dir():
        raise RequestError("--output", f"'{path}' is a folder")
    if not path.parent.is_dir():
        raise RequestError("--output", f"there is no folder '{path.parent}'")
    if path.exists() and path.samefile(source):
        raise RequestError("--output", f"'{path}' is the input; name another file")


@contextlib.contextmanager
def open_output(path: Path | None) -> Iterator[Write]:
    """Take tables one after another, for standard output or a file.

    A file is either there whole or not there at all.

    Raises
    ------
    RequestError
        When the file can't be written.
    """
    if path is None:
        yield _csv_writer(sys.stdout)
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    opened = _parquet if path.suffix.lower() == _PARQUET else _csv
    try:
        with opened(temporary) as write:
            yield write
        os.replace(temporary, path)
    except OSError as error:
        raise RequestError("--output", f"can't write '{path}': {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("x", encoding="utf-8", newline="") as file:
        yield _csv_writer(file)


def _csv_writer(file: Any) -> Write:
    header = True

    def write(table: pd.DataFrame) -> None:
        nonlocal header
        file.write(table.to_csv(index=False, header=header, lineterminator="\n"))
        header = False

    return write


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    # Imported here because it takes long, and few outputs are Parquet.
    import pyarrow as pa
    from pyarrow import parquet

    with contextlib.ExitStack() as closing:
        writer: Any = None

        def write(table: pd.DataFrame) -> None:
            nonlocal writer
            content = pa.Table.from_pandas(table, preserve_index=False)
            if writer is None:
                writer = closing.enter_context(parquet.ParquetWriter(path, content.schema))
            writer.write_table(content)

        yield write
