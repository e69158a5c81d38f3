"""Rows from NumPy's ``.npz`` and ``.npy`` files, read as data and a batch at a time."""

from __future__ import annotations

import contextlib
import logging
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from runner.data.sources.arrays import ArrayHeader, read_header
from runner.data.sources.files import MAX_BYTES, head_of, looks_like, not_what_it_says
from runner.errors import RequestError, did_you_mean, listing

logger = logging.getLogger(__name__)

ARRAY_ENDINGS = (".npz", ".npy")

# Of several arrays, the one that holds rows to predict; test rows are what the model has not seen.
_ROWS = ("X", "x", "X_test", "x_test")
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class FoundArray:
    """An array in a file: ``member`` of an ``.npz`` archive, or None for an ``.npy`` file."""

    path: Path
    member: str | None
    header: ArrayHeader

    @property
    def what(self) -> str:
        return "the array" if self.member is None else f"its array '{self.member}'"

    @property
    def n_rows(self) -> int:
        return self.header.shape[0] if self.header.shape else 0

    @property
    def row_bytes(self) -> int:
        return math.prod(self.header.shape[1:]) * self.header.dtype.itemsize


def find_array(path: Path, name: str | None) -> FoundArray:
    """Find the array that holds rows, and read its header.

    Parameters
    ----------
    name
        Which array of an archive; None takes the only one, ``X``, or that of the test rows.

    Raises
    ------
    RequestError
        For ``data.path``: a damaged file, Python objects, or no such array.
    """
    member = None
    with _readable(path):
        if path.suffix.lower() == ".npz":
            member = _member(path, name)
        with _opened(path, member) as stream:
            return FoundArray(path, member, read_header(stream, f"'{path}'"))


def array_batches(found: FoundArray, batch_rows: int) -> Iterator[np.ndarray]:
    """Read an array's rows in order.

    Raises
    ------
    RequestError
        For ``data.path``: fewer values than its header says, or, of an array that is stored column
        by column and so is read at once, more than `MAX_BYTES`.
    """
    shape, dtype = found.header.shape, found.header.dtype
    with _readable(found.path), _opened(found.path, found.member) as stream:
        read_header(stream, f"'{found.path}'")
        if found.header.fortran_order:
            whole = np.frombuffer(stream.read(MAX_BYTES), dtype).reshape(shape, order="F")
            for start in range(0, found.n_rows, batch_rows):
                yield whole[start : start + batch_rows]
            return
        n_rows = 0
        while content := stream.read(batch_rows * found.row_bytes):
            rows = np.frombuffer(content, dtype).reshape(-1, *shape[1:])
            n_rows += len(rows)
            yield rows
        if n_rows != found.n_rows:
            raise ValueError(f"it has {n_rows} rows, and its header says {found.n_rows}")


def _member(path: Path, name: str | None) -> str:
    if not zipfile.is_zipfile(path):
        raise not_what_it_says(path, ".npz", looks_like(head_of(path)))
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    known = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    if not known:
        raise RequestError("data.path", f"'{path}' has no arrays")
    if name is not None and name not in known:
        near = did_you_mean(name, known) or f"; it has {listing(known)}"
        raise RequestError("--array", f"'{path}' has no array '{name}'{near}")
    usual = [name] if name is not None else [key for key in _ROWS if key in known]
    if not usual and len(known) != 1:
        raise RequestError(
            "data.path", f"'{path}' has the arrays {listing(known)}; name one with --array"
        )
    member = usual[0] if usual else known[0]
    if name is None and len(known) > 1:
        logger.info("of the arrays %s, '%s' is taken", listing(known), member)
    return member


@contextlib.contextmanager
def _opened(path: Path, member: str | None) -> Iterator[IO[bytes]]:
    if member is None:
        with path.open("rb") as stream:
            yield cast(IO[bytes], stream)
        return
    with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as stream:
        yield stream


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise RequestError("data.path", f"'{path}' is damaged: {error}") from error
