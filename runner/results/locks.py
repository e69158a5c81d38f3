"""A folder's lock: one process writes there, on whatever host of a shared file system it runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from runner.errors import RequestError

_TRIES, _WAIT_S = 5, 0.05
_ADVICE = "see docs/shared-storage.md"
# Ends with 0 where it is kept out, as it should be.
_TRY_AS_ANOTHER = """\
import fcntl, sys
try:
    fcntl.flock(open(sys.argv[1]), fcntl.LOCK_SH | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(0)
sys.exit(1)
"""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock for the length of the block; the system frees it when the process dies.

    Raises
    ------
    RequestError
        When a live process holds it, or the folder's file system has no locks.
    """
    lock = os.open(_path(folder), os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # Whoever looks whether a process holds it holds it for an instant.
        for _ in range(_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_WAIT_S)
            except OSError as error:
                raise RequestError(
                    str(folder),
                    f"is on a file system without locks (flock: {error.strerror}), so nothing "
                    f"keeps two processes from writing there at once; {_ADVICE}",
                ) from None
        else:
            raise RequestError(str(folder), "is being written by a live process")
        yield
    finally:
        os.close(lock)


def is_locked(folder: Path) -> bool:
    """Whether a live process holds a folder's lock, as far as can be known."""
    try:
        lock = os.open(_path(folder), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(lock)
    return False


def check_locks(folder: Path) -> None:
    """Refuse a folder whose lock, held by this process, does not keep another one out.

    Raises
    ------
    RequestError
        Where the file system grants a lock twice.
    """
    program = [sys.executable, "-S", "-E", "-c", _TRY_AS_ANOTHER, str(_path(folder))]
    if subprocess.run(program, stderr=subprocess.DEVNULL, check=False).returncode:
        raise RequestError(
            str(folder),
            f"is on a file system whose locks (flock) do not keep a second process out; {_ADVICE}",
        )


def _path(folder: Path) -> Path:
    return folder / ".lock"
