"""A search scores its candidates alike, trained fast or through Keras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import run_command
from scipy.stats import ttest_rel

SMALL = (
    "data=digits",
    "model=mlp",
    "model.hidden_layer_one=64",
    "model.hidden_layer_two=32",
    "space=none",
    "space.model.dropout={low:0.0,high:0.5}",
    "space.optimizer.learning_rate={low:3e-4,high:1e-2,log:true}",
    "space.training.batch_size=[16,32,64]",
    "training.epochs=5",
    "search.n_iter=20",
    "compute.n_jobs=1",
)


@pytest.mark.slow
def test_20_candidates_score_the_same_on_average(folder: Path) -> None:
    scores = []
    for fast in ("true", "false"):
        cwd = folder / fast
        cwd.mkdir()
        done = run_command(*SMALL, f"training.fast={fast}", cwd=cwd, timeout_s=3600)
        assert done.code == 0, done.err
        trials = pd.read_csv(done.directory / "trials.csv")
        searched = ["model.dropout", "optimizer.learning_rate", "training.batch_size"]
        scores.append(trials.set_index(searched)["mean_test_score"].sort_index())
    fast, keras_fit = scores
    # The same candidates on the same folds; only order of sums and dropout's draws differ.
    assert fast.index.equals(keras_fit.index)
    assert len(fast) == 20
    difference = fast - keras_fit
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    p_value = ttest_rel(fast, keras_fit).pvalue
    found = (
        f"mean CV fast {fast.mean():.5f}, Keras {keras_fit.mean():.5f}; "
        f"difference {difference.mean():+.5f} ± {error:.5f}, p = {p_value:.2f}"
    )
    assert p_value > 0.01, found
    assert error < 0.005, found
