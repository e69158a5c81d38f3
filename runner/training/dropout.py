"""Dropout whose rate is a variable, so that candidates of different rates share one graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from runner.seeds import derive_seed
from runner.training.runtime import has_gpu

_PHILOX = 1


def dropout_layers(model: keras.Model) -> list[keras.layers.Dropout]:
    """The model's plain Dropout layers, in order; those of rate 0 too."""
    return [
        layer
        for layer in _layers(model)
        if type(layer) is keras.layers.Dropout
        and layer.noise_shape is None
        and layer.compute_dtype == "float32"
    ]


def random_states(model: keras.Model) -> list[keras.Variable]:
    """The states of the model's seed generators: one for each layer that draws numbers."""
    return [variable for variable in model.variables if "seed_generator_state" in variable.name]


def _layers(model: Any) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


class VariableDropout:
    """Takes over the Dropout layers of a model: same formula, rate and random state in variables.

    A mask is drawn with Philox (Salmon et al., 2011) in one kernel, which also advances the layer's
    state; Keras's own seed generator takes about ten small ones. On a GPU, where what that kernel
    draws now and then depends on timing, two kernels do it.

    Parameters
    ----------
    layers
        Some that `dropout_layers` lists, of rates above 0.
    """

    def __init__(self, layers: list[keras.layers.Dropout]) -> None:
        self._layers = layers
        # Not trainable, or gradients would be taken with respect to them.
        self._rates = [tf.Variable(layer.rate, trainable=False) for layer in layers]
        self._scales = [tf.Variable(_scale(layer.rate), trainable=False) for layer in layers]
        # A 128-bit counter and a key.
        self._states = [tf.Variable([0, 0, 0], dtype=tf.int64, trainable=False) for _ in layers]
        draw = _draw_in_two if has_gpu() else _draw
        for layer, *variables in zip(layers, self._rates, self._scales, self._states, strict=True):
            layer.call = _call(draw, *variables)

    @property
    def variables(self) -> list[tf.Variable]:
        return [*self._rates, *self._scales, *self._states]

    @property
    def replaced(self) -> set[int]:
        """Ids of the Keras random states that are no longer in use."""
        return {id(layer.seed_generator.state) for layer in self._layers}

    def set_rates(self, rates: list[float]) -> None:
        for rate, scale, value in zip(self._rates, self._scales, rates, strict=True):
            rate.assign(value)
            scale.assign(_scale(value))

    def states_from(self, seed: int) -> np.ndarray:
        """Counters and keys that the layers start from, shape (layers, 3)."""
        states = np.zeros((len(self._states), 3), np.int64)
        for index in range(len(states)):
            low, high = (derive_seed(seed, "dropout", index, half) for half in ("low", "high"))
            states[index, 2] = low | high << 32
        return states

    def set_states(self, values: Any) -> None:
        """Set what `states_from` gave, or a tensor of it."""
        for index, state in enumerate(self._states):
            state.assign(values[index])


def _scale(rate: float) -> float:
    """What keeps the mean when a fraction of the values is dropped."""
    return 1.0 / (1.0 - rate)


def _draw(state: tf.Variable, like: Any) -> Any:
    """Draw a number in [0, 1) for each of `like`, and advance the state beyond these."""
    return tf.raw_ops.StatefulUniform(
        resource=state.handle, algorithm=_PHILOX, shape=tf.shape(like), dtype=tf.float32
    )


def _draw_in_two(state: tf.Variable, like: Any) -> Any:
    counter_and_key = tf.bitcast(state.read_value(), tf.uint64)
    # One counter is enough for four numbers.
    state.assign_add(tf.stack([tf.size(like, tf.int64), 0, 0]))
    return tf.raw_ops.StatelessRandomUniformV2(
        shape=tf.shape(like),
        key=counter_and_key[2:],
        counter=counter_and_key[:2],
        alg=_PHILOX,
        dtype=tf.float32,
    )


def _call(draw: Any, rate: tf.Variable, scale: tf.Variable, state: tf.Variable) -> Any:
    def call(inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        uniform = draw(state, inputs)
        # Its gradient is cheaper than that of `tf.where`, which has to allow for broadcasting.
        kept = inputs * scale
        return tf.raw_ops.Select(condition=uniform >= rate, x=kept, y=tf.zeros_like(kept))

    return call
