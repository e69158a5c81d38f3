"""A fitted estimator on disk, as data: loading it runs no code from the files.

``parts.skops`` holds what scikit-learn made (skops's format), ``network.keras`` the network
(Keras's format, loaded in safe mode), ``estimator.json`` the config.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import skops.io

from runner.errors import RequestError
from runner.estimator.base import ConfigClassifier, ConfigEstimator, ConfigRegressor, scaling_of
from runner.training.runtime import start_tensorflow

_FITTED = ("classes_", "n_features_in_", "feature_names_in_", "preprocessor_")
_TRUSTED = ("sklearn.", "numpy.", "scipy.", "runner.estimator.preprocessing.")


def save_estimator(estimator: ConfigEstimator, folder: Path) -> None:
    """Write a fitted estimator into `folder`, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: getattr(estimator, name) for name in _FITTED if hasattr(estimator, name)}
    description: dict[str, Any] = {
        "task": estimator.task,
        "config": estimator.config,
        "seed": estimator.seed,
        "threads": estimator.threads,
    }
    if hasattr(estimator.model_, "network"):
        estimator.model_.network().save(folder / "network.keras")
        if estimator.task == "regression":
            description["target"] = [estimator.model_.target_mean_, estimator.model_.target_scale_]
    else:
        parts["model_"] = estimator.model_
    skops.io.dump(parts, folder / "parts.skops")
    (folder / "estimator.json").write_text(json.dumps(description, indent=2), encoding="utf-8")


def load_estimator(folder: Path) -> ConfigEstimator:
    """Read what `save_estimator` wrote; the result predicts but can't be fitted further.

    Raises
    ------
    RequestError
        When `folder` holds no model, or one that names types which are not trusted.
    """
    try:
        description = json.loads((folder / "estimator.json").read_text(encoding="utf-8"))
        parts_file = folder / "parts.skops"
        named = skops.io.get_untrusted_types(file=parts_file)
    except (OSError, ValueError) as error:
        raise RequestError(str(folder), f"holds no saved model: {error}") from None
    foreign = [name for name in named if not name.startswith(_TRUSTED)]
    if foreign:
        raise RequestError(str(parts_file), f"names types that are not trusted: {foreign}")
    kind = ConfigClassifier if description["task"] == "classification" else ConfigRegressor
    estimator = kind(
        description["config"], seed=description["seed"], threads=description["threads"]
    )
    for name, value in skops.io.load(parts_file, trusted=named).items():
        setattr(estimator, name, value)
    if (folder / "network.keras").exists():
        estimator.model_ = _SavedNetwork(
            folder / "network.keras",
            estimator.threads,
            getattr(estimator, "classes_", None),
            description.get("target", [0.0, 1.0]),
            scaling_of(estimator.preprocessor_),
        )
    return estimator


class _SavedNetwork:
    """A network read from disk, with the methods that its wrapper had."""

    def __init__(
        self,
        path: Path,
        threads: int,
        classes: np.ndarray | None,
        target: list[float],
        scaling: tuple[float, float],
    ) -> None:
        start_tensorflow(threads)
        import keras

        from runner.training.predictor import Predictor

        self._predictor = Predictor(keras.saving.load_model(path, compile=False, safe_mode=True))
        self._predictor.set_scaling(*scaling)
        self._classes = classes
        self._mean, self._scale = target

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        raw = self._raw(X)
        return np.hstack([1 - raw, raw]) if raw.shape[1] == 1 else raw

    def predict(self, X: np.ndarray) -> np.ndarray:
        if self._classes is None:
            return np.asarray(self._raw(X).reshape(-1).astype(float) * self._scale + self._mean)
        probabilities = self.predict_proba(X)
        return np.asarray(self._classes[probabilities.argmax(axis=1)])

    def _raw(self, X: np.ndarray) -> np.ndarray:
        from runner.training.inputs import inputs_of

        return self._predictor.predict(inputs_of(self._predictor.model, X))
