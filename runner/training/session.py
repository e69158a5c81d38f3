"""One compiled model with its traced graphs, used again by every fit of the same architecture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from operator import itemgetter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from runner.seeds import derive_seed
from runner.training.dropout import VariableDropout, dropout_layers
from runner.training.states import Arrays

# Rows predicted at a time; fixed, so that predictions do not depend on how they are asked for.
_CHUNK_ROWS = 2048
_KEPT_SESSIONS = 32


class Predictor:
    """A Keras model whose prediction runs as one graph, whatever the number of rows."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._graphs: dict[Hashable, Any] = {}
        self._offset = tf.Variable(0.0, dtype=tf.float32)
        self._factor = tf.Variable(1.0, dtype=tf.float32)

    def set_scaling(self, offset: float, scale: float) -> None:
        """Set what 8-bit inputs are brought to: (value - offset) / scale, batch by batch."""
        self._offset.assign(offset)
        self._factor.assign(1.0 / scale)

    def _graph(self, purpose: str, like: Any, trace: Callable[[Any], Any]) -> Any:
        """The graph for data of this structure and these types, traced on first use.

        A graph takes other types without complaint and converts them, so they are part of its name.
        """
        types = tuple(str(part.dtype) for part in tf.nest.flatten(like))
        if (purpose, types) not in self._graphs:
            self._graphs[purpose, types] = trace(like)
        return self._graphs[purpose, types]

    def _trace_predict(self, x: Any) -> Any:
        return tf.function(
            lambda part: self.model(self.scaled(part), training=False),
            input_signature=[tf.nest.map_structure(_any_rows, x)],
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
                for rows in _chunks(len(tf.nest.flatten(x)[0]))
            ]
        )


class Session(Predictor):
    """A compiled Keras model whose training and prediction run as whole graphs.

    Nothing of one fit reaches the next: `begin` sets weights, optimizer state and metrics anew, and
    `run_epoch` the random state.

    Parameters
    ----------
    model
        A compiled model, weights built.
    """

    takes_over_dropout = True

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model)
        self._loaded: Arrays | None = None
        model.optimizer.build(model.trainable_variables)
        self._optimizer_start = [variable.numpy() for variable in model.optimizer.variables]
        layers = dropout_layers(model) if self.takes_over_dropout else []
        self._dropout = VariableDropout(layers, model.optimizer.iterations.value)
        known = {id(weight) for weight in model.weights} | self._dropout.replaced
        self._random_states = [
            variable
            for variable in model.variables
            if id(variable) not in known and "seed_generator_state" in variable.name
        ]

    def begin(
        self,
        weights: Arrays,
        optimizer_state: Arrays | None = None,
        dropout_rates: list[float] | None = None,
    ) -> None:
        """Start or continue a fit from `weights`; without a state the optimizer starts afresh.

        `dropout_rates` are those of this fit's Dropout layers; None keeps the model's.
        """
        if dropout_rates is not None:
            self._dropout.set_rates(dropout_rates)
        self.load(weights)
        self._loaded = None
        state = self._optimizer_start if optimizer_state is None else optimizer_state
        for variable, value in zip(self.model.optimizer.variables, state, strict=True):
            variable.assign(value)

    def load(self, weights: Arrays) -> None:
        """Put a fit's weights into the model, unless they are there already."""
        if self._loaded is not weights:
            self.model.set_weights(weights)
            self._loaded = weights

    @property
    def optimizer_state(self) -> Arrays:
        return [variable.numpy() for variable in self.model.optimizer.variables]

    def run_epoch(
        self, data: tuple[Any, ...], order: np.ndarray, batch_size: int, seed: int
    ) -> dict[str, float]:
        """Train one epoch.

        Parameters
        ----------
        data
            Tensors (x, y) or (x, y, sample_weight), all rows; x and y may be nested.
        order
            Row numbers in the order in which they are visited, shape (n,).
        batch_size
            Rows per step; the last step takes what is left.
        seed
            Of everything random inside the model (dropout).

        Returns
        -------
        dict
            Mean loss and metrics over the epoch.
        """
        self._set_random_state(seed)
        graph = self._graph("epoch", data, self._trace_epoch)
        results = graph(data, tf.constant(order, tf.int32), tf.constant(batch_size, tf.int32))
        return {name: float(value) for name, value in results.items()}

    def _set_random_state(self, seed: int) -> None:
        self._dropout.set_seed(seed)
        for index, state in enumerate(self._random_states):
            state.assign([derive_seed(seed, "layer", index), 0])

    def _trace_epoch(self, data: tuple[Any, ...]) -> Any:
        model = self.model

        def epoch(data: Any, order: Any, batch_size: Any) -> Any:
            model.reset_metrics()
            steps = (tf.shape(order)[0] + batch_size - 1) // batch_size

            def step(index: Any) -> Any:
                rows = order[index * batch_size : (index + 1) * batch_size]
                x, *rest = tf.nest.map_structure(lambda part: tf.gather(part, rows), data)
                results = model.train_step((self.scaled(x), *rest))
                with tf.control_dependencies(tf.nest.flatten(results)):
                    return (index + 1,)

            tf.while_loop(lambda index: index < steps, step, (0,), parallel_iterations=1)
            return model.get_metrics_result()

        signature = [
            tf.nest.map_structure(_any_rows, data),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([], tf.int32),
        ]
        return tf.function(epoch, input_signature=signature, autograph=False)

    def _trace_evaluation(self, data: tuple[Any, ...]) -> Any:
        return tf.function(
            lambda x, *rest: self.model.test_step((self.scaled(x), *rest)),
            input_signature=[tf.nest.map_structure(_any_rows, part) for part in data],
            autograph=False,
        )

    def evaluate(self, data: tuple[Any, ...]) -> dict[str, float]:
        """Mean loss and metrics over all rows of `data`, without training."""
        graph = self._graph("evaluate", data, self._trace_evaluation)
        self.model.reset_metrics()
        for rows in _chunks(len(tf.nest.flatten(data)[0])):
            results = graph(*tf.nest.map_structure(itemgetter(rows), data))
        return {name: float(value) for name, value in results.items()}


class KerasSession(Session):
    """The same, through Keras's own ``fit``, ``evaluate``, ``predict`` and dropout."""

    takes_over_dropout = False

    def run_epoch(
        self, data: tuple[Any, ...], order: np.ndarray, batch_size: int, seed: int
    ) -> dict[str, float]:
        self._set_random_state(seed)
        x, y, *weight = tf.nest.map_structure(lambda part: tf.gather(part, order), data)
        history = self.model.fit(
            self.scaled(x),
            y,
            batch_size,
            sample_weight=weight[0] if weight else None,
            shuffle=False,
            verbose=0,
        )
        return {name: float(values[-1]) for name, values in history.history.items()}

    def evaluate(self, data: tuple[Any, ...]) -> dict[str, float]:
        x, y, *weight = data
        results: dict[str, float] = self.model.evaluate(
            self.scaled(tf.nest.map_structure(tf.convert_to_tensor, x)),
            y,
            sample_weight=weight[0] if weight else None,
            verbose=0,
            return_dict=True,
        )
        return results

    def predict(self, x: Any) -> np.ndarray:
        prediction: np.ndarray = self.model.predict(self.scaled(x), verbose=0)
        return prediction


def as_input(x: np.ndarray) -> np.ndarray:
    """Features as a session takes them: 8-bit as they are, anything else float32."""
    return x if x.dtype == np.uint8 else np.asarray(x, np.float32)


def _chunks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK_ROWS) for start in range(0, n_rows, _CHUNK_ROWS))


def _any_rows(part: Any) -> Any:
    return tf.TensorSpec([None, *part.shape[1:]], part.dtype)


_sessions: OrderedDict[Hashable, Session] = OrderedDict()


def session_for(key: Hashable, build: Callable[[], Session]) -> Session:
    """Return the process's session of this architecture, built on first use.

    The least recently used sessions are dropped beyond a fixed number.
    """
    if key not in _sessions:
        _sessions[key] = build()
    _sessions.move_to_end(key)
    while len(_sessions) > _KEPT_SESSIONS:
        _sessions.popitem(last=False)
    return _sessions[key]
