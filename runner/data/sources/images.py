"""Keras's image data sets: from a file in Keras's format, or downloaded by Keras."""

from __future__ import annotations

import importlib

import numpy as np

from runner.data.sources.arrays import KERAS_KEYS, read_npz
from runner.errors import RequestError

Arrays = tuple[np.ndarray, ...]


def mnist(path: str | None = None) -> Arrays:
    """Load MNIST: images (60000, 28, 28) and (10000, 28, 28) uint8, targets 0 to 9.

    Parameters
    ----------
    path
        A .npz file in Keras's format (``x_train``, ``y_train``, ``x_test``, ``y_test``); None
        lets Keras download it, or take it from ``~/.keras``.

    Raises
    ------
    RequestError
        For ``data.path``: the file can't be read, or the download failed.
    """
    return _load("mnist", path)


def fashion_mnist(path: str | None = None) -> Arrays:
    """Load Fashion-MNIST: shapes, types, `path` and errors as for `mnist`; targets 0 to 9."""
    return _load("fashion_mnist", path)


def cifar10(path: str | None = None) -> Arrays:
    """Load CIFAR-10: images (50000, 32, 32, 3) and (10000, 32, 32, 3) uint8, targets 0 to 9.

    `path` and errors as for `mnist`.
    """
    return _load("cifar10", path)


def _load(name: str, path: str | None) -> Arrays:
    return _download(name) if path is None else read_npz(path, (KERAS_KEYS,))


def _download(name: str) -> Arrays:
    # Imported here because it brings TensorFlow along, which takes seconds.
    loader = importlib.import_module(f"keras.datasets.{name}")
    try:
        (x_train, y_train), (x_test, y_test) = loader.load_data()
    except Exception as error:  # Keras reports a failed download as a bare Exception
        cause = " ".join(str(error).split())
        advice = "offline, give data.path=FILE.npz in Keras's format"
        raise RequestError("data.path", f"could not download {name} ({cause}); {advice}") from error
    return x_train, y_train, x_test, y_test
