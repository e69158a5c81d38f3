"""The same rows, folds, candidates, epochs and batch sizes for every contender."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, StratifiedKFold

from runner.data import sources
from runner.data.dataset import DataOptions, Dataset
from runner.data.load import load_dataset
from runner.seeds import derive_seed

MNIST = Path(
    os.environ.get("MNIST", Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist.npz")
)
N_SPLITS = 3


@dataclass(frozen=True)
class Workload:
    """One search.

    ``space`` maps hyper-parameter names of the model (and ``learning_rate``) to values; all
    combinations are candidates. ``fixed`` are the model's other arguments.
    """

    name: str
    data: str
    model: str
    space: Mapping[str, list[Any]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 1
    batch_size: int = 32
    limit: int | None = None

    @property
    def is_network(self) -> bool:
        return self.model != "random_forest"

    @property
    def candidates(self) -> list[dict[str, Any]]:
        return list(ParameterGrid(dict(self.space)))

    def load(self) -> Dataset:
        source = getattr(sources, self.data)
        if self.data == "mnist":
            source = partial(source, path=str(MNIST))
        return load_dataset(source, DataOptions(name=self.data, limit=self.limit))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Training rows as every contender gets them: float32, scaled, labels from 0."""
        data = self.load()
        X = np.asarray(data.X_train, dtype=np.float32)
        if data.is_images:
            X = X / X.max()
        elif self.is_network:
            X = (X - X.mean(axis=0)) / X.std(axis=0)
        return X, np.unique(data.y_train, return_inverse=True)[1]

    def folds(self) -> StratifiedKFold:
        """The folds that the runner makes from seed 0."""
        return StratifiedKFold(N_SPLITS, shuffle=True, random_state=derive_seed(0, "folds"))


_DIGITS = {
    "hidden_layer_one": [32, 64],
    "dropout": [0.1, 0.2, 0.3],
    "learning_rate": [0.01, 0.001],
}
_TUMOURS = {
    "hidden_layer_one": [16, 32, 64],
    "dropout": [0.0, 0.1, 0.2, 0.3, 0.4],
    "learning_rate": [0.01, 0.001],
}
WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("digits-16", "digits", "mlp", _DIGITS, {"hidden_layer_two": 64}, 15, 16),
        Workload("digits-32", "digits", "mlp", _DIGITS, {"hidden_layer_two": 64}, 15, 32),
        Workload(
            "mnist",
            "mnist",
            "mlp",
            {"dropout": [0.2, 0.4], "learning_rate": [0.001, 0.0001]},
            {"hidden_layer_one": 784, "hidden_layer_two": 256},
            epochs=3,
            batch_size=8,
            limit=10_000,
        ),
        Workload(
            "cnn",
            "mnist",
            "cnn",
            {"dropout": [0.1, 0.3], "learning_rate": [0.003, 0.001]},
            {"filters": [8, 16], "dense_units": 32},
            epochs=3,
            batch_size=32,
            limit=4_000,
        ),
        Workload(
            "breast-cancer", "breast_cancer", "mlp", _TUMOURS, {"hidden_layer_two": 16}, 15, 16
        ),
        Workload(
            "forest",
            "wine",
            "random_forest",
            {"n_estimators": [100, 200], "max_depth": [3, 5, None], "min_samples_leaf": [1, 4]},
        ),
    )
}
