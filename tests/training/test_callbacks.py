"""Stopping, schedules and callbacks act as in Keras's ``fit``.

All rows are in one batch, where their order does not matter: so whole fits can be compared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from runner.config.schema import Training
from runner.training.runtime import seeded, start_tensorflow

start_tensorflow(1)

import keras  # noqa: E402

from runner.training.callbacks import acts_within_epochs  # noqa: E402
from runner.training.fit import Fit  # noqa: E402
from runner.training.loop import FitDivergedError, train  # noqa: E402
from runner.training.session import Session  # noqa: E402
from runner.training.states import TrainingState  # noqa: E402

RATE = 0.02
X, Y = load_iris(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)


def build() -> keras.Model:
    with seeded(3):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(3, activation="softmax"),
            ]
        )
    # Nesterov's momentum makes the loss go up and down.
    optimizer = keras.optimizers.SGD(RATE, momentum=0.95, nesterov=True)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    return model


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(build())


class Watch(keras.callbacks.Callback):
    """Notes all that happens between epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.seen.append(("begin", self.params["epochs"], self.params["steps"]))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.seen.append((epoch, round(float(self.model.optimizer.learning_rate), 6)))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append((epoch, _names(logs)))

    def on_train_end(self, logs: Any = None) -> None:
        self.seen.append(("end", _names(logs)))


def _names(logs: dict[str, float]) -> list[str]:
    # Keras's schedulers add the learning rate.
    return sorted(logs.keys() - {"learning_rate"})


def fit_of(epochs: int, *callbacks: keras.callbacks.Callback, **training: Any) -> Fit:
    settings = Training.model_validate({"epochs": epochs, "batch_size": len(X), **training})
    data = (X, Y.astype(np.int32))
    return Fit(data, settings, seed=5, learning_rate=RATE, horizon=epochs, callbacks=callbacks)


def check(
    session: Session,
    fit: Fit,
    *of_keras: keras.callbacks.Callback,
) -> TrainingState:
    """Compare with Keras's ``fit``, given these callbacks and the same rows; return the state."""
    (x, y), validation = fit.tensors()
    ours, theirs = Watch(), Watch()
    fit = replace(fit, callbacks=[*fit.callbacks, ours])
    state = train(session, fit, TrainingState(weights=build().get_weights()))
    model = build()
    model.optimizer.learning_rate = fit.learning_rate
    history = model.fit(
        x,
        y,
        len(x),
        epochs=fit.training.epochs,
        callbacks=[*of_keras, theirs],
        validation_data=validation,
        verbose=0,
    )
    assert ours.seen == theirs.seen
    for name in _names(history.history):
        curve = history.history[name]
        np.testing.assert_allclose(state.history[name], curve, rtol=1e-4, err_msg=name)
    for mine, other in zip(state.final_weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)
    return state


@pytest.mark.slow
def test_early_stopping_is_that_of_keras(session: Session) -> None:
    stopping = {"patience": 3, "min_delta": 0.02, "validation_fraction": 0.3}
    fit = fit_of(60, early_stopping=stopping)
    state = check(
        session,
        fit,
        keras.callbacks.EarlyStopping(patience=3, min_delta=0.02, restore_best_weights=True),
    )
    assert state.stopped
    assert 3 < state.epoch < 60
    assert not np.array_equal(state.final_weights[0], state.weights[0])


def test_cosine_is_a_schedule_to_zero(session: Session) -> None:
    check(
        session,
        fit_of(20, schedule="cosine"),
        keras.callbacks.LearningRateScheduler(
            lambda epoch, _: RATE * 0.5 * (1 + np.cos(np.pi * epoch / 20))
        ),
    )


@pytest.mark.parametrize("judge", ["loss", "val_loss"])
def test_plateau_halves_the_rate_as_keras_does(session: Session, judge: str) -> None:
    rate = 1.0  # so high that the loss goes up again
    halving = keras.callbacks.ReduceLROnPlateau(judge, factor=0.5, patience=3, min_delta=0)
    best = keras.callbacks.EarlyStopping(patience=40, restore_best_weights=True)
    watched = judge == "val_loss"
    stopping = {"patience": 40} if watched else {}
    check(
        session,
        replace(
            fit_of(16, schedule="plateau", early_stopping=stopping),
            learning_rate=rate,
        ),
        halving,
        *([best] if watched else []),
    )
    assert float(halving.model.optimizer.learning_rate) <= rate / 2


CALLBACKS = {
    "stopping": lambda: keras.callbacks.EarlyStopping(
        "loss", patience=2, min_delta=0.05, restore_best_weights=True
    ),
    "plateau": lambda: keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.05),
    "schedule": lambda: keras.callbacks.LearningRateScheduler(lambda _, rate: rate * 0.8),
    "nan": keras.callbacks.TerminateOnNaN,
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_between_epochs_act_as_in_keras(session: Session, name: str) -> None:
    ours, theirs = CALLBACKS[name](), CALLBACKS[name]()
    assert not acts_within_epochs(ours)
    assert not acts_within_epochs(keras.callbacks.LambdaCallback(on_epoch_end=print))
    state = check(session, fit_of(15, ours), theirs)
    assert (state.epoch < 15) == (name == "stopping")


def test_a_callback_that_stops_one_fit_does_not_stop_the_next(session: Session) -> None:
    stopped = train(
        session, fit_of(15, CALLBACKS["stopping"]()), TrainingState(build().get_weights())
    )
    after = train(session, fit_of(15), TrainingState(build().get_weights()))
    assert stopped.epoch < after.epoch == 15


def test_a_loss_that_is_no_number_ends_the_fit(session: Session) -> None:
    fit = replace(fit_of(3, keras.callbacks.TerminateOnNaN()), learning_rate=1e30)
    with pytest.raises(FitDivergedError, match=r"the loss became nan in epoch [23]"):
        train(session, fit, TrainingState(build().get_weights()))


class OnTests(keras.callbacks.Callback):
    def on_test_begin(self, logs: Any = None) -> None:
        pass


@pytest.mark.parametrize(
    "callback",
    [
        OnTests(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: None),
        keras.callbacks.BackupAndRestore("."),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_within_epochs_are_known(callback: keras.callbacks.Callback) -> None:
    assert acts_within_epochs(callback)
