"""Runs too big to be searched in a test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="session")
def many_trials(digits_run) -> pd.DataFrame:
    """A thousand candidates of twenty parameters."""
    rng = np.random.default_rng(0)
    trials = pd.concat([digits_run.trials] * 84, ignore_index=True).head(1000)
    scores = rng.uniform(size=1000)
    trials["mean_test_score"], trials["rank"] = scores, 1 + np.argsort(np.argsort(-scores))
    for i in range(16):
        trials[f"model.long_name_{i}"] = [float(value) for value in 10 ** rng.uniform(-5, -1, 1000)]
    return trials
