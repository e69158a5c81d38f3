"""Training through Keras's own ``fit``: when asked to, and for what only that can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from runner.training.callbacks import acts_within_epochs
from runner.training.fit import Fit
from runner.training.loop import check_finite
from runner.training.session import Session
from runner.training.states import TrainingState
from runner.training.step import overrides


class KerasSession(Session):
    """A session that works through Keras's own ``fit``, ``evaluate``, ``predict`` and dropout."""

    takes_over_dropout = False

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model)
        # What Keras's graphs hold can't be seen.
        self.is_spent = True

    def why_untraceable(self, data: tuple[Any, ...]) -> str | None:
        return None

    def run_epoch(
        self, data: tuple[Any, ...], order: np.ndarray, batch_size: int, seed: int
    ) -> dict[str, float]:
        self.set_random_state(seed)
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
        tensors = tf.nest.map_structure(tf.convert_to_tensor, x)
        prediction: np.ndarray = self.model.predict(self.scaled(tensors), verbose=0)
        return prediction


def why_keras_fit(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> str | None:
    """Say why only Keras's ``fit`` can train this model with these callbacks, or None."""
    if any(map(acts_within_epochs, callbacks)):
        return "a callback acts within epochs"
    if overrides(model, "fit", "make_train_function"):
        return "the model has a fit of its own"
    if model.run_eagerly:
        return "the model is compiled to run eagerly"
    if model.distribute_strategy is not tf.distribute.get_strategy():
        return "the model belongs to a distribution strategy"
    if model.compiled and model.optimizer.use_ema:
        return "the optimizer averages weights until the end of the fit"
    return None


def train_with_keras(session: Session, fit: Fit, state: TrainingState) -> TrainingState:
    """Train from the beginning, callbacks of every kind included; see `loop.train`.

    The order of rows is Keras's own, from the generators as they are seeded; the state can't be
    continued.
    """
    training, model = fit.training, session.model
    session.begin(state.weights)
    session.set_random_state(fit.seed)
    if fit.learning_rate is not None:
        model.optimizer.learning_rate = fit.learning_rate
    (x, y, *weight), held_out = fit.tensors()
    if held_out is not None:
        held_out = (session.scaled(held_out[0]), *held_out[1:])
    history: dict[str, list[float]] = {}
    own = [_KeepHistory(history)]
    if fit.scheduled:
        own.append(
            keras.callbacks.LearningRateScheduler(lambda *_: fit.learning_rate_after(history))
        )
    if training.early_stopping.patience is not None:
        own.append(
            keras.callbacks.EarlyStopping(
                patience=training.early_stopping.patience,
                min_delta=training.early_stopping.min_delta,
                restore_best_weights=True,
            )
        )
    model.fit(
        session.scaled(x),
        y,
        training.batch_size,
        epochs=training.epochs,
        sample_weight=weight[0] if weight else None,
        validation_data=held_out,
        callbacks=[*own, *fit.callbacks],
        verbose=0,
    )
    check_finite(history)
    state.history = history
    state.weights = model.get_weights()
    return state


class _KeepHistory(keras.callbacks.Callback):
    def __init__(self, history: dict[str, list[float]]) -> None:
        super().__init__()
        self.kept = history

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.kept.setdefault(name, []).append(float(value))
