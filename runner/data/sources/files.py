"""A data file the user named: it must be there, and be what its ending says."""

from __future__ import annotations

import os
from pathlib import Path

from runner.errors import RequestError, did_you_mean, listing

MAX_BYTES = 8 * 2**30
"""Refuse a file that would unpack to more: a small one can claim any size."""

_HEAD_BYTES = 4096
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy .npy file",
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a zip file (.npz and .xlsx files are)",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"\x1f\x8b": "a gzip file",
    b"SQLite format": "an SQLite database",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


def existing_file(path: str | os.PathLike[str], endings: tuple[str, ...]) -> Path:
    """Find the file at `path`, relative to the working directory, with ``~`` expanded.

    Parameters
    ----------
    path
        As the user wrote it.
    endings
        The endings that are understood, lower case, such as ``.csv.gz``.

    Raises
    ------
    RequestError
        For ``data.path``: no such file (the nearest name in the folder is shown), a folder, no
        permission, an unknown ending, or an empty file.
    """
    try:
        file = Path(path).expanduser()
        _check_is_file(file)
        _check_ending(file, endings)
        with file.open("rb") as stream:
            empty = not stream.read(1)
    except (OSError, RuntimeError, ValueError) as error:  # no permission, no home, NUL in the name
        raise RequestError("data.path", f"cannot read '{path}': {error}") from error
    if empty:
        raise RequestError("data.path", f"'{path}' is empty")
    return file


def ending_of(file: Path, endings: tuple[str, ...]) -> str | None:
    """Return the one of `endings` that the file's name has, whatever its case."""
    return next((ending for ending in endings if file.name.lower().endswith(ending)), None)


def head_of(file: Path) -> bytes:
    """Return the first few kilobytes of a file."""
    with file.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def looks_like(head: bytes) -> str | None:
    """Say what a file that starts with `head` seems to be; None when it may be plain text."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    return "binary data" if b"\0" in head else None


def not_what_it_says(file: Path, ending: str, looks: str | None) -> RequestError:
    """Return the error for a file whose content is not what its ending says."""
    seems = f"; it looks like {looks}" if looks else ""
    return RequestError("data.path", f"'{file}' is not a {ending} file{seems}")


def _check_is_file(file: Path) -> None:
    if file.is_dir():
        raise RequestError("data.path", f"'{file}' is a folder; a file is needed")
    if file.is_file():
        return
    if file.exists():
        raise RequestError("data.path", f"'{file}' is not a regular file")
    if not file.parent.is_dir():
        raise RequestError("data.path", f"no file '{file}': there is no folder '{file.parent}'")
    nearest = did_you_mean(file.name, os.listdir(file.parent))
    where = file.parent.resolve()
    raise RequestError("data.path", f"no file '{file.name}' in {where}{nearest}")


def _check_ending(file: Path, endings: tuple[str, ...]) -> None:
    if ending_of(file, endings) is None:
        given = f"'{file.suffix}'" if file.suffix else "no ending"
        raise RequestError("data.path", f"'{file}' has {given}; allowed are {listing(endings)}")
