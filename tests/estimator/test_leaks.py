"""Fits that share a compiled model are what each is alone in a process of its own.

Run with a candidate's name, this file prints what that candidate's fit comes to.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from runner.estimator.base import ConfigClassifier

ROWS = slice(0, 300)
MODEL = {"_target_": "runner.models.networks.deep_mlp", "hidden_units": [24, 12]}
STOP = {"_target_": "keras.callbacks.EarlyStopping", "monitor": "loss", "min_delta": 100.0}
SLOW_DOWN = {**STOP, "_target_": "keras.callbacks.ReduceLROnPlateau", "patience": 1}

# One architecture, and everything else that a fit could leave behind.
CANDIDATES: dict[str, dict[str, Any]] = {
    "weighted": {
        "model": {"dropout": 0.4},
        "training": {"batch_size": 16, "class_weight": "balanced", "callbacks": [SLOW_DOWN]},
        "preprocess": {"name": "standard"},
    },
    "scheduled": {
        "model": {"dropout": 0.1},
        "optimizer": {"learning_rate": 0.01},
        "training": {"schedule": "cosine", "early_stopping": {"patience": 1}},
    },
    "stopped": {
        "model": {"dropout": 0.2},
        "optimizer": {"learning_rate": 0.03},
        "training": {"epochs": 9, "callbacks": [STOP]},
    },
}


def outcome(name: str) -> str:
    """A digest of the fit's weights, curves and predictions, to the last bit."""
    sections = CANDIDATES[name]
    config = {
        **sections,
        "model": {**MODEL, **sections["model"]},
        "training": {"epochs": 4, **sections["training"]},
    }
    digits = load_digits()
    X, y = digits.images[ROWS].astype(np.uint8), digits.target[ROWS]
    fitted = ConfigClassifier(config).fit(X, y)
    parts = [w.tobytes() for w in fitted.model_.weights_] + [fitted.predict_proba(X).tobytes()]
    return hashlib.sha256(b"".join(parts) + repr(fitted.history_).encode()).hexdigest()


def test_kernels_are_forgotten_after_so_many_models(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorflow.python.eager.context import Context

    from runner.estimator import network

    clear, cleared = Context.clear_kernel_cache, []
    monkeypatch.setattr(network, "_MOST_BUILT", 2)
    monkeypatch.setattr(
        Context, "clear_kernel_cache", lambda self: (cleared.append(1), clear(self))
    )
    digits = load_digits()
    config = {"model": {**MODEL, "dropout": 0.3}, "training": {"epochs": 2}}
    predicted = []
    for seed in (1, 2, 3, 4, 5, 1):
        fitted = ConfigClassifier(config, seed=seed).fit(digits.images[ROWS], digits.target[ROWS])
        predicted.append(fitted.predict_proba(digits.images[ROWS]).tobytes())
    assert 2 <= len(cleared) <= 3
    assert predicted[0] == predicted[-1]
    assert len({*predicted}) == 5


@pytest.mark.slow
def test_interleaved_fits_are_those_of_fresh_processes() -> None:
    from runner.training import session

    session._sessions.clear()
    together = [(name, outcome(name)) for name in [*CANDIDATES, *reversed(CANDIDATES)]]
    assert len(session._sessions) == 1
    alone = {
        name: subprocess.run(
            [sys.executable, __file__, name], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in CANDIDATES
    }
    assert len(set(alone.values())) == len(CANDIDATES)
    assert together == [(name, alone[name]) for name, _ in together]


if __name__ == "__main__":
    sys.stdout.write(outcome(sys.argv[1]))
