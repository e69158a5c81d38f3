"""One compiled model with its traced graphs, used again by every fit of the same architecture."""

from __future__ import annotations

import logging
import textwrap
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from runner.seeds import derive_seed
from runner.training.dropout import VariableDropout, dropout_layers, random_states
from runner.training.predictor import Predictor, any_rows, chunks
from runner.training.runtime import cheap_cross_entropy, has_gpu
from runner.training.states import Arrays
from runner.training.step import scalars, step_of

logger = logging.getLogger(__name__)

_MOST_SESSIONS = 16
# What a training step raises that can't become a graph, or that is wrong.
_TRACE_ERRORS = (
    AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError, tf.errors.OpError,
)  # fmt: skip
# What XLA raises where it can't compile a model, or some library that it needs is missing.
_XLA_ERRORS = (
    tf.errors.InternalError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError,
    tf.errors.UnimplementedError,
)  # fmt: skip


class Session(Predictor):
    """A compiled Keras model whose training and prediction run as whole graphs.

    Nothing of one fit reaches the next: `begin` sets weights and optimizer state anew, `run_epoch`
    metrics and random state. A model with state beyond these is found out when its epoch is traced.

    Parameters
    ----------
    model
        A compiled model, weights built.

    Attributes
    ----------
    is_spent
        Whether this fit's session can't serve another: the model has state that is not set anew.
    """

    takes_over_dropout = True

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model)
        self.is_spent = False
        self._trace_error: str | None = None
        self._loaded: Arrays | None = None
        # On a GPU each operation takes longer to begin than to do; unknown until XLA has tried.
        self._by_xla: bool | None = None if has_gpu() else False
        model.optimizer.build(model.trainable_variables)
        self._optimizer_start = [variable.numpy() for variable in model.optimizer.variables]
        layers = dropout_layers(model) if self.takes_over_dropout else []
        self._dropout = VariableDropout([layer for layer in layers if layer.rate > 0])
        self._random_states = [
            state for state in random_states(model) if id(state) not in self._dropout.replaced
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
        self._set_optimizer_state(
            self._optimizer_start if optimizer_state is None else optimizer_state
        )

    def load(self, weights: Arrays) -> None:
        """Put a fit's weights into the model, unless they are there already."""
        if self._loaded is not weights:
            self.model.set_weights(weights)
            self._loaded = weights

    @property
    def optimizer_state(self) -> Arrays:
        return [variable.numpy() for variable in self.model.optimizer.variables]

    def _set_optimizer_state(self, state: Arrays) -> None:
        for variable, value in zip(self.model.optimizer.variables, state, strict=True):
            variable.assign(value)

    def set_random_state(self, seed: int) -> None:
        """Set everything random inside the model."""
        self._set_random_values(*self._random_values(seed))

    def _random_values(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """States of the dropout layers, and of the seed generators that are left to Keras."""
        seeds = [[derive_seed(seed, "layer", i), 0] for i in range(len(self._random_states))]
        return self._dropout.states_from(seed), np.array(seeds, np.int64).reshape(-1, 2)

    def _set_random_values(self, dropout: Any, others: Any) -> None:
        self._dropout.set_states(dropout)
        for index, state in enumerate(self._random_states):
            state.assign(others[index])

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
        arguments = (
            tf.constant(order, tf.int32),
            tf.constant(batch_size, tf.int32),
            tuple(map(tf.constant, self._random_values(seed))),
        )
        # A fit of less than a batch leaves nothing to XLA, whose choice is for all fits.
        by_xla = self._by_xla is not False and len(order) >= batch_size
        run = self._run_epoch_by_xla if by_xla else self._run_epoch
        return {name: float(value) for name, value in run(data, *arguments).items()}

    def _run_epoch(self, data: tuple[Any, ...], *arguments: Any) -> dict[str, Any]:
        results: dict[str, Any] = self._graph("epoch", data, self._trace_epoch)(data, *arguments)
        return results

    def _run_epoch_by_xla(self, data: tuple[Any, ...], *arguments: Any) -> dict[str, Any]:
        """Run an epoch by XLA, unless it turns out that it can't compile the model."""
        trace = partial(self._trace_epoch, by_xla=True)
        graph, data_by_xla = self._graph("epoch by XLA", data, trace), _padded(data)
        if self._by_xla:
            return dict(graph(data_by_xla, *arguments))
        weights, optimizer_state = self.model.get_weights(), self.optimizer_state
        try:
            results = dict(graph(data_by_xla, *arguments))
        except _XLA_ERRORS as error:
            logger.info("without XLA, which can't compile this model: %s", _line(error))
            self._by_xla = False
            self.model.set_weights(weights)
            self._set_optimizer_state(optimizer_state)
            return self._run_epoch(data, *arguments)
        self._by_xla = True
        return results

    def why_untraceable(self, data: tuple[Any, ...]) -> str | None:
        """Say why no graph can be made of an epoch over arrays like `data`, or None."""
        if self._trace_error is None:
            try:
                self._graph("epoch", data, self._trace_epoch)
            except _TRACE_ERRORS as error:
                self._trace_error = _line(error)
        return self._trace_error

    def _trace_epoch(self, data: tuple[Any, ...], by_xla: bool = False) -> Any:
        """Make the graph of an epoch; if `by_xla`, all batches but the last are one GPU program."""
        step = step_of(self.model)
        x, *others = tf.nest.map_structure(lambda part: tf.convert_to_tensor(part[:1]), data)
        step.prepare((self.scaled(x), *others))

        def epoch(data: Any, order: Any, batch_size: Any, random_values: Any) -> Any:
            n_rows = tf.shape(order)[0]
            self._set_random_values(*random_values)
            self.model.reset_metrics()

            def visit(start: Any, carried: Any) -> Any:
                rows = order[start : start + batch_size]
                return start + batch_size, run(data, rows, carried)

            start, carried = 0, step.start()
            if by_xla:
                start = n_rows // batch_size * batch_size
                full = tf.reshape(order[:start], [-1, batch_size])
                carried = full_batches(data, full, carried)
            _, carried = tf.while_loop(
                lambda start, *_: start < n_rows,
                visit,
                (start, carried),
                shape_invariants=(tf.TensorShape([]), step.shape),
                parallel_iterations=1,
            )
            return step.results(n_rows, carried)

        def run(data: Any, rows: Any, carried: Any) -> Any:
            x, *rest = tf.nest.map_structure(lambda part: tf.gather(part, rows), data)
            return step.run((self.scaled(x), *rest), carried)

        # XLA compiles it anew for other shapes.
        @tf.function(jit_compile=True, autograph=False)
        def full_batches(data: Any, batches: Any, carried: Any) -> Any:
            _, carried = tf.while_loop(
                lambda number, _: number < tf.shape(batches)[0],
                lambda number, carried: (number + 1, run(data, batches[number], carried)),
                (0, carried),
                shape_invariants=(tf.TensorShape([]), step.shape),
                parallel_iterations=1,
            )
            return carried

        signature = [
            tf.nest.map_structure(any_rows, data),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([], tf.int32),
            (tf.TensorSpec([None, 3], tf.int64), tf.TensorSpec([None, 2], tf.int64)),
        ]
        with cheap_cross_entropy():
            graph = tf.function(
                epoch, input_signature=signature, autograph=False
            ).get_concrete_function()
        self.is_spent |= self._has_hidden_state(graph)
        return graph

    def _has_hidden_state(self, graph: Any) -> bool:
        """Whether an epoch changes, or depends on, what is not set anew for each fit.

        Examples are variables that a layer keeps to itself, a second optimizer, and random numbers
        of TensorFlow's own (with ``seed2``) or from no seed generator in particular.
        """
        variables = [*self.model.variables, *self.model.metrics_variables]
        variables = [v.value for v in (*variables, *self.model.optimizer.variables)]
        variables += [self._offset, self._factor, *self._dropout.variables]
        known = {id(variable.handle) for variable in variables}
        definition = graph.graph.as_graph_def()
        nodes = (f.node_def for f in definition.library.function)
        return any(
            tensor.dtype == tf.resource and id(tensor) not in known
            for tensor in graph.graph.external_captures
        ) or any("seed2" in node.attr for node in chain(definition.node, *nodes))

    def _trace_evaluation(self, data: tuple[Any, ...]) -> Any:
        return tf.function(
            lambda x, *rest: self.model.test_step((self.scaled(x), *rest)),
            input_signature=[tf.nest.map_structure(any_rows, part) for part in data],
            autograph=False,
        )

    def evaluate(self, data: tuple[Any, ...]) -> dict[str, float]:
        """Mean loss and metrics over all rows of `data`, without training."""
        graph = self._graph("evaluate", data, self._trace_evaluation)
        self.model.reset_metrics()
        for rows in chunks(len(tf.nest.flatten(data)[0])):
            results = graph(*tf.nest.map_structure(itemgetter(rows), data))
        return {name: float(value) for name, value in scalars(results).items()}


def _line(error: Exception) -> str:
    return textwrap.shorten(str(error), 200, placeholder=" …")


def _padded(data: tuple[Any, ...]) -> tuple[Any, ...]:
    """Up to an eighth more rows, a number that folds have in common: XLA compiles for each."""
    n_rows = len(tf.nest.flatten(data)[0])
    unit = max(1, 1 << (n_rows.bit_length() - 4))
    n_more = -n_rows % unit
    padded: tuple[Any, ...] = tf.nest.map_structure(
        lambda part: tf.pad(part, [[0, n_more], *[[0, 0]] * (len(part.shape) - 1)]), data
    )
    return padded


_sessions: OrderedDict[Hashable, Session] = OrderedDict()


def has_session(key: Hashable) -> bool:
    """Whether the process has a session of this architecture that can serve another fit."""
    return key in _sessions and not _sessions[key].is_spent


def session_for(key: Hashable, build: Callable[[], Session], to_train: bool = False) -> Session:
    """Return the process's session of this architecture, built on first use.

    Beyond a fixed number, the less recently used half is dropped.

    Parameters
    ----------
    to_train
        Whether a fit begins, which a spent session can't serve.
    """
    if key not in _sessions or (to_train and _sessions[key].is_spent):
        _sessions[key] = build()
    _sessions.move_to_end(key)
    if len(_sessions) > _MOST_SESSIONS:
        for old in list(_sessions)[: _MOST_SESSIONS // 2]:
            del _sessions[old]
        # TensorFlow keeps what it has prepared of their graphs until its seed is set.
        tf.random.set_seed(0)
    return _sessions[key]
