"""What the files in conf/ name: data and models of this project.

A function's keyword arguments are keys of its YAML file; annotations say what is allowed, and are
checked before anything is trained. TensorFlow is imported inside, so that checks need not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from runner.models.annotations import DropoutRate, Units
from runner.models.networks import head

if TYPE_CHECKING:
    import keras

Arms = Annotated[int, Field(ge=2)]


def spiral(
    n_rows: Units, arms: Arms = 3, noise: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points on the arms of a spiral: X of shape (n_rows, 2), and the name of each point's arm.

    Put your own here: read a file, query a database. Return ``(X, y)`` and the runner sets test
    rows apart, or ``(X_train, y_train, X_test, y_test)``; arrays or data frames.
    """
    rng = np.random.default_rng(seed)
    arm = np.resize(np.arange(arms), n_rows)
    radius = rng.uniform(0.1, 1.0, n_rows)
    angle = 2 * np.pi * (arm / arms + radius) + rng.normal(scale=noise, size=n_rows)
    X = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return X, np.array([f"arm {number}" for number in arm])


def shortcut_mlp(
    meta: dict[str, Any], units: Units = 32, blocks: Units = 2, dropout: DropoutRate = 0.0
) -> keras.Model:
    """Dense layers with a shortcut around each; `meta` tells what the data is like."""
    import keras

    inputs = keras.Input(meta["X_shape_"][1:])
    x = keras.layers.Dense(units)(inputs)
    for _ in range(blocks):
        x = keras.layers.add([x, keras.layers.Dense(units, activation="relu")(x)])
        x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, head(meta)(x))
