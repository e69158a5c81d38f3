"""The epochs of one fit: order of rows, learning rate, early stopping."""

from __future__ import annotations

import logging
import math
import time
from functools import partial

import numpy as np
import tensorflow as tf

from runner.errors import listing
from runner.seeds import derive_seed
from runner.training.callbacks import EpochCallbacks
from runner.training.fit import Fit
from runner.training.session import Session
from runner.training.states import Checkpoint, TrainingState

logger = logging.getLogger(__name__)


class FitDivergedError(ArithmeticError):
    """The loss became NaN or infinite."""


def train(
    session: Session, fit: Fit, state: TrainingState, checkpoint: Checkpoint | None = None
) -> TrainingState:
    """Train from `state` up to ``training.epochs`` epochs.

    Everything random in an epoch depends on (seed, epoch) alone, so stopping after 3 epochs and
    going on to 9 gives the same weights, to the last bit, as 9 at once.

    Raises
    ------
    FitDivergedError
        When the loss is no longer finite.
    """
    training = fit.training
    rows, held_out = fit.tensors()
    n_rows = len(tf.nest.flatten(rows)[0])
    session.begin(state.weights, state.optimizer, fit.dropout_rates)
    if fit.learning_rate is not None:
        session.model.optimizer.learning_rate = fit.learning_rate
    n_steps = math.ceil(n_rows / training.batch_size)
    hooks = EpochCallbacks(fit.callbacks, session.model, training.epochs, n_steps)
    hooks.begin()
    if state.epoch:
        logger.debug("training goes on from epoch %d", state.epoch)
    while state.epoch < training.epochs and not state.stopped:
        epoch = state.epoch
        if fit.scheduled:
            session.model.optimizer.learning_rate = fit.learning_rate_after(state.history)
        hooks.begin_epoch(epoch)
        order = np.random.default_rng(derive_seed(fit.seed, "order", epoch)).permutation(n_rows)
        started = time.perf_counter()
        scores = session.run_epoch(
            rows, order, training.batch_size, derive_seed(fit.seed, "layers", epoch)
        )
        state.epoch_s = time.perf_counter() - started
        if held_out is not None:
            scores |= {f"val_{k}": v for k, v in session.evaluate(held_out).items()}
        for name, value in scores.items():
            state.history.setdefault(name, []).append(value)
        check_finite(state.history)
        if training.early_stopping.patience is not None:
            _note_improvement(state, session, fit)
        if hooks.end_epoch(epoch, scores):
            break
        if checkpoint is not None:
            checkpoint.after_epoch(state, partial(_with_weights, state, session))
    hooks.end()
    return _with_weights(state, session)


def _with_weights(state: TrainingState, session: Session) -> TrainingState:
    """Take over the session's weights and optimizer state."""
    state.weights = session.model.get_weights()
    state.optimizer = session.optimizer_state
    return state


def check_finite(history: dict[str, list[float]]) -> None:
    """Raise `FitDivergedError` when the last epoch's loss is not a finite number."""
    losses = history.get("loss", ())
    if losses and not math.isfinite(losses[-1]):
        raise FitDivergedError(f"the loss became {losses[-1]} in epoch {len(losses)}")


def _note_improvement(state: TrainingState, session: Session, fit: Fit) -> None:
    stopping = fit.training.early_stopping
    losses = state.history.get("val_loss")
    if not losses:
        reported = listing(name for name in state.history if name.startswith("val_"))
        raise ValueError(
            f"training.early_stopping needs val_loss; the model's test_step reports {reported}"
        )
    best_before = losses[state.best_epoch] if state.best is not None else math.inf
    if losses[-1] < best_before - stopping.min_delta or state.best is None:
        state.best, state.best_epoch = session.model.get_weights(), state.epoch - 1
    state.stopped = state.epoch - 1 - state.best_epoch >= (stopping.patience or 0)
