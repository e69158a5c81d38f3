"""A training step of the fast trainer beside one in a loop written by hand for the one model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from runner.config.schema import Optimizer
from runner.training.runtime import seeded, start_tensorflow

start_tensorflow(1)

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from runner.training.optimizers import make_optimizer  # noqa: E402
from runner.training.session import Session  # noqa: E402

_BETAS, _EPSILON, _RATE = (0.9, 0.999), 1e-7, 1e-3


@dataclass(frozen=True)
class Case:
    """Rows for a classifier with 10 classes, and the sizes of its hidden layers."""

    x: np.ndarray
    y: np.ndarray
    hidden: Sequence[int]
    batch_size: int
    rounds: int


def cases() -> dict[str, Case]:
    """The digits, and as many numbers as 4000 images of MNIST hold."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    images = rng.random((4000, 784), np.float32)
    return {
        "digits 64-64-10, batch 32": Case(
            (digits.data / 16).astype(np.float32), digits.target.astype(np.int32), (64,), 32, 41
        ),
        "MNIST 784-784-256-10, batch 8": Case(
            images, rng.integers(0, 10, 4000).astype(np.int32), (784, 256), 8, 9
        ),
    }


def steps() -> dict[str, float]:
    """Microseconds per step, ours and by hand, taking turns in one process; and their ratio."""
    answer = {}
    for name, case in cases().items():
        ours, bare = _sessions_epoch(case), _epoch_by_hand(case)
        # The first epoch makes the graphs; both must compute the same.
        np.testing.assert_allclose(ours(), bare(), rtol=1e-3)
        taken = np.array([[_seconds(ours), _seconds(bare)] for _ in range(case.rounds)])
        per_step = 1e6 / -(-len(case.x) // case.batch_size)
        answer[f"{name}: ours, µs"] = statistics.median(taken[:, 0]) * per_step
        answer[f"{name}: by hand, µs"] = statistics.median(taken[:, 1]) * per_step
        answer[f"{name}: ratio"] = statistics.median(taken[:, 0] / taken[:, 1])
    return answer


def _seconds(epoch: Callable[[], float]) -> float:
    started = time.perf_counter()
    epoch()
    return time.perf_counter() - started


def _model(case: Case) -> keras.Model:
    with seeded(0):
        return keras.Sequential(
            [
                keras.Input(case.x.shape[1:]),
                *(keras.layers.Dense(units, activation="relu") for units in case.hidden),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )


def _sessions_epoch(case: Case) -> Callable[[], float]:
    model = _model(case)
    optimizer = make_optimizer(Optimizer(name="adam", learning_rate=_RATE), fast=True)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    session, data = Session(model), (tf.constant(case.x), tf.constant(case.y))
    session.begin(model.get_weights())
    order = np.arange(len(case.x))
    return lambda: session.run_epoch(data, order, case.batch_size, seed=0)["loss"]


def _epoch_by_hand(case: Case) -> Callable[[], float]:
    weights = [tf.Variable(array) for array in _model(case).get_weights()]
    slots = [[tf.Variable(tf.zeros_like(w), trainable=False) for w in weights] for _ in range(2)]
    n_done = tf.Variable(0.0, trainable=False)
    x, y = tf.constant(case.x), tf.constant(case.y)

    def loss_of(features: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            features = tf.nn.relu(tf.nn.bias_add(tf.matmul(features, kernel), bias))
        logits = tf.nn.bias_add(tf.matmul(features, weights[-2]), weights[-1])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(losses)

    def visit(start: tf.Tensor, total: tf.Tensor, order: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rows = order[start : start + case.batch_size]
        with tf.GradientTape() as tape:
            loss = loss_of(tf.gather(x, rows), tf.gather(y, rows))
        done = n_done.assign_add(1.0)
        powers = [tf.pow(beta, done) for beta in _BETAS]
        for gradient, weight, m, v in zip(
            tape.gradient(loss, weights), weights, *slots, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=_RATE,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                epsilon=_EPSILON,
                grad=gradient,
            )
        size = tf.cast(tf.size(rows), tf.float32)
        return start + case.batch_size, total + loss * size, order

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
    def epoch(order: tf.Tensor) -> tf.Tensor:
        n_rows = tf.size(order)
        _, total, _ = tf.while_loop(
            lambda start, *_: start < n_rows, visit, (0, 0.0, order), parallel_iterations=1
        )
        return total / tf.cast(n_rows, tf.float32)

    order = tf.range(len(case.x))
    return lambda: float(epoch(order))
