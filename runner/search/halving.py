"""Successive halving over a hyper-parameter that costs time, such as epochs."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from sklearn.model_selection import ParameterSampler
from sklearn.model_selection._search import BaseSearchCV

from runner.config.schema import PositiveInt


class SuccessiveHalving(BaseSearchCV):
    """Start many candidates with little, and go on with the best of them.

    Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
    2016. Rungs are counted down from the largest, so the winner has had exactly `max_resource`.
    scikit-learn's own halving counts up from the smallest and may stop short of it, so its winner
    could not be evaluated again from the config alone.

    Parameters
    ----------
    estimator
        Has the hyper-parameter `resource`.
    param_distributions
        Dictionary, or list of dictionaries, of lists and distributions.
    n_iter
        Number of candidates in the first rung.
    resource
        Name of the hyper-parameter that grows from rung to rung.
    max_resource
        Its value in the last rung.
    min_resource
        Its smallest value in the first rung.
    factor
        Each rung keeps the best 1/factor of the candidates and gives them factor times as much.
    random_state
        Seed of the draw.
    rank_by
        The scorer that ranks, where there are several.
    """

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        n_iter: PositiveInt = 10,
        resource: str = "training.epochs",
        max_resource: PositiveInt = 20,
        min_resource: PositiveInt = 1,
        factor: Annotated[int, Field(ge=2)] = 3,
        random_state: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str = True,
        cv: Any = None,
        error_score: Any = float("nan"),
        rank_by: str = "score",
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            error_score=error_score,
            return_train_score=False,
        )
        self.param_distributions = param_distributions
        self.n_iter = n_iter
        self.resource = resource
        self.max_resource = max_resource
        self.min_resource = min_resource
        self.factor = factor
        self.random_state = random_state
        self.rank_by = rank_by

    def rungs(self) -> list[int]:
        """The resource of each rung, ascending to `max_resource`."""
        by_resource = _log_floor(self.max_resource / self.min_resource, self.factor)
        by_candidates = _log_floor(self.n_iter, self.factor)
        highest = min(by_resource, by_candidates)
        rungs = [math.ceil(self.max_resource / self.factor**k) for k in range(highest, -1, -1)]
        return sorted(set(rungs))

    def _run_search(self, evaluate_candidates: Any) -> None:
        candidates = list(
            ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state)
        )
        for rung, amount in enumerate(self.rungs()):
            results = evaluate_candidates(
                [{**candidate, self.resource: amount} for candidate in candidates],
                more_results={
                    "iter": [rung] * len(candidates),
                    "n_resources": [amount] * len(candidates),
                },
            )
            scores = mean_scores(results, self.rank_by)[-len(candidates) :]
            # Stable, best first; failed candidates (NaN) last.
            order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
            kept = order[: math.ceil(len(candidates) / self.factor)]
            candidates = [candidates[index] for index in sorted(kept)]


def n_fits_by_rung(n_iter: int, rungs: list[int], factor: int) -> list[tuple[int, int]]:
    """(candidates, resource) of each rung."""
    counts = [n_iter]
    for _ in rungs[1:]:
        counts.append(math.ceil(counts[-1] / factor))
    return list(zip(counts, rungs, strict=True))


def mean_scores(results: Any, metric: str) -> np.ndarray:
    """Mean over folds of each candidate in ``cv_results_``, NaN where it failed; shape (n,)."""
    return np.asarray(results[f"mean_test_{metric}"], dtype=float)


def _log_floor(value: float, base: int) -> int:
    return max(0, math.floor(math.log(value) / math.log(base) + 1e-9))
