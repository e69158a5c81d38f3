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


def stacked() -> dict[str, float]:
    """What it gains to train several fits as one batched computation, by hand.

    Microseconds for one step of n fits at once, and how many times faster that is than n steps of
    one fit.
    """
    answer = {}
    for name, case in cases().items():
        epochs = {n: _epoch_by_hand(case, n) for n in (1, 3, 9)}
        for epoch in epochs.values():
            epoch()
        per_step = 1e6 / -(-len(case.x) // case.batch_size)
        rounds = [{n: _seconds(e) for n, e in epochs.items()} for _ in range(case.rounds // 3)]
        taken = {n: statistics.median(r[n] for r in rounds) * per_step for n in epochs}
        for n, micros in taken.items():
            answer[f"{name}: {n} fits, µs"] = micros
            answer[f"{name}: {n} fits, gain"] = n * taken[1] / micros
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


def _epoch_by_hand(case: Case, n_fits: int = 1) -> Callable[[], float]:
    """Make an epoch of one fit, or of several whose weights have a leading axis in common."""
    alone = n_fits == 1
    arrays = [w if alone else np.stack([w] * n_fits) for w in _model(case).get_weights()]
    weights = [tf.Variable(array) for array in arrays]
    slots = [[tf.Variable(tf.zeros_like(w), trainable=False) for w in weights] for _ in range(2)]
    n_done = tf.Variable(0.0, trainable=False)
    x, y = tf.constant(case.x), tf.constant(case.y)

    def dense(features: tf.Tensor, kernel: tf.Variable, bias: tf.Variable) -> tf.Tensor:
        product = tf.matmul(features, kernel)
        return tf.nn.bias_add(product, bias) if alone else product + tf.expand_dims(bias, 1)

    def loss_of(features: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            features = tf.nn.relu(dense(features, kernel, bias))
        logits = dense(features, weights[-2], weights[-1])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        # Each fit's gradient is that of its own mean.
        return tf.reduce_mean(losses) * n_fits

    def visit(start: tf.Tensor, total: tf.Tensor, order: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rows = order[..., start : start + case.batch_size]
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
        size = tf.cast(tf.shape(rows)[-1], tf.float32)
        return start + case.batch_size, total + loss * size, order

    shape = [None] if alone else [n_fits, None]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.int32)], autograph=False)
    def epoch(order: tf.Tensor) -> tf.Tensor:
        n_rows = tf.shape(order)[-1]
        _, total, _ = tf.while_loop(
            lambda start, *_: start < n_rows, visit, (0, 0.0, order), parallel_iterations=1
        )
        return total / tf.cast(n_rows, tf.float32)

    order = tf.range(len(case.x))
    order = order if alone else tf.stack([order] * n_fits)
    return lambda: float(epoch(order))
