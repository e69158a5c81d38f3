"""Importing big packages without their noise, and without looking for garbage among them."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# What its native code prints while it is imported, before its log level counts.
_NOISE = re.compile(
    r"WARNING: All log messages before absl|[IWE]\d{4} \d|\d{4}-\d\d-\d\d .* [IWE] "
)


@contextlib.contextmanager
def quick_import() -> Iterator[None]:
    """Look for no garbage while much is imported, nearly all of which stays.

    It would take a sixth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop TensorFlow's noise from standard error while something is imported that may import it.

    Everything else that is printed meanwhile appears afterwards. It is a `quick_import` too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            with quick_import():
                yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines(keepends=True):
                if not _NOISE.match(line):
                    sys.stderr.write(line)
