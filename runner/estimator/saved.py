"""A fitted estimator on disk, as data: loading it runs no code from the files.

``parts.skops`` holds what scikit-learn made (skops's format), ``network.keras`` the network
(Keras's format, loaded in safe mode), ``estimator.json`` the config.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import skops.io
from pydantic import Field, TypeAdapter

from runner.data.dataset import Task
from runner.errors import RequestError
from runner.estimator.base import ConfigClassifier, ConfigEstimator, ConfigRegressor
from runner.estimator.construction import scaling_of
from runner.estimator.untrusted import check_archive, trusted_types
from runner.secrets import mask
from runner.training.runtime import start_tensorflow

DESCRIPTION = "estimator.json"
_FITTED = ("classes_", "n_features_in_", "feature_names_in_", "row_shape_", "preprocessor_")


@dataclass(frozen=True)
class Description:
    """What ``estimator.json`` says.

    ``target`` is the mean and scale that a network undoes, ``unused`` are columns that the data had
    beside the features.
    """

    task: Task
    config: dict[str, Any]
    seed: int
    threads: Annotated[int, Field(ge=1)]
    target: tuple[float, float] = (0.0, 1.0)
    unused: tuple[str, ...] = ()


_DESCRIPTION = TypeAdapter(Description)


def save_estimator(estimator: ConfigEstimator, folder: Path, unused: Sequence[str] = ()) -> None:
    """Write a fitted estimator into `folder`, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: getattr(estimator, name) for name in _FITTED if hasattr(estimator, name)}
    description: dict[str, Any] = {
        "task": estimator.task,
        "config": estimator.config,
        "seed": estimator.seed,
        "threads": estimator.threads,
        "unused": list(unused),
    }
    if hasattr(estimator.model_, "network"):
        estimator.model_.network().save(folder / "network.keras")
        if estimator.task == "regression":
            description["target"] = [estimator.model_.target_mean_, estimator.model_.target_scale_]
    else:
        parts["model_"] = estimator.model_
    skops.io.dump(parts, folder / "parts.skops")
    text = json.dumps(mask(description), indent=2)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")


def read_description(folder: Path) -> Description:
    """Read ``estimator.json``.

    Raises
    ------
    RequestError
        When there is none, or it is damaged.
    """
    try:
        text = (folder / DESCRIPTION).read_bytes()
        return _DESCRIPTION.validate_json(text, strict=True)
    except (OSError, ValueError) as error:
        raise RequestError(str(folder), f"holds no saved model: {_first_line(error)}") from None


def load_estimator(folder: Path) -> ConfigEstimator:
    """Read what `save_estimator` wrote; the result predicts but can't be fitted further.

    Raises
    ------
    RequestError
        When `folder` holds no model, or one that is damaged, names types which are not trusted,
        or brings code of its own.
    """
    description = read_description(folder)
    archives = [folder / "parts.skops"]
    if (folder / "network.keras").exists():
        archives.append(folder / "network.keras")
    for path in archives:
        check_archive(path)
    try:
        return _loaded(description, *archives)
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001 - on a damaged file, both libraries raise anything
        raise RequestError(str(folder), f"can't be loaded: {_first_line(error)}") from None


def _loaded(description: Description, parts: Path, network: Path | None = None) -> ConfigEstimator:
    kind = ConfigClassifier if description.task == "classification" else ConfigRegressor
    estimator = kind(description.config, seed=description.seed, threads=description.threads)
    for name, value in skops.io.load(parts, trusted=trusted_types(parts)).items():
        if name not in (*_FITTED, "model_"):
            raise RequestError(str(parts), f"holds '{name}', which is no part of a model")
        setattr(estimator, name, value)
    if network is not None:
        estimator.model_ = SavedNetwork(
            network,
            estimator.threads,
            getattr(estimator, "classes_", None),
            description.target,
            scaling_of(estimator.preprocessor_),
        )
    return estimator


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))


class SavedNetwork:
    """A network read from disk, with the methods that its wrapper had."""

    def __init__(
        self,
        path: Path,
        threads: int,
        classes: np.ndarray | None,
        target: tuple[float, float],
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
