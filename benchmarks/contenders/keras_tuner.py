"""KerasTuner's search loop, with cross-validation in ``run_trial``."""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import keras_tuner
import numpy as np

from benchmarks.contenders.report import report
from benchmarks.networks import build
from benchmarks.workloads import WORKLOADS


def main() -> None:
    workload = WORKLOADS[sys.argv[1]]
    X, y = workload.arrays()
    found: list[float] = []

    class CrossValidated(keras_tuner.GridSearch):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
            scores = []
            for train, test in workload.folds().split(X, y):
                model = self.hypermodel.build(trial.hyperparameters)
                model.fit(
                    X[train], y[train], workload.batch_size, epochs=workload.epochs, verbose=0
                )
                scores.append(model.evaluate(X[test], y[test], verbose=0)[1])
            found.append(float(np.mean(scores)))
            return {"val_accuracy": found[-1]}

    def hypermodel(hp: Any) -> Any:
        chosen = {name: hp.Choice(name, values) for name, values in workload.space.items()}
        return build(workload.model, X.shape[1:], len(set(y)), **workload.fixed, **chosen)

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        tuner = CrossValidated(
            hypermodel,
            objective=keras_tuner.Objective("val_accuracy", "max"),
            max_trials=len(workload.candidates),
            seed=0,
            directory=folder,
        )
        tuner.search(verbose=0)
        report(time.perf_counter() - started, found)


if __name__ == "__main__":
    main()
