"""What is done otherwise on a GPU, done on the CPU: XLA compiles for either."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from runner.config.schema import Optimizer
from runner.training import dropout, session
from runner.training.runtime import seeded, start_tensorflow

start_tensorflow(1)

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from runner.training.optimizers import make_optimizer  # noqa: E402
from runner.training.session import Session  # noqa: E402

EPOCHS = 3


class AsText(keras.layers.Layer):
    """A layer of which XLA can make nothing."""

    def call(self, x: Any) -> Any:
        length = tf.strings.length(tf.strings.as_string(tf.stop_gradient(x)))
        return x + 0.01 * tf.cast(length, tf.float32)


def build(*layers: keras.layers.Layer) -> keras.Model:
    with seeded(3):
        model = keras.Sequential(
            [
                keras.Input((8,)),
                keras.layers.Dense(16, activation="relu"),
                *layers,
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
    model.compile(
        make_optimizer(Optimizer(), fast=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def trained(
    monkeypatch: pytest.MonkeyPatch,
    *layers: keras.layers.Layer,
    by_xla: bool,
    in_two: bool = False,
    n_rows: int = 150,
    batch_size: int = 16,
    seed: int = 0,
) -> tuple[list[dict[str, float]], list[np.ndarray], Session]:
    monkeypatch.setattr(session, "has_gpu", lambda: by_xla)
    monkeypatch.setattr(dropout, "has_gpu", lambda: in_two)
    made = Session(build(*layers))
    made.begin(made.model.get_weights())
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 8)).astype(np.float32)
    data = tf.constant(X), tf.constant((X[:, 0] > 0).astype(np.int32) + (X[:, 1] > 0.5))
    orders = [np.random.default_rng(epoch).permutation(n_rows) for epoch in range(EPOCHS)]
    scores = [
        made.run_epoch(data, order, batch_size, seed + epoch) for epoch, order in enumerate(orders)
    ]
    return scores, made.model.get_weights(), made


def agree(one: Any, other: Any) -> None:
    (scores, weights, _), (other_scores, other_weights, _) = one, other
    for left, right in zip(scores, other_scores, strict=True):
        assert left == pytest.approx(right, rel=1e-4)
    for a, b in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("n_rows", "batch_size"), [(150, 16), (144, 16), (17, 16), (5, 16)])
def test_epochs_by_xla_compute_the_same(
    monkeypatch: pytest.MonkeyPatch, n_rows: int, batch_size: int
) -> None:
    sizes = {"n_rows": n_rows, "batch_size": batch_size}
    by_xla = trained(monkeypatch, by_xla=True, **sizes)
    # A fit of less than a batch leaves open whether XLA can compile the model.
    assert by_xla[2]._by_xla is (True if n_rows >= batch_size else None)
    agree(by_xla, trained(monkeypatch, by_xla=False, **sizes))


def test_what_xla_cannot_compile_is_trained_without_it_from_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "runner.training.session"):
        scores, weights, tried = trained(monkeypatch, AsText(), by_xla=True)
    assert tried._by_xla is False
    assert [record.message[:48] for record in caplog.records] == [
        "without XLA, which can't compile this model: Gra"
    ]
    expected_scores, expected_weights, _ = trained(monkeypatch, AsText(), by_xla=False)
    assert scores == expected_scores
    for ours, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("by_xla", [False, True])
def test_masks_in_two_kernels_repeat_and_follow_the_seed(
    monkeypatch: pytest.MonkeyPatch, by_xla: bool
) -> None:
    def losses(seed: int) -> list[float]:
        layers = [keras.layers.Dropout(0.4), keras.layers.Dropout(0.3)]
        scores, *_ = trained(monkeypatch, *layers, by_xla=by_xla, in_two=True, seed=seed)
        return [score["loss"] for score in scores]

    assert losses(0) == losses(0)
    assert losses(0) != losses(9)


def test_numbers_in_two_kernels_are_uniform_and_new_each_time() -> None:
    state = tf.Variable([0, 0, 12345], dtype=tf.int64, trainable=False)
    like = tf.zeros((100, 33))
    first, second = (dropout._draw_in_two(state, like).numpy() for _ in range(2))
    assert first.shape == (100, 33)
    assert not np.isin(first, second).mean() > 0.01
    for drawn in (first, second):
        assert 0 <= drawn.min() <= drawn.max() < 1
        # Four standard deviations of the mean of as many numbers.
        assert abs(drawn.mean() - 0.5) < 4 * np.sqrt(1 / 12 / drawn.size)


CROSS_ENTROPY = """
import numpy as np
from runner.training.runtime import cheap_cross_entropy, start_tensorflow
start_tensorflow(2)
import tensorflow as tf

logits, labels = tf.random.stateless_normal((4, 4), [1, 2]), tf.constant([0, 3, 2, 1])

@tf.function
def losses_and_gradient():
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        total = tf.reduce_sum(losses)
    return losses, tape.gradient(total, logits)

def kinds(graph):
    return {op.type for op in graph.get_concrete_function().graph.get_operations()}

theirs = tf.function(losses_and_gradient.python_function)
assert "GatherV2" in kinds(theirs), kinds(theirs)
with cheap_cross_entropy():
    ours = tf.function(losses_and_gradient.python_function)
    found = kinds(ours)
assert not [kind for kind in found if "Gather" in kind or "Scatter" in kind or "Segment" in kind]
for mine, other in zip(ours(), theirs()):
    np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-7)
with cheap_cross_entropy():
    none = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[-1, 1, 4], logits=logits[:3])
assert np.isnan(none).tolist() == [True, False, True]
after = tf.function(losses_and_gradient.python_function)
assert "GatherV2" in kinds(after)
"""


def test_deterministic_cross_entropy_gathers_nothing_and_scatters_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CROSS_ENTROPY], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
