"""Checks of a saved model that may come from anyone, made before anything in it is loaded."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

import skops.io

from runner.config.targets import BUILT_IN, allowed_targets, is_allowed
from runner.data.sources.files import MAX_BYTES
from runner.errors import RequestError, listing

# Weights hardly shrink when they are packed; what does is made to.
_MOST_PACKED = 100
_OTHERS = ("numpy.dtype", "runner.estimator.preprocessing.ImageScaler")


def check_archive(path: Path) -> None:
    """Refuse a zip archive that is none, is damaged, or unpacks to far more than it is.

    Raises
    ------
    RequestError
        Naming the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise RequestError(str(path), f"is damaged: {error}") from None
    if size > min(MAX_BYTES, _MOST_PACKED * path.stat().st_size):
        raise RequestError(str(path), f"unpacks to {size / 2**20:,.0f} MiB, which is refused")


def trusted_types(path: Path) -> list[str]:
    """List the types beyond skops's own that a file names, all of them trusted.

    Trusted are scikit-learn's classes, those of this project, and what the user allows. A function
    is trusted only if it is the user's: there are some in trusted packages that run their
    arguments.

    Raises
    ------
    RequestError
        Naming the file and the types that are not.
    """
    allow = tuple(entry for entry in allowed_targets() if entry not in BUILT_IN)
    named: list[str] = skops.io.get_untrusted_types(file=path)
    foreign = [name for name in named if not _is_trusted(name, allow)]
    if foreign:
        raise RequestError(str(path), f"names types that are not trusted: {listing(foreign)}")
    return named


def _is_trusted(name: str, allow: tuple[str, ...]) -> bool:
    if not (name.startswith("sklearn.") or is_allowed(name, (*_OTHERS, *allow))):
        return False
    module, _, attribute = name.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
        # Under another name it may be anything that was imported there.
        is_itself = f"{found.__module__}.{found.__qualname__}" == name
    except (ImportError, AttributeError):
        return False
    return is_itself and (isinstance(found, type) or is_allowed(name, allow))
