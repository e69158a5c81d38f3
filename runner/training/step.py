"""One training step as a part of the epoch's graph."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import keras
import tensorflow as tf

# What a model may define to train in a way of its own.
_OVERRIDABLE = (
    "train_step",
    "compute_loss",
    "compute_metrics",
    "get_metrics_result",
    "reset_metrics",
    "metrics",
)


class Step(Protocol):
    """A step that the epoch repeats; a tensor of the given shape is carried from step to step."""

    shape: Any

    def start(self) -> Any:
        """Make the tensor that the first step gets."""

    def prepare(self, batch: tuple[Any, ...]) -> None:
        """Make, from tensors like those to come, what could not be made within a graph."""

    def run(self, batch: tuple[Any, ...], carried: Any) -> Any:
        """Train on a batch (x, y) or (x, y, sample_weight); return what the next step gets."""

    def results(self, n_rows: Any, carried: Any) -> dict[str, Any]:
        """Scores of the epoch, of which `carried` is what the last step returned."""


def step_of(model: keras.Model) -> Step:
    """The step that Keras's ``fit`` would take with this model."""
    return OwnStep(model) if overrides(model, *_OVERRIDABLE) else PlainStep(model)


def overrides(model: keras.Model, *names: str) -> bool:
    """Whether the model's class defines any of these members anew."""
    return any(getattr(type(model), name) is not getattr(keras.Model, name) for name in names)


class PlainStep:
    """Keras's own ``train_step``, less what only single steps need.

    The loss is summed up on the way instead of by a metric, and metrics are computed at the end.
    """

    shape = tf.TensorShape([])

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        # The first of the metrics is the mean loss.
        self._has_metrics = len(model.metrics) > 1
        takes_training = "training" in inspect.signature(model.call).parameters
        self._arguments = {"training": True} if takes_training else {}

    def start(self) -> Any:
        return tf.zeros([])

    def prepare(self, batch: tuple[Any, ...]) -> None:
        if self._has_metrics:
            # Compiled metrics make their variables when first used; within a graph, that would
            # trace it twice.
            x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
            self._model.compute_metrics(x, y, self._model.predict_step((x,)), weight)

    def run(self, batch: tuple[Any, ...], carried: Any) -> Any:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        model = self._model
        with tf.GradientTape() as tape:
            prediction = model(x, **self._arguments)
            loss = model.compute_loss(x, y, prediction, weight, training=True)
            scaled = model.optimizer.scale_loss(loss)
        weights = model.trainable_weights
        model.optimizer.apply(tape.gradient(scaled, weights), weights)
        if self._has_metrics:
            model.compute_metrics(x, y, prediction, weight)
        n_rows = tf.shape(tf.nest.flatten(x)[0])[0]
        return carried + tf.cast(loss, tf.float32) * tf.cast(n_rows, tf.float32)

    def results(self, n_rows: Any, carried: Any) -> dict[str, Any]:
        others = self._model.get_metrics_result() if self._has_metrics else {}
        return {**others, "loss": carried / tf.cast(n_rows, tf.float32)}


class OwnStep:
    """The model's own ``train_step``.

    Its results are the scores of the epoch where they are the model's metrics; otherwise the last
    step's count, as in ``fit``.
    """

    shape = tf.TensorShape([None])

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._names: list[str] = []

    def start(self) -> Any:
        return tf.zeros([0])

    def prepare(self, batch: tuple[Any, ...]) -> None:
        pass

    def run(self, batch: tuple[Any, ...], carried: Any) -> Any:
        results = scalars(self._model.train_step(batch))
        self._names = list(results)
        values = [tf.cast(value, tf.float32) for value in results.values()]
        return tf.convert_to_tensor(values, tf.float32)

    def results(self, n_rows: Any, carried: Any) -> dict[str, Any]:
        metrics = self._model.get_metrics_result()
        if set(metrics) == set(self._names):
            return scalars(metrics)
        return {name: carried[index] for index, name in enumerate(self._names)}


def scalars(results: dict[str, Any]) -> dict[str, Any]:
    """The results that are single numbers, as tensors."""
    tensors = {name: tf.convert_to_tensor(value) for name, value in results.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor.shape.rank == 0}
