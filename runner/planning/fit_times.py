"""How long fits take, from a few timed steps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing

from runner.data.dataset import Array
from runner.estimator.base import ConfigEstimator
from runner.preparation import Experiment
from runner.searching import splits

_FEW_STEPS = 10
_FEW_ROWS = 100
_ENOUGH_S = 0.2  # of training, to be told from noise
_MOST_SCORED = 2048  # rows that a network predicts at a time


@dataclass(frozen=True)
class FitTimes:
    """What one fit on a fold, and scoring it, takes; all in seconds.

    Parameters
    ----------
    compile_s
        Once in each process for each architecture of a network.
    set_up_s
        Every fit, whatever its epochs; for a model without epochs, the fit.
    step_s, n_steps
        Of an epoch: each step, and how many there are.
    score_s
        Predicting and scoring the held-out rows.
    """

    compile_s: float
    set_up_s: float
    step_s: float
    n_steps: int
    score_s: float

    @property
    def epoch_s(self) -> float:
        return self.step_s * self.n_steps

    def evaluation_s(self, epochs: int) -> float:
        """One fit of so many epochs with its scoring, the model being compiled."""
        return self.set_up_s + epochs * self.epoch_s + self.score_s


def time_fit(experiment: Experiment, params: Mapping[str, Any]) -> FitTimes:
    """Time a candidate on part of one fold, a second or so, and reckon what the whole takes.

    Raises
    ------
    Exception
        Whatever the fit fails with.
    """
    rows, held_out = next(splits(experiment))
    estimator = clone(experiment.estimator).set_params(**params)
    timed = _Timed(experiment, estimator, rows, held_out)
    return timed.network() if experiment.is_network else timed.learner()


def n_steps(n_rows: int, batch_size: int) -> int:
    """Steps of an epoch."""
    return math.ceil(n_rows / batch_size)


@dataclass(frozen=True)
class _Timed:
    experiment: Experiment
    estimator: ConfigEstimator
    rows: Array
    held_out: Array

    def network(self) -> FitTimes:
        """Compile with a few steps, then time as many as it takes to be sure."""
        batch_size = int(self.estimator.leaves()["training.batch_size"])
        n_all = n_steps(len(self.rows), batch_size)
        first = self._trained(_FEW_STEPS * batch_size, batch_size, epochs=2)
        enough = min(n_all, max(_FEW_STEPS, round(_ENOUGH_S / max(first.step_s, 1e-6))))
        second = self._trained(enough * batch_size, batch_size, epochs=2)
        again = first.set_up_s + first.score_s - second.set_up_s - second.score_s
        return replace(second, compile_s=max(0.0, again), n_steps=n_all)

    def _trained(self, n_rows: int, batch_size: int, epochs: int) -> FitTimes:
        some = self._some(n_rows)
        fit_s = self._fit_s(some, epochs)
        epoch_s = self.estimator.model_.epoch_s_
        if not epoch_s:  # Keras's own fit doesn't tell
            epoch_s = max(0.0, self._fit_s(some, 2 * epochs) - fit_s) / epochs
        steps = n_steps(len(some), batch_size)
        set_up_s = max(0.0, fit_s - epochs * epoch_s)
        return FitTimes(0.0, set_up_s, epoch_s / steps, steps, self._score_s())

    def learner(self) -> FitTimes:
        """Fit more and more rows; where all of them would take long, go by how it grew."""
        n_rows, before = min(_FEW_ROWS, len(self.rows)), None
        while True:
            fit_s = self._fit_s(self._some(n_rows))
            if n_rows == len(self.rows):
                break
            if fit_s > _ENOUGH_S:
                power = 1.0 if before is None else math.log(fit_s / before[1], n_rows / before[0])
                fit_s *= (len(self.rows) / n_rows) ** min(max(power, 0.0), 3.0)
                break
            n_rows, before = min(4 * n_rows, len(self.rows)), (n_rows, fit_s)
        return FitTimes(0.0, fit_s, 0.0, 0, self._score_s())

    def _fit_s(self, rows: Array, epochs: int | None = None) -> float:
        if epochs is not None:
            self.estimator.set_params(**{"training.epochs": epochs})
        data = self.experiment.data
        self.estimator.fit(_safe_indexing(data.X_train, rows), data.y_train[rows])
        return self.estimator.fit_s_

    def _score_s(self) -> float:
        data, rows = self.experiment.data, self.held_out[:_MOST_SCORED]
        X, y = _safe_indexing(data.X_train, rows), data.y_train[rows]
        started = time.perf_counter()
        self.experiment.scoring.scores(self.estimator, X, y)
        return (time.perf_counter() - started) * len(self.held_out) / len(rows)

    def _some(self, n_rows: int) -> Array:
        """About `n_rows` rows of the fold, spread evenly, every class among them."""
        places = np.linspace(0, len(self.rows) - 1, min(n_rows, len(self.rows))).astype(int)
        if self.experiment.data.classes is not None:
            labels = self.experiment.data.y_train[self.rows]
            places = np.union1d(places, np.unique(labels, return_index=True)[1])
        some: Array = self.rows[places]
        return some
