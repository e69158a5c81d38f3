"""Dropout whose rate is a variable, so that candidates of different rates share one graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from runner.seeds import derive_seed

_PHILOX = 1


def dropout_layers(model: keras.Model) -> list[keras.layers.Dropout]:
    """The model's plain Dropout layers that drop anything, in order."""
    return [
        layer
        for layer in _layers(model)
        if type(layer) is keras.layers.Dropout
        and layer.rate > 0
        and layer.noise_shape is None
        and layer.compute_dtype == "float32"
    ]


def _layers(model: Any) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


class VariableDropout:
    """Takes over the Dropout layers of a model: same formula, rate and random key in variables.

    The mask of a step is drawn with Philox (Salmon et al., 2011) from (key, step), in one kernel;
    Keras's own seed generator takes about ten small ones.

    Parameters
    ----------
    layers
        As `dropout_layers` lists them.
    step
        The variable that counts the optimizer's steps.
    """

    def __init__(self, layers: list[keras.layers.Dropout], step: tf.Variable) -> None:
        self._layers = layers
        self._rates = [tf.Variable(layer.rate, dtype=tf.float32) for layer in self._layers]
        self._keys = [tf.Variable([0], dtype=tf.uint64, shape=[1]) for _ in self._layers]
        for layer, rate, key in zip(self._layers, self._rates, self._keys, strict=True):
            layer.call = _call(rate, key, step)

    @property
    def replaced(self) -> set[int]:
        """Ids of the Keras random states that are no longer in use."""
        return {id(layer.seed_generator.state) for layer in self._layers}

    def set_rates(self, rates: list[float]) -> None:
        for variable, rate in zip(self._rates, rates, strict=True):
            variable.assign(rate)

    def set_seed(self, seed: int) -> None:
        for index, key in enumerate(self._keys):
            parts = (derive_seed(seed, "dropout", index, half) for half in ("low", "high"))
            low, high = parts
            key.assign(np.array([low | high << 32], dtype=np.uint64))


def _call(rate: tf.Variable, key: tf.Variable, step: tf.Variable) -> Any:
    def call(inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        # A step's numbers advance the low half of the counter; the step is the high half.
        counter = tf.stack([tf.constant(0, tf.uint64), tf.cast(step, tf.uint64)])
        uniform = tf.raw_ops.StatelessRandomUniformV2(
            shape=tf.shape(inputs), key=key, counter=counter, alg=_PHILOX, dtype=tf.float32
        )
        kept = inputs * (1.0 / (1.0 - rate))
        return tf.where(uniform >= rate, kept, tf.zeros_like(kept))

    return call
