"""Plain Keras in an Optuna objective."""

from __future__ import annotations

import sys
import time

import numpy as np
import optuna

from benchmarks.contenders.report import report
from benchmarks.networks import build
from benchmarks.workloads import WORKLOADS


def main() -> None:
    workload = WORKLOADS[sys.argv[1]]
    X, y = workload.arrays()

    def objective(trial: optuna.Trial) -> float:
        chosen = {
            name: trial.suggest_categorical(name, values) for name, values in workload.space.items()
        }
        scores = []
        for train, test in workload.folds().split(X, y):
            model = build(workload.model, X.shape[1:], len(set(y)), **workload.fixed, **chosen)
            model.fit(X[train], y[train], workload.batch_size, epochs=workload.epochs, verbose=0)
            scores.append(model.evaluate(X[test], y[test], verbose=0)[1])
        return float(np.mean(scores))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    started = time.perf_counter()
    sampler = optuna.samplers.GridSampler(dict(workload.space), seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=len(workload.candidates))
    report(time.perf_counter() - started, [trial.value for trial in study.trials])


if __name__ == "__main__":
    main()
