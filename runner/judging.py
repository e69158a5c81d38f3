"""The one look at the test rows: refit, score, compare."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone

from runner.clusters.backend import Backend
from runner.compute import Processes
from runner.estimator.base import ConfigEstimator
from runner.preparation import Experiment
from runner.results.schema import Comparison, Evaluation
from runner.results.statistics import compare, test_interval
from runner.search.scoring import Predictions
from runner.training.runtime import start_tensorflow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """A configuration with its cross-validated scores and, after refitting, the test rows'."""

    evaluation: Evaluation
    estimator: ConfigEstimator
    predictions: Predictions
    refit_s: float


def judge_each(
    experiment: Experiment,
    evaluations: Sequence[Evaluation],
    processes: Processes,
    backend: Backend,
) -> list[Judged]:
    """Judge configurations where the fits were done: side by side in workers, if there are any."""
    if processes.on_cluster or processes.n_jobs > 1 < len(evaluations):
        if experiment.is_network:
            # What workers send back brings it along, less quietly.
            start_tensorflow(experiment.config.compute.threads)
        try:
            with backend.at_work([experiment], experiment.config.search.retries):
                judged: list[Judged] = Parallel(min(processes.n_jobs, len(evaluations)))(
                    delayed(judge)(experiment, evaluation) for evaluation in evaluations
                )
        except backend.deaths:
            logger.warning("a worker process died while refitting; refitting in this process")
        else:
            return judged
    return [judge(experiment, evaluation) for evaluation in evaluations]


def judge(experiment: Experiment, evaluation: Evaluation) -> Judged:
    """Refit on all training rows, and score the test rows."""
    started = time.perf_counter()
    data, scoring = experiment.data, experiment.scoring
    estimator = clone(experiment.estimator).set_params(**evaluation.params)
    estimator.fit(data.X_train, data.y_train)
    refit_s = time.perf_counter() - started
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
    judged = replace(evaluation, test=test, test_ci95=interval)
    return Judged(judged, estimator, predictions, refit_s)


def compare_judged(experiment: Experiment, best: Judged, baseline: Judged) -> Comparison:
    return compare(
        experiment.data.task,
        experiment.data.y_test,
        best.predictions.answers["predict"],
        baseline.predictions.answers["predict"],
        experiment.config.seed,
    )
