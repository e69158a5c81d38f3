"""What one fit is, and what follows from it whichever way it is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from runner.config.schema import Training
from runner.seeds import derive_seed

_PLATEAU_EPOCHS = 3
_PLATEAU_FACTOR = 0.5


@dataclass(frozen=True)
class Fit:
    """All that decides the course of a fit, but the weights that it starts from.

    Parameters
    ----------
    data
        Arrays (x, y) or (x, y, sample_weight); x may be nested.
    seed
        Of row order, held-out rows and everything random inside the model.
    learning_rate
        At the start; None keeps what the model was compiled with.
    horizon
        Epochs that a cosine schedule spans.
    dropout_rates
        Of the Dropout layers that a session takes over; None keeps the model's.
    callbacks
        Keras callbacks.
    """

    data: tuple[Any, ...]
    training: Training
    seed: int
    learning_rate: float | None
    horizon: int
    dropout_rates: list[float] | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()

    def tensors(self) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
        """Rows to train on, and rows to judge by (None without early stopping)."""
        stopping = self.training.early_stopping
        if stopping.patience is None:
            return _rows(self.data, None), None
        n_rows = len(self.data[1])
        rows = np.random.default_rng(derive_seed(self.seed, "held out")).permutation(n_rows)
        n_held_out = min(max(1, round(n_rows * stopping.validation_fraction)), n_rows - 1)
        return (
            _rows(self.data, np.sort(rows[n_held_out:])),
            _rows(self.data, np.sort(rows[:n_held_out])),
        )

    @property
    def scheduled(self) -> bool:
        """Whether the learning rate changes from epoch to epoch."""
        return self.learning_rate is not None and self.training.schedule != "none"

    def learning_rate_after(self, history: dict[str, list[float]]) -> float:
        """Learning rate of the epoch after those of `history`, for a fit that has one."""
        start = self.learning_rate or 0.0
        if self.training.schedule == "cosine":
            # Loshchilov & Hutter, 2016 (SGDR), one cycle.
            epoch = max(map(len, history.values()), default=0)
            return start * 0.5 * (1 + math.cos(math.pi * epoch / self.horizon))
        if self.training.schedule == "plateau":
            losses = history.get("val_loss") or history.get("loss", [])
            return start * _PLATEAU_FACTOR ** _n_plateaus(losses)
        return start


def _rows(data: tuple[Any, ...], rows: np.ndarray | None) -> tuple[Any, ...]:
    """Tensors of some rows of every part of `data`; None takes all."""

    def convert(part: Any) -> Any:
        return tf.convert_to_tensor(part if rows is None else part[rows])

    tensors: tuple[Any, ...] = tf.nest.map_structure(convert, data)
    return tensors


def _n_plateaus(losses: list[float]) -> int:
    """How often the loss has gone without improvement for a number of epochs in a row."""
    best, stalled, plateaus = math.inf, 0, 0
    for loss in losses:
        stalled = 0 if loss < best else stalled + 1
        best = min(best, loss)
        if stalled == _PLATEAU_EPOCHS:
            plateaus, stalled = plateaus + 1, 0
    return plateaus
