"""The epochs of one fit: order of rows, learning rate, early stopping."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from runner.config.schema import Training
from runner.seeds import derive_seed
from runner.training.callbacks import EpochCallbacks
from runner.training.session import Session
from runner.training.states import TrainingState

logger = logging.getLogger(__name__)

_PLATEAU_EPOCHS = 3
_PLATEAU_FACTOR = 0.5


class FitDivergedError(ArithmeticError):
    """The loss became NaN or infinite."""


def train(
    session: Session,
    data: tuple[Any, ...],
    training: Training,
    state: TrainingState,
    *,
    learning_rate: float | None,
    horizon: int,
    seed: int,
    dropout_rates: list[float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: Callable[[TrainingState], None] | None = None,
    checkpoint_s: float = math.inf,
) -> TrainingState:
    """Train from `state` up to ``training.epochs`` epochs.

    Everything random in an epoch depends on (seed, epoch) alone, so stopping after 3 epochs and
    going on to 9 gives the same weights, to the last bit, as 9 at once.

    Parameters
    ----------
    data
        Arrays (x, y) or (x, y, sample_weight).
    learning_rate
        At the start; None keeps what the model was compiled with.
    horizon
        Epochs that a cosine schedule spans.
    dropout_rates
        Of the Dropout layers of this fit; None keeps the model's.
    callbacks
        Keras callbacks that act between epochs.
    checkpoint
        Called with the state between epochs, every `checkpoint_s` seconds.

    Raises
    ------
    FitDivergedError
        When the loss is no longer finite.
    """
    stopping = training.early_stopping
    training_rows, held_out_rows = hold_out(data, training, seed)
    tensors = rows_of(data, training_rows)
    held_out = None if held_out_rows is None else rows_of(data, held_out_rows)
    session.begin(state.weights, state.optimizer, dropout_rates)
    n_rows = len(tf.nest.flatten(tensors)[0])
    if learning_rate is not None:
        session.model.optimizer.learning_rate = learning_rate
    hooks = EpochCallbacks(callbacks, session.model)
    hooks.begin()
    if state.epoch:
        logger.debug("training goes on from epoch %d", state.epoch)
    stored = time.monotonic()
    while state.epoch < training.epochs and not state.stopped:
        epoch = state.epoch
        if learning_rate is not None and training.schedule != "none":
            session.model.optimizer.learning_rate = learning_rate_at(
                training, learning_rate, horizon, state.history
            )
        hooks.begin_epoch(epoch)
        order = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(n_rows)
        started = time.perf_counter()
        scores = session.run_epoch(
            tensors, order, training.batch_size, derive_seed(seed, "layers", epoch)
        )
        state.epoch_s = time.perf_counter() - started
        if held_out is not None:
            scores |= {f"val_{k}": v for k, v in session.evaluate(held_out).items()}
        for name, value in scores.items():
            state.history.setdefault(name, []).append(value)
        if not math.isfinite(scores["loss"]):
            raise FitDivergedError(f"the loss became {scores['loss']} in epoch {epoch + 1}")
        if stopping.patience is not None:
            _note_improvement(state, session, stopping.min_delta, stopping.patience)
        if hooks.end_epoch(epoch, scores):
            break
        if checkpoint is not None and time.monotonic() - stored >= checkpoint_s:
            checkpoint(_with_weights(state, session))
            stored = time.monotonic()
    hooks.end()
    return _with_weights(state, session)


def _with_weights(state: TrainingState, session: Session) -> TrainingState:
    """Take over the session's weights and optimizer state."""
    state.weights = session.model.get_weights()
    state.optimizer = session.optimizer_state
    return state


def hold_out(
    data: tuple[Any, ...], training: Training, seed: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Row numbers to train on and to judge by, shape (n,); None twice without early stopping."""
    if training.early_stopping.patience is None:
        return None, None
    n_rows = len(data[1])
    rows = np.random.default_rng(derive_seed(seed, "held out")).permutation(n_rows)
    n_held_out = min(
        max(1, round(n_rows * training.early_stopping.validation_fraction)), n_rows - 1
    )
    return np.sort(rows[n_held_out:]), np.sort(rows[:n_held_out])


def rows_of(data: tuple[Any, ...], rows: np.ndarray | None) -> tuple[Any, ...]:
    """Tensors of some rows of every part of `data`; None takes all."""

    def convert(part: Any) -> Any:
        return tf.convert_to_tensor(part if rows is None else part[rows])

    tensors: tuple[Any, ...] = tf.nest.map_structure(convert, data)
    return tensors


def learning_rate_at(
    training: Training, start: float, horizon: int, history: dict[str, list[float]]
) -> float:
    """Learning rate of the next epoch."""
    epoch = len(history.get("loss", ()))
    if training.schedule == "cosine":
        # Loshchilov & Hutter, 2016 (SGDR), one cycle.
        return start * 0.5 * (1 + math.cos(math.pi * epoch / horizon))
    if training.schedule == "plateau":
        return start * _PLATEAU_FACTOR ** _n_plateaus(
            history.get("val_loss") or history.get("loss", [])
        )
    return start


def _n_plateaus(losses: list[float]) -> int:
    """How often the loss has gone without improvement for a number of epochs in a row."""
    best, stalled, plateaus = math.inf, 0, 0
    for loss in losses:
        stalled = 0 if loss < best else stalled + 1
        best = min(best, loss)
        if stalled == _PLATEAU_EPOCHS:
            plateaus, stalled = plateaus + 1, 0
    return plateaus


def _note_improvement(
    state: TrainingState, session: Session, min_delta: float, patience: int
) -> None:
    losses = state.history["val_loss"]
    best_before = losses[state.best_epoch] if state.best is not None else math.inf
    if losses[-1] < best_before - min_delta or state.best is None:
        state.best, state.best_epoch = session.model.get_weights(), state.epoch - 1
    state.stopped = state.epoch - 1 - state.best_epoch >= patience
