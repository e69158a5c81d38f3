"""The one look at the test rows: refit, score, compare."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone

from runner.estimator.base import ConfigEstimator
from runner.preparation import Experiment
from runner.results.schema import Comparison, Evaluation
from runner.results.statistics import compare, test_interval
from runner.search.scoring import Predictions


@dataclass(frozen=True)
class Judged:
    """A configuration with its cross-validated scores and, after refitting, the test rows'."""

    evaluation: Evaluation
    estimator: ConfigEstimator
    predictions: Predictions


def judge(experiment: Experiment, evaluation: Evaluation) -> Judged:
    """Refit on all training rows, and score the test rows."""
    data, scoring = experiment.data, experiment.scoring
    estimator = clone(experiment.estimator).set_params(**evaluation.params)
    estimator.fit(data.X_train, data.y_train)
    predictions = Predictions.of(estimator, data.X_test)
    rows = np.arange(data.n_test)
    test = scoring.scores(predictions, rows, data.y_test)

    def score(sample: np.ndarray) -> float:
        return scoring.score(scoring.refit, predictions, sample, data.y_test[sample])

    interval = test_interval(
        scoring.refit,
        data.y_test,
        predictions.answers["predict"],
        score,
        experiment.config.seed,
    )
    return Judged(replace(evaluation, test=test, test_ci95=interval), estimator, predictions)


def compare_judged(experiment: Experiment, best: Judged, baseline: Judged) -> Comparison:
    return compare(
        experiment.data.task,
        experiment.data.y_test,
        best.predictions.answers["predict"],
        baseline.predictions.answers["predict"],
        experiment.config.seed,
    )
