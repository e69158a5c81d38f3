"""scikit-learn's own estimator checks on the project's classifier and regressor."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from runner.estimator.base import ConfigClassifier, ConfigEstimator, ConfigRegressor

NETWORK = {
    "model": {
        "_target_": "runner.models.networks.mlp",
        "hidden_layer_one": 32,
        "hidden_layer_two": 16,
        "dropout": 0.0,
    },
    "training": {"epochs": 30, "batch_size": 8},
    "optimizer": {"learning_rate": 0.01},
}
FOREST = {
    "model": {
        "_target_": {
            "classification": "sklearn.ensemble.RandomForestClassifier",
            "regression": "sklearn.ensemble.RandomForestRegressor",
        },
        "n_estimators": 10,
    }
}

_ORDER = "row order and seeds derive from the rows, so repeated rows are another fit"
_FLOAT32 = "a network computes in float32: other rows in a batch change the last digit"


def cannot_hold(estimator: ConfigEstimator) -> dict[str, str]:
    """The checks that cannot hold, each with its reason."""
    reasons = {"check_sample_weight_equivalence_on_dense_data": _ORDER}
    if estimator.config is NETWORK:
        reasons["check_methods_sample_order_invariance"] = _FLOAT32
        reasons["check_methods_subset_invariance"] = _FLOAT32
    return reasons


@parametrize_with_checks(
    [ConfigClassifier(NETWORK), ConfigRegressor(FOREST)], expected_failed_checks=cannot_hold
)
def test_scikit_learn_check(estimator: ConfigEstimator, check: Any) -> None:
    if "array_api" in str(check):
        pytest.skip("the array API is not in use")
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [ConfigRegressor(NETWORK), ConfigClassifier(FOREST)], expected_failed_checks=cannot_hold
)
def test_scikit_learn_check_the_other_way_round(estimator: ConfigEstimator, check: Any) -> None:
    test_scikit_learn_check(estimator, check)
