"""The article's way: scikeras under GridSearchCV(n_jobs=-1)."""

from __future__ import annotations

import sys
import time
from typing import Any

from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from benchmarks.contenders.report import report
from benchmarks.networks import build
from benchmarks.workloads import WORKLOADS, Workload


def mlp(
    shape: tuple[int, ...],
    n_classes: int,
    hidden_layer_one: int,
    hidden_layer_two: int,
    dropout: float,
    learning_rate: float,
) -> Any:
    return build("mlp", **locals())


def cnn(
    shape: tuple[int, ...],
    n_classes: int,
    filters: list[int],
    dense_units: int,
    dropout: float,
    learning_rate: float,
) -> Any:
    return build("cnn", **locals())


def network(workload: Workload, shape: tuple[int, ...], n_classes: int) -> Any:
    from scikeras.wrappers import KerasClassifier

    return KerasClassifier(
        model={"mlp": mlp, "cnn": cnn}[workload.model],
        model__shape=shape,
        model__n_classes=n_classes,
        **{f"model__{name}": value for name, value in workload.fixed.items()},
        **{f"model__{name}": values[0] for name, values in workload.space.items()},
        epochs=workload.epochs,
        batch_size=workload.batch_size,
        random_state=0,
        verbose=0,
    )


def main() -> None:
    workload = WORKLOADS[sys.argv[1]]
    X, y = workload.arrays()
    estimator: Any = RandomForestClassifier(random_state=0)
    grid = dict(workload.space)
    if workload.is_network:
        estimator = network(workload, X.shape[1:], len(set(y)))
        grid = {f"model__{name}": values for name, values in workload.space.items()}
    started = time.perf_counter()
    search = GridSearchCV(
        estimator, grid, cv=workload.folds(), n_jobs=-1, refit=False, scoring="accuracy"
    ).fit(X, y)
    report(time.perf_counter() - started, search.cv_results_["mean_test_score"])


if __name__ == "__main__":
    main()
