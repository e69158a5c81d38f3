"""Training through one call of Keras's ``fit``, for what only that can do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from runner.config.schema import Training
from runner.training.loop import FitDivergedError, hold_out, learning_rate_at, rows_of
from runner.training.runtime import seeded
from runner.training.session import Session
from runner.training.states import TrainingState


def train_with_keras(
    session: Session,
    data: tuple[Any, ...],
    training: Training,
    state: TrainingState,
    *,
    learning_rate: float | None,
    horizon: int,
    seed: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> TrainingState:
    """Train from the beginning with callbacks that act within epochs; see `loop.train`.

    The order of rows is Keras's own, from `seed`; the state can't be continued.
    """
    session.begin(state.weights)
    if learning_rate is not None:
        session.model.optimizer.learning_rate = learning_rate
    training_rows, held_out_rows = hold_out(data, training, seed)
    x, y, *weight = rows_of(data, training_rows)
    held_out = None
    if held_out_rows is not None:
        held_out_x, *rest = rows_of(data, held_out_rows)
        held_out = (session.scaled(held_out_x), *rest)
    history: dict[str, list[float]] = {}
    own = [_KeepHistory(history)]
    if learning_rate is not None and training.schedule != "none":
        own.append(
            keras.callbacks.LearningRateScheduler(
                lambda *_: learning_rate_at(training, learning_rate, horizon, history)
            )
        )
    if training.early_stopping.patience is not None:
        own.append(
            keras.callbacks.EarlyStopping(
                patience=training.early_stopping.patience,
                min_delta=training.early_stopping.min_delta,
                restore_best_weights=True,
            )
        )
    with seeded(seed):
        session.model.fit(
            session.scaled(x),
            y,
            training.batch_size,
            epochs=training.epochs,
            sample_weight=weight[0] if weight else None,
            validation_data=held_out,
            callbacks=[*own, *callbacks],
            verbose=0,
        )
    if not math.isfinite(history["loss"][-1]):
        epoch = len(history["loss"])
        raise FitDivergedError(f"the loss became {history['loss'][-1]} in epoch {epoch}")
    state.history = history
    state.weights = session.model.get_weights()
    return state


class _KeepHistory(keras.callbacks.Callback):
    def __init__(self, history: dict[str, list[float]]) -> None:
        super().__init__()
        self.kept = history

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.kept.setdefault(name, []).append(float(value))
