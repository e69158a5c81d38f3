"""A short name for the content of arrays and data frames."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd


def fingerprint(*parts: Any) -> str:
    """Hash arrays and data frames: type, shape and every value.

    Parameters
    ----------
    parts
        Arrays of any shape, data frames, or series.

    Returns
    -------
    str
        32 hexadecimal digits (BLAKE2b); equal content gives an equal name in every process.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, pd.DataFrame):
            _add_frame(digest, part)
        else:
            _add_array(digest, np.asarray(part))
    return digest.hexdigest()


def _add_frame(digest: Any, frame: pd.DataFrame) -> None:
    digest.update(repr((frame.shape, [(str(c), str(t)) for c, t in frame.dtypes.items()])).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())


def _add_array(digest: Any, array: np.ndarray) -> None:
    if array.dtype.hasobject:
        array = pd.util.hash_array(array.ravel().astype(str).astype(object)).reshape(array.shape)
    digest.update(repr((array.shape, array.dtype.str)).encode())
    digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
