"""Prediction with a Keras model as one graph."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from operator import itemgetter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Rows predicted at a time; fixed, so that predictions do not depend on how they are asked for.
_CHUNK_ROWS = 2048


class Predictor:
    """A Keras model whose prediction runs as one graph, whatever the number of rows."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._graphs: dict[Hashable, Any] = {}
        self._offset = tf.Variable(0.0, trainable=False)
        self._factor = tf.Variable(1.0, trainable=False)

    def set_scaling(self, offset: float, scale: float) -> None:
        """Set what 8-bit inputs are brought to: (value - offset) / scale, batch by batch."""
        self._offset.assign(offset)
        self._factor.assign(1.0 / scale)

    def _graph(self, purpose: str, like: Any, trace: Callable[[Any], Any]) -> Any:
        """The graph for data of this structure and these types, traced on first use.

        A graph takes other types without complaint and converts them, so they are part of its name.
        """
        types = tuple(tf.as_dtype(part.dtype).name for part in tf.nest.flatten(like))
        if (purpose, types) not in self._graphs:
            self._graphs[purpose, types] = trace(like)
        return self._graphs[purpose, types]

    def _trace_predict(self, x: Any) -> Any:
        return tf.function(
            lambda part: self.model.predict_step((self.scaled(part),)),
            input_signature=[tf.nest.map_structure(any_rows, x)],
            autograph=False,
        )

    def scaled(self, x: Any) -> Any:
        """Bring 8-bit tensors to the scale that was set; others stay as they are."""

        def scale(part: Any) -> Any:
            if part.dtype != tf.uint8:
                return part
            return (tf.cast(part, tf.float32) - self._offset) * self._factor

        return tf.nest.map_structure(scale, x)

    def predict(self, x: Any) -> np.ndarray:
        """Predict all rows of `x` (an array, or nested arrays); shape (n, outputs)."""
        graph = self._graph("predict", x, self._trace_predict)
        return np.concatenate(
            [
                graph(tf.nest.map_structure(itemgetter(rows), x)).numpy()
                for rows in chunks(len(tf.nest.flatten(x)[0]))
            ]
        )


def chunks(n_rows: int) -> Iterator[slice]:
    """Slices of the rows that a graph takes at a time."""
    return (slice(start, start + _CHUNK_ROWS) for start in range(0, n_rows, _CHUNK_ROWS))


def any_rows(part: Any) -> Any:
    """What a graph is told about an array: its type, and its shape but for the number of rows."""
    return tf.TensorSpec([None, *part.shape[1:]], part.dtype)
