"""The fast trainer computes what Keras computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runner.config.schema import Optimizer
from runner.training.runtime import seeded, start_tensorflow

start_tensorflow(1)

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from runner.training.keras_fit import KerasSession  # noqa: E402
from runner.training.optimizers import fused, make_optimizer  # noqa: E402
from runner.training.session import Session  # noqa: E402

BATCH = 16
STEPS = 50


def build() -> keras.Model:
    with seeded(3):
        return keras.Sequential(
            [
                keras.Input((12,)),
                keras.layers.Dense(32, activation="relu"),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(16, activation="tanh"),
                keras.layers.Dense(4, activation="softmax"),
            ]
        )


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(BATCH * STEPS, 12)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] ** 2 > 1).astype(np.int32) + 2 * (X[:, 2] > 0).astype(np.int32)
    return X, y


def slow(config: dict[str, Any]) -> Any:
    return pytest.param(config, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "config",
    [
        {"name": "adam"},
        slow({"name": "adam", "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-5}),
        {"name": "adam", "clipnorm": 0.1},
        slow({"name": "adam", "weight_decay": 0.01}),
        {"name": "adamw", "weight_decay": 0.05},
        slow({"name": "sgd", "learning_rate": 0.05}),
        {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
        slow({"name": "rmsprop"}),
        {"name": "rmsprop", "momentum": 0.5, "rho": 0.8},
    ],
    ids=str,
)
def test_weights_after_50_steps_are_those_of_keras_fit(
    config: dict[str, Any], rows: tuple[np.ndarray, np.ndarray]
) -> None:
    order = np.random.default_rng(1).permutation(BATCH * STEPS)
    data = tuple(map(tf.constant, rows))
    fast, slow = build(), build()
    start = fast.get_weights()
    for model, is_fast in ((fast, True), (slow, False)):
        optimizer = make_optimizer(Optimizer.model_validate(config), is_fast)
        assert ("Fused" in type(optimizer).__name__) == is_fast
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)

    session = Session(fast)
    session.begin(start)
    scores = session.run_epoch(data, order, BATCH, seed=0)
    X, y = rows
    history = slow.fit(X[order], y[order], BATCH, shuffle=False, verbose=0)

    assert scores["loss"] == pytest.approx(history.history["loss"][0], rel=1e-5)
    for ours, theirs, before in zip(fast.get_weights(), slow.get_weights(), start, strict=True):
        # Adam divides by the root of tiny numbers, which spreads the last bit; 2e-5 is far below
        # what any update changed.
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)
        assert np.abs(theirs - before).max() > 1e-3


def test_variants_without_a_kernel_stay_as_they_are() -> None:
    for optimizer in (
        keras.optimizers.Adam(amsgrad=True),
        keras.optimizers.RMSprop(centered=True),
        keras.optimizers.Lion(),
    ):
        assert fused(optimizer) is optimizer


def test_a_fused_optimizer_stays_what_it_was_told_to_be() -> None:
    rate = keras.optimizers.schedules.ExponentialDecay(0.02, 10, 0.9)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    assert fused(optimizer) is optimizer
    assert "Fused" in type(optimizer).__name__
    model = build()
    optimizer.build(model.trainable_variables)
    decays = [optimizer._use_weight_decay(weight) for weight in model.trainable_variables]
    assert decays == ["kernel" not in weight.path for weight in model.trainable_variables]
    # One that has state already keeps it, and its own update.
    built = keras.optimizers.RMSprop()
    built.build(model.trainable_variables)
    assert type(fused(built)) is keras.optimizers.RMSprop


def test_last_batch_takes_what_is_left(rows: tuple[np.ndarray, np.ndarray]) -> None:
    data = tuple(map(tf.constant, rows))
    order = np.arange(37)
    losses = []
    for kind in (Session, KerasSession):
        model = build()
        model.compile(
            make_optimizer(Optimizer(), False), "sparse_categorical_crossentropy", jit_compile=False
        )
        session = kind(model)
        session.begin(model.get_weights())
        losses.append(session.run_epoch(data, order, BATCH, seed=0)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_sample_weights_count(rows: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = rows
    weight = np.where(y == 0, 3.0, 0.5).astype(np.float32)
    weights = []
    for kind in (Session, KerasSession):
        model = build()
        model.compile(
            make_optimizer(Optimizer(), False), "sparse_categorical_crossentropy", jit_compile=False
        )
        session = kind(model)
        session.begin(model.get_weights())
        data = tuple(map(tf.constant, (X, y, weight)))
        session.run_epoch(data, np.arange(len(X)), BATCH, seed=0)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def test_prediction_is_that_of_keras(rows: tuple[np.ndarray, np.ndarray]) -> None:
    model = build()
    model.compile("sgd", "sparse_categorical_crossentropy")
    ours = Session(model).predict(rows[0])
    np.testing.assert_allclose(ours, model.predict(rows[0], verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_dropout_has_the_effect_that_it_has_in_keras(rows: tuple[np.ndarray, np.ndarray]) -> None:
    def losses(kind: type[Session]) -> np.ndarray:
        with seeded(3):
            model = keras.Sequential(
                [
                    keras.Input((12,)),
                    keras.layers.Dense(32, activation="relu"),
                    keras.layers.Dropout(0.5),
                    keras.layers.Dense(4, activation="softmax"),
                ]
            )
        model.compile(
            make_optimizer(Optimizer(learning_rate=0.01), kind is Session),
            "sparse_categorical_crossentropy",
            jit_compile=False,
        )
        session, start, data = kind(model), model.get_weights(), tuple(map(tf.constant, rows))
        found = []
        for seed in range(16):
            session.begin(start)
            trained = session.run_epoch(data, np.arange(len(rows[0])), BATCH, seed)["loss"]
            found.append([trained, session.evaluate(data)["loss"]])
        return np.array(found)

    ours, theirs = losses(Session), losses(KerasSession)
    error = np.sqrt(ours.var(0, ddof=1) / 16 + theirs.var(0, ddof=1) / 16)
    # Within what 16 random streams each can differ by, and that is little.
    assert np.all(np.abs(ours.mean(0) - theirs.mean(0)) < 3 * error)
    assert np.all(error < 0.02)
    assert np.all(ours.std(0) > 0)
