"""Which parameters are found to have mattered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from runner.results.report.importance import importances, n_best

PATHS = ["model.deep", "model.kind", "optimizer.rate", "training.noise"]


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """The rate decides, the kind helps, the rest is noise; every tenth candidate has no depth."""
    rng = np.random.default_rng(0)
    n = 80
    table = pd.DataFrame(index=range(n))
    rates, kinds = 10 ** rng.uniform(-4, -1, n), rng.choice(["a", "b"], n)
    scores = -((np.log10(rates) + 2) ** 2) - 0.3 * (kinds == "a") + rng.normal(0, 0.05, n)
    table["rank"] = 1 + np.argsort(np.argsort(-scores))
    table["mean_test_score"], table["status"] = scores, "completed"
    deep = [float("nan") if i % 10 == 0 else int(rng.integers(1, 9)) for i in range(n)]
    values = (deep, [None if kind == "a" else kind for kind in kinds], rates, rng.uniform(size=n))
    for path, column in zip(PATHS, values, strict=True):
        table[path] = pd.Series(list(column), dtype=object)
    return table


def test_the_parameter_that_decides_comes_first_and_shares_add_up(trials):
    shares = importances(trials, PATHS)
    assert set(shares) == set(PATHS)
    assert next(iter(shares)) == "optimizer.rate"
    assert shares["optimizer.rate"] > 2 * max(shares["model.deep"], shares["training.noise"])
    assert sum(shares.values()) == pytest.approx(1)


def test_failed_candidates_do_not_count(trials):
    failed = trials.assign(status=["completed"] * 9 + ["failed"] * 71)
    assert importances(failed, PATHS) == {}
    assert importances(trials.assign(status=["completed"] * 40 + ["failed"] * 40), PATHS)


def test_only_the_order_of_candidates_counts(trials):
    stopped = trials.assign(mean_test_score=trials["mean_test_score"] - 100, status="stopped")
    assert importances(stopped, PATHS) == importances(trials, PATHS)


def test_the_best_are_a_tenth_but_five_at_least():
    assert [n_best(n) for n in (10, 50, 1000)] == [5, 5, 100]


def test_what_makes_candidates_the_worst_is_not_what_makes_them_the_best():
    rng = np.random.default_rng(0)
    good, bad = rng.uniform(size=100), rng.uniform(size=100)
    scores = rng.uniform(0, 0.5, 100) + (abs(good - 0.5) < 0.05) - (bad > 0.9)
    trials = pd.DataFrame({"rank": 1 + np.argsort(np.argsort(-scores)), "status": "completed"})
    for name, values in (("good", good), ("bad", bad)):
        trials[name] = pd.Series([float(value) for value in values], dtype=object)
    assert next(iter(importances(trials, ["bad", "good"]))) == "good"
