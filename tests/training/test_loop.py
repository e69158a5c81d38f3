"""Epochs of a fit: continuing, stopping, schedules, and nothing left over from another fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runner.config.schema import Optimizer, Training
from runner.training.runtime import seeded, start_tensorflow

start_tensorflow(1)

import keras  # noqa: E402

from runner.training.fit import Fit  # noqa: E402
from runner.training.loop import FitDivergedError, train  # noqa: E402
from runner.training.optimizers import make_optimizer  # noqa: E402
from runner.training.session import Session  # noqa: E402
from runner.training.states import TrainingState  # noqa: E402


def build(seed: int = 3) -> keras.Model:
    with seeded(seed):
        return keras.Sequential(
            [
                keras.Input((8,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dropout(0.4),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )


@pytest.fixture(scope="module")
def session() -> Session:
    model = build()
    optimizer = make_optimizer(Optimizer(), fast=True)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    return Session(model)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 8)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(np.int32) + (X[:, 1] > 0.5)


def fit(
    session: Session, data: Any, state: TrainingState | None = None, seed: int = 5, **training: Any
) -> TrainingState:
    settings = Training.model_validate({"batch_size": 16, **training})
    return train(
        session,
        Fit(data, settings, seed=seed, learning_rate=0.01, horizon=9),
        state or TrainingState(weights=build().get_weights()),
    )


def same(left: TrainingState, right: TrainingState) -> bool:
    return left.history == right.history and all(
        np.array_equal(a, b) for a, b in zip(left.final_weights, right.final_weights, strict=True)
    )


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"schedule": "cosine"},
        {"schedule": "plateau"},
        {"early_stopping": {"patience": 2}},
        {"schedule": "plateau", "early_stopping": {"patience": 4}},
    ],
    ids=str,
)
def test_3_then_9_epochs_is_9_epochs_to_the_last_bit(
    session: Session, data: Any, training: dict[str, Any]
) -> None:
    at_once = fit(session, data, epochs=9, **training)
    first = fit(session, data, epochs=3, **training)
    fit(session, data, epochs=2, seed=99)  # something else uses the session in between
    assert same(fit(session, data, state=first, epochs=9, **training), at_once)


def test_nothing_of_one_fit_reaches_the_next(session: Session, data: Any) -> None:
    alone = fit(session, data, epochs=3)
    other = fit(session, data, epochs=2, seed=6)
    assert not same(alone, other)
    assert same(fit(session, data, epochs=3), alone)


def test_dropout_differs_between_epochs_and_seeds(session: Session, data: Any) -> None:
    start = build().get_weights()
    tensors = tuple(map(keras.ops.convert_to_tensor, data))
    losses = []
    for seed in (1, 1, 2):
        session.begin(start)
        losses.append(session.run_epoch(tensors, np.arange(150), 16, seed)["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_early_stopping_restores_the_best_epoch(session: Session, data: Any) -> None:
    state = fit(session, data, epochs=60, early_stopping={"patience": 2, "min_delta": 0.01})
    losses = state.history["val_loss"]
    assert state.stopped
    assert len(losses) < 60
    assert len(losses) == state.best_epoch + 1 + 2
    assert not np.array_equal(state.final_weights[0], state.weights[0])


def test_diverging_fit_says_in_which_epoch(session: Session, data: Any) -> None:
    # Rows that are NaN would not do: some processors' ReLU makes 0 of it.
    lost = TrainingState(weights=[weight * np.nan for weight in build().get_weights()])
    with pytest.raises(FitDivergedError, match="the loss became nan in epoch 1"):
        fit(session, data, state=lost, epochs=3)


def test_dropout_rates_are_set_for_each_fit(session: Session, data: Any) -> None:
    start = build().get_weights()
    tensors = tuple(map(keras.ops.convert_to_tensor, data))
    losses = []
    for rate in (1e-6, 0.9, 1e-6):
        session.begin(start, dropout_rates=[rate])
        losses.append(session.run_epoch(tensors, np.arange(150), 16, seed=1)["loss"])
    assert losses[0] == losses[2] != losses[1]


def test_dropout_keeps_the_mean_and_drops_at_its_rate() -> None:
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.3)])
    model.compile("sgd", "mse")
    session = Session(model)
    session.set_random_state(0)
    ones = np.ones((50, 1000), np.float32)
    dropped = model(ones, training=True).numpy()
    assert np.mean(dropped == 0) == pytest.approx(0.3, abs=0.01)
    assert np.mean(dropped) == pytest.approx(1, abs=0.02)
    assert np.array_equal(model(ones, training=False), ones)
