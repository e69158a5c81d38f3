"""Files that are either there whole or not there at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, in one step; see `write_bytes`."""
    # What isn't valid Unicode (a file name of odd bytes) is spelled out, not fatal.
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, never meets half of it.

    The content goes to a temporary file in the same directory (a rename is atomic only within one
    file system), is flushed to disk, and then takes the place of whatever `path` was.

    Raises
    ------
    OSError
        When the directory can't be written; an earlier file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
