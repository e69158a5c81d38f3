"""TensorFlow, started once per process with the settings that fits rely on."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Iterator
from functools import cache

import numpy as np

logger = logging.getLogger(__name__)


@cache
def start_tensorflow(threads: int) -> None:
    """Import TensorFlow quietly with `threads` threads per operation and deterministic kernels.

    The first call of a process decides; TensorFlow can't change its threads later.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _silent_stderr():
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        logger.warning(
            "TensorFlow was already running with %d threads; compute.threads=%d has no effect here",
            tf.config.threading.get_intra_op_parallelism_threads(),
            threads,
        )
    tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hide what TensorFlow's native code prints while it starts, before its log level counts."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator that Keras draws from, and restore the caller's own afterwards."""
    import keras

    python_state, numpy_state = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
