"""A classifier whose fit takes a known time, so that what is left is the scheduler's own."""

from __future__ import annotations

import time
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class StandIn(ClassifierMixin, BaseEstimator):
    """Guesses, after `fit_s` seconds.

    Parameters
    ----------
    fit_s
        Seconds that a fit takes.
    spins
        Whether it uses a core meanwhile; sleeping leaves all of them to others.
    x
        Decides the guesses, and so the score.
    """

    def __init__(self, fit_s: float = 0.0, spins: bool = False, x: float = 0.0) -> None:
        self.fit_s = fit_s
        self.spins = spins
        self.x = x

    def fit(self, X: Any, y: Any) -> Self:
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        if self.spins:
            end = time.perf_counter() + self.fit_s
            while time.perf_counter() < end:
                pass
        elif self.fit_s:
            time.sleep(self.fit_s)
        return self

    def predict(self, X: Any) -> np.ndarray:
        guesses = np.random.default_rng(int(self.x * 1e9)).integers(len(self.classes_), size=len(X))
        return self.classes_[guesses]
