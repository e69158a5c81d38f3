"""TensorFlow, started once per process with the settings that fits rely on."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from runner.quiet import quiet_import

logger = logging.getLogger(__name__)


def import_for_fits() -> None:
    """Import TensorFlow quietly, and all that fits of networks need, computing nothing yet."""
    with quiet_import():
        import runner.estimator.network  # noqa: F401


@cache
def start_tensorflow(threads: int) -> None:
    """Import TensorFlow quietly with `threads` threads per operation; what it computes repeats.

    The first call of a process decides; TensorFlow can't change its threads later.
    """
    with quiet_import():
        import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        threads, asked = tf.config.threading.get_intra_op_parallelism_threads(), threads
        logger.warning(
            "TensorFlow was already running with %d threads; compute.threads=%d has no effect here",
            threads,
            asked,
        )
    # One thread computes in one order anyway, and the deterministic stand-ins for kernels are much
    # slower: cross-entropy, for one, then takes half of all operations of a small model's step.
    if threads != 1 or has_gpu():
        tf.config.experimental.enable_op_determinism()


def settings() -> tuple[int, bool]:
    """Threads per operation, and whether there is a GPU, of TensorFlow as it runs here."""
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads(), has_gpu()


@cache
def has_gpu() -> bool:
    """Whether TensorFlow, as it runs here, finds a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


_n_built = 0


def note_built_model() -> None:
    """Count a model that was built, for `forget_kernels`."""
    global _n_built
    _n_built += 1


def forget_kernels(after: int) -> None:
    """Empty TensorFlow's cache of kernels, if as many as `after` models were built meanwhile.

    Each variable leaves a kernel of its own there, which nothing else drops: 0.2 MB for a small
    model. What was prepared to run graphs goes with them, and takes 65 ms for each to make again;
    hence not after every model. No number depends on it.
    """
    global _n_built
    if _n_built >= after:
        from tensorflow.python.eager import context

        context.context().clear_kernel_cache()
        _n_built = 0


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator that Keras draws from, and restore the caller's own afterwards.

    TensorFlow's own random operations are seeded when the first of them is made, if one is; Keras
    has none. Setting TensorFlow's seed makes it forget every graph that it has prepared to run, and
    preparing that of an epoch takes longer than a small model's fit. (So a graph that draws
    numbers, traced before and called again, goes on where it was.)

    Keras draws from a generator of its own for the length of the block: other threads, such as
    those of a cluster's worker, draw from Python's at any time.
    """
    import keras
    import tensorflow as tf
    from keras.src.random import seed_generator
    from tensorflow.python.framework import random_seed

    set_seed, get_seed = tf.random.set_seed, random_seed.get_seed

    def seed_and_get(op_seed: int | None) -> Any:
        random_seed.get_seed = get_seed
        set_seed(seed)
        if not tf.executing_eagerly():
            # A graph took its seed over when it was begun.
            tf.compat.v1.set_random_seed(seed)
        return get_seed(op_seed)

    python_state, numpy_state = random.getstate(), np.random.get_state()
    with _replaced(tf.random, "set_seed", lambda seed: None):
        keras.utils.set_random_seed(seed)
    keras_draws = _replaced(seed_generator, "python_random", random.Random(seed))
    try:
        with _replaced(random_seed, "get_seed", seed_and_get), keras_draws:
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


@contextlib.contextmanager
def cheap_cross_entropy() -> Iterator[None]:
    """Let graphs that are made meanwhile compute sparse cross-entropy in a few dense operations.

    Where operations have to be deterministic, TensorFlow gathers the labels' probabilities; the
    gradient of that is a scatter, which XLA then does row after row: 13 µs for each on a GPU.
    """
    import tensorflow as tf
    from tensorflow.python.framework.config import is_op_determinism_enabled

    if is_op_determinism_enabled():
        with _replaced(tf.nn, "sparse_softmax_cross_entropy_with_logits", _dense_cross_entropy):
            yield
    else:
        yield


def _dense_cross_entropy(labels: Any, logits: Any, name: str | None = None) -> Any:
    """Cross-entropy of classes (shape (…)) and logits (shape (…, classes)), NaN for no class."""
    import tensorflow as tf

    labels, n_classes = tf.convert_to_tensor(labels), tf.shape(logits)[-1]
    chosen = tf.one_hot(labels, n_classes, dtype=logits.dtype)
    losses = -tf.reduce_sum(chosen * tf.nn.log_softmax(logits), axis=-1, name=name)
    is_class = (labels >= 0) & (labels < tf.cast(n_classes, labels.dtype))
    return tf.where(is_class, losses, tf.constant(float("nan"), losses.dtype))


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
