"""A real search on real data, tuned against a baseline, for everything that shows results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.metrics import r2_score
from sklearn.model_selection import RandomizedSearchCV, cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from runner.results import statistics
from runner.results.report.predictions import Fitted
from runner.results.report.run import ReportDetails
from runner.results.schema import (
    DataSummary,
    Evaluation,
    Result,
    Timing,
    TrialCounts,
)
from runner.results.trials import trials_table

SPACE = {
    "max_depth": [2, 3, 4, 6, 8, 12, None],
    "min_samples_leaf": list(range(1, 21)),
    "max_features": ["sqrt", "log2", None],
    "ccp_alpha": list(np.geomspace(1e-5, 1e-2, 30)),
}


@dataclass(frozen=True)
class Run:
    """All that a run hands to the results package."""

    result: Result
    trials: pd.DataFrame
    details: ReportDetails


def _tune(task, data, baseline, name):
    X, y = data
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    search = RandomizedSearchCV(clone(baseline), SPACE, n_iter=12, cv=3, random_state=0)
    search.fit(X_train, y_train)
    folds = cross_val_score(baseline, X_train, y_train, cv=3)
    scoring = "accuracy" if task == "classification" else "r2"
    fitted = [_fitted(model, X_test) for model in (baseline.fit(X_train, y_train), search)]
    predictions = [model.y_pred for model in fitted]

    def evaluate(params, scores, y_pred):
        def score(rows):
            return r2_score(y_test[rows], y_pred[rows])

        whole = np.mean(y_pred == y_test) if scoring == "accuracy" else r2_score(y_test, y_pred)
        interval = statistics.test_interval(scoring, y_test, y_pred, score, 0)
        test = {scoring: float(whole)}
        return Evaluation(params, scores.mean(), scores.std(), list(scores), test, interval)

    n_classes = len(np.unique(y)) if task == "classification" else None
    trials = trials_table(search.cv_results_)
    best_folds = trials.filter(like="split").loc[search.best_index_].to_numpy(dtype=float)
    result = Result(
        status="completed",
        task=task,
        name={"data": name, "model": "tree", "search": "random"},
        seed=0,
        scoring=scoring,
        overrides=["model=tree"],
        environment={"python": "3.11", "packages": {"numpy": np.__version__}, "n_cpus": 2},
        data=DataSummary(len(y_train), len(y_test), X.shape[1:], n_classes, "f00d"),
        baseline=evaluate({"max_depth": 4}, folds, predictions[0]),
        best=evaluate(search.best_params_, best_folds, predictions[1]),
        comparison=statistics.compare(task, y_test, predictions[1], predictions[0], 0),
        trials=TrialCounts(12, 36, 0),
        timing=Timing(83.2, 61.5, 4.1),
    )
    details = ReportDetails(
        X_test=X_test.reshape(-1, 8, 8) if name == "digits" else X_test,
        y_test=y_test,
        classes=None if n_classes is None else list(np.unique(y)),
        winner=fitted[1],
        baseline=fitted[0],
        commands=[("The whole run:", "runner model=tree")],
    )
    return Run(result, trials, details)


def _fitted(model, X_test):
    chances = model.predict_proba(X_test) if hasattr(model, "predict_proba") else None
    return Fitted(model.predict(X_test), chances)


@pytest.fixture(scope="session")
def digits_run() -> Run:
    data = load_digits(return_X_y=True)
    return _tune(
        "classification", data, DecisionTreeClassifier(max_depth=4, random_state=0), "digits"
    )


@pytest.fixture(scope="session")
def diabetes_run() -> Run:
    data = load_diabetes(return_X_y=True)
    return _tune("regression", data, DecisionTreeRegressor(max_depth=4, random_state=0), "diabetes")


@pytest.fixture(scope="session")
def curves() -> dict[str, list[float]]:
    """Loss and accuracy of a real network, epoch by epoch."""
    X, y = load_digits(return_X_y=True)
    network = MLPClassifier((16,), random_state=0)
    values = {"loss": [], "val_accuracy": []}
    for _ in range(8):
        network.partial_fit(X[:600] / 16, y[:600], classes=range(10))
        values["loss"].append(network.loss_)
        values["val_accuracy"].append(network.score(X[600:900] / 16, y[600:900]))
    return values
