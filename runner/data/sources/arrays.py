"""Arrays in NumPy's .npz format, read as data: no pickle, and no more than fits in memory."""

from __future__ import annotations

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from runner.data.sources.files import (
    MAX_BYTES,
    existing_file,
    head_of,
    looks_like,
    not_what_it_says,
)
from runner.errors import RequestError, listing

KERAS_KEYS = ("x_train", "y_train", "x_test", "y_test")
_PLAIN_KEYS = (("X", "y"), ("x", "y"), ("X_train", "y_train", "X_test", "y_test"))


def npz(path: str | os.PathLike[str]) -> tuple[np.ndarray, ...]:
    """Read a .npz file that holds ``X`` and ``y``, or ``x_train, y_train, x_test, y_test``.

    Parameters
    ----------
    path
        Relative to the working directory; ``~`` is understood. X has shape (n, features),
        (n, height, width) or (n, height, width, channels), y has shape (n,).

    Raises
    ------
    RequestError
        For ``data.path``: no such file, not a .npz file, other keys, arrays of Python objects, or
        more than `MAX_BYTES` when unpacked.
    """
    return read_npz(path, (KERAS_KEYS, *_PLAIN_KEYS))


def read_npz(
    path: str | os.PathLike[str], layouts: tuple[tuple[str, ...], ...]
) -> tuple[np.ndarray, ...]:
    """Read the arrays of the first of `layouts` whose keys the file has; see `npz`."""
    file = existing_file(path, (".npz",))
    if not zipfile.is_zipfile(file):
        raise not_what_it_says(file, ".npz", looks_like(head_of(file)))
    try:
        with zipfile.ZipFile(file) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
            layout = next((keys_ for keys_ in layouts if set(keys_) <= set(keys)), None)
            if layout is None:
                allowed = " or ".join(", ".join(keys_) for keys_ in layouts)
                problem = f"'{file}' has the arrays {listing(keys)}; expected {allowed}"
                raise RequestError("data.path", problem)
            _check_sizes(file, archive, layout)
            return tuple(_read_member(file, archive, key) for key in layout)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise RequestError("data.path", f"'{file}' is damaged: {error}") from error
    except RuntimeError as error:  # how zipfile reports a password
        raise RequestError("data.path", f"cannot read '{file}': {error}") from error


def _check_sizes(file: Path, archive: zipfile.ZipFile, keys: tuple[str, ...]) -> None:
    size = sum(archive.getinfo(f"{key}.npy").file_size for key in keys)
    if size > MAX_BYTES:
        limit = f"at most {MAX_BYTES / 2**30:g} GiB are read"
        raise RequestError("data.path", f"'{file}' unpacks to {size / 2**30:,.1f} GiB; {limit}")


def _read_member(file: Path, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:
        header = read_header(stream, f"'{key}' in '{file}'")
        # Memory is taken for what is there, not for what the header claims.
        content = bytearray(stream.read())
    array: np.ndarray = np.frombuffer(content, dtype=header.dtype)
    return array.reshape(header.shape, order="F" if header.fortran_order else "C")


@dataclass(frozen=True)
class ArrayHeader:
    """What stands before an array's values."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


def read_header(stream: IO[bytes], what: str) -> ArrayHeader:
    """Read the header of an array in NumPy's format; `what` names it in errors.

    Raises
    ------
    RequestError
        For ``data.path``: an array of Python objects.
    ValueError
        When it is damaged.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype.hasobject:
        # Reading Python objects means running what the file says.
        problem = f"{what} holds Python objects; save numbers or plain text"
        raise RequestError("data.path", problem)
    return ArrayHeader(shape, fortran_order, dtype)
