"""Reading CSV files without guessing: what doesn't fit is said, with its line."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pandas as pd

from runner.data.sources.files import (
    MAX_BYTES,
    ending_of,
    head_of,
    looks_like,
    not_what_it_says,
)
from runner.errors import RequestError

CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

_CHUNK_BYTES = 2**20
_DATE = r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})(?:[T ]\d{1,2}:\d{2}.*)?"
_GAPS = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
_INTEGER = r"[ \t]*[+-]?\d+[ \t]*"  # other space is not all space to float()


@dataclass(frozen=True)
class CsvOutline:
    """What a CSV file has: names in its first line, and rows of as many fields."""

    file: Path
    separator: str
    header: list[str]
    n_rows: int


def read_csv(file: Path) -> pd.DataFrame:
    """Read a CSV file: UTF-8, a header first, rows of equal length.

    Columns come as integers, floats, booleans, text or, where every value is one, dates.

    Raises
    ------
    RequestError
        For ``data.path``: not text, not UTF-8, no rows, a single column, or rows of unequal length.
    """
    outline = outline_csv(file, "a target and features are needed")
    with _parsed(outline) as stream:
        # low_memory reads in pieces, and a column's type could differ between them.
        frame = pd.read_csv(stream, sep=outline.separator, index_col=False, low_memory=False)
    if frame.shape[1] != len(outline.header):  # stray line ends: the two parsers differ there
        raise RequestError("data.path", f"cannot read '{file}': its first line is not a header")
    # pandas renames a second column of one name, which would hide that the target is there twice.
    return frame.apply(_with_better_type).set_axis(outline.header, axis=1)


def outline_csv(file: Path, needed: str | None = None) -> CsvOutline:
    """Check a CSV file from end to end, holding no more than a line of it.

    Parameters
    ----------
    needed
        Why a single column is not enough; None where it is.

    Raises
    ------
    RequestError
        See `read_csv`.
    """
    ending = ending_of(file, CSV_ENDINGS) or ".csv"
    separator = "\t" if ending.startswith(".tsv") else ","
    _check_content(file, ending)
    header, n_rows = _checked_lines(file, separator, needed)
    return CsvOutline(file, separator, header, n_rows)


def csv_batches(
    outline: CsvOutline, names: list[str], texts: Collection[str], batch_rows: int
) -> Iterator[pd.DataFrame]:
    """Read a CSV file a number of rows at a time.

    Parameters
    ----------
    names
        A name for each column, all different.
    texts
        Those of them that are left as they stand in the file; others are numbers where they can be.

    Raises
    ------
    RequestError
        For ``data.path``, when what follows can't be read.
    """
    n_rows = 0
    with (
        _parsed(outline) as stream,
        pd.read_csv(
            stream,
            sep=outline.separator,
            index_col=False,
            header=0,
            names=names,
            dtype=dict.fromkeys(texts, "str"),
            chunksize=batch_rows,
        ) as frames,
    ):
        for frame in frames:
            n_rows += len(frame)
            yield frame.reset_index(drop=True)
    if n_rows != outline.n_rows:
        raise RequestError("data.path", f"cannot read '{outline.file}': it has stray line ends")


@contextmanager
def _parsed(outline: CsvOutline) -> Iterator[TextIO]:
    """Open the file for pandas; what pandas can't read is an error of one line."""
    try:
        with _text_of(outline.file) as stream:
            yield stream
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        cause = " ".join(str(error).split())
        raise RequestError("data.path", f"cannot read '{outline.file}': {cause}") from error


@contextmanager
def _text_of(file: Path) -> Iterator[TextIO]:
    """Open as text; the byte-order mark that Excel writes is dropped."""
    with (
        _bytes_of(file) as stream,
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
    ):
        yield text


def _bytes_of(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if file.suffix.lower() == ".gz" else file.open("rb")


def _check_content(file: Path, ending: str) -> None:
    head = head_of(file)
    if ending.endswith(".gz"):
        try:
            head = _unpacked_head(file)
        except (OSError, EOFError, zlib.error) as error:
            raise not_what_it_says(file, ending, looks_like(head)) from error
    looks = looks_like(head)
    if looks == "UTF-16 text":
        raise RequestError("data.path", f"'{file}' is {looks}; save it as UTF-8")
    if looks:
        raise not_what_it_says(file, ending, looks)


def _unpacked_head(file: Path) -> bytes:
    with gzip.open(file) as stream:
        head = stream.read(_CHUNK_BYTES)
        size = len(head)
        while chunk := stream.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_BYTES:
                problem = f"'{file}' unpacks to more than {MAX_BYTES / 2**30:g} GiB"
                raise RequestError("data.path", problem)
    return head


def _checked_lines(file: Path, separator: str, needed: str | None) -> tuple[list[str], int]:
    """Return names and number of rows; refuse rows that pandas would quietly pad or cut."""
    try:
        with _text_of(file) as stream:
            reader = csv.reader(stream, delimiter=separator)
            header = next((row for row in reader if row), [])
            _check_header(file, header, separator, needed)
            n_rows = 0
            for row in reader:
                if row and len(row) != len(header):
                    fields = f"{len(row)} fields, the header has {len(header)}"
                    problem = f"line {reader.line_num} of '{file}' has {fields}"
                    raise RequestError("data.path", problem)
                n_rows += bool(row)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        problem = f"'{file}' is not UTF-8 text (byte 0x{byte:02x}); save it as UTF-8"
        raise RequestError("data.path", problem) from error
    except csv.Error as error:
        problem = f"line {reader.line_num} of '{file}' cannot be read: {error}"
        raise RequestError("data.path", problem) from error
    if n_rows == 0:
        raise RequestError("data.path", f"'{file}' has a header but no rows")
    return header, n_rows


def _check_header(file: Path, header: list[str], separator: str, needed: str | None) -> None:
    if not header:
        raise RequestError("data.path", f"'{file}' is empty")
    if len(header) > 1 or needed is None:
        return
    names = {",": "commas", "\t": "tabs"}
    others = [other for other in (";", "\t", ",", "|") if other in header[0] and other != separator]
    hint = f"; {names[separator]} separate columns, not {others[0]!r}" if others else ""
    problem = f"'{file}' has only one column, '{header[0]}'; {needed}{hint}"
    raise RequestError("data.path", problem)


def _with_better_type(column: pd.Series) -> pd.Series:
    """Recognize what pandas leaves as text: dates, and integers beyond 64 bits."""
    if not pd.api.types.is_string_dtype(column):
        return column
    # pandas overlooks gaps where it gives up on integers.
    column = column.mask(column.isin(_GAPS))
    values = column.dropna().astype(str)
    if values.empty:
        return column
    if values.str.fullmatch(_INTEGER).all():
        return column.astype(object).map(float, na_action="ignore").astype(float)
    if not values.str.fullmatch(_DATE).all():
        return column
    with warnings.catch_warnings(action="ignore"):  # pandas warns where it guesses the format
        dates = pd.to_datetime(column, errors="coerce", utc=True)
    return dates if dates.notna().sum() == len(values) else column
