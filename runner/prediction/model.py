"""A saved winner, found and loaded, that predicts for rows as the user has them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metaestimators import available_if

from runner.data.dataset import Features
from runner.data.features import named_columns
from runner.errors import ExperimentError, RequestError, about
from runner.estimator.base import ConfigEstimator
from runner.estimator.preprocessing import ImageScaler
from runner.estimator.saved import DESCRIPTION, SavedNetwork, load_estimator, read_description
from runner.prediction.rows import RowFormat
from runner.results.comparison.entry import read_entry
from runner.results.comparison.find import find_one

logger = logging.getLogger(__name__)

# Brightest pixel, as a multiple of the training images': outside, the scale is another one.
_SAME_SCALE = (0.1, 2.0)


@dataclass(frozen=True)
class Answers:
    """Predictions of n rows: labels or numbers, and for classes shape (n, n_classes) or None."""

    predictions: np.ndarray
    probabilities: np.ndarray | None


class SavedModel(FrozenEstimator):
    """The winner of a run: a fitted classifier or regressor for scikit-learn.

    Rows may be data frames as the data was (columns in any order, the target may be among them,
    categories may be new, values may be missing), or arrays of the same shape.

    Parameters
    ----------
    estimator
        The fitted estimator.
    rows
        What its training data was.
    """

    # scikit-learn's diagrams of estimators say less than the text.
    _repr_html_ = _repr_mimebundle_ = None

    def __init__(self, estimator: ConfigEstimator, rows: RowFormat) -> None:
        super().__init__(estimator)
        self.rows = rows

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        columns = f"{self.rows.shape[0]} columns" if self.rows.columns else f"{self.rows.shape}"
        return f"SavedModel({self.estimator.task}, rows of {columns})"

    def predict(self, X: Any) -> np.ndarray:
        """Predict labels as the user wrote them, or numbers; shape (n,).

        Raises
        ------
        RequestError
            When X does not have the columns or the shape of the training data.
        ExperimentError
            When the model can't predict for these rows.
        """
        return self._ask("predict", self.checked(X))

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities, shape (n, n_classes), in the order of ``classes_``.

        Errors as for `predict`.
        """
        return self._ask("predict_proba", self.checked(X))

    @available_if(lambda self: hasattr(self.estimator, "decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Predict confidence scores, shape (n,) or (n, n_classes); errors as for `predict`."""
        return self._ask("decision_function", self.checked(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy, or R² of a regressor, for X with targets y of shape (n,)."""
        return float(self.estimator.score(self.checked(X), y, sample_weight))

    def answer(self, rows: Features) -> Answers:
        """Predict for rows that `checked` or `RowFormat.conform` returned."""
        if not hasattr(self.estimator, "predict_proba"):
            return Answers(self._ask("predict", rows), None)
        probabilities = self._ask("predict_proba", rows)
        if isinstance(self.estimator.model_, SavedNetwork):
            labels = np.asarray(self.estimator.classes_)[probabilities.argmax(axis=1)]
            return Answers(labels, probabilities)
        return Answers(self._ask("predict", rows), probabilities)

    def checked(self, X: Any) -> Features:
        """Check rows, and bring them to the form of the training data."""
        with about("X"):
            if isinstance(X, pd.DataFrame):
                self.rows.check_columns(list(named_columns(X.iloc[:0]).columns))
            rows = self.rows.conform(X)
        self.warn_of_scale(rows)
        return rows

    def warn_of_scale(self, rows: Features) -> None:
        """Say so when pixels are far from those of the training images: 255 for 1, or for 16."""
        scaler = self.estimator.preprocessor_
        if not isinstance(scaler, ImageScaler) or scaler.kind not in ("auto", "minmax"):
            return
        usual, brightest = scaler.offset_ + scaler.scale_, float(np.nanmax(rows, initial=0))
        low, high = _SAME_SCALE
        if not low * usual <= brightest <= high * usual:
            logger.warning(
                "pixels go up to %g here, and to %g in the training images", brightest, usual
            )

    def _ask(self, method: str, rows: Features) -> np.ndarray:
        try:
            answer: np.ndarray = getattr(self.estimator, method)(rows)
        except Exception as error:
            why = str(error).strip().splitlines() or [type(error).__name__]
            raise ExperimentError(f"the model can't predict for these rows: {why[0]}") from error
        return answer


def load_model(run: str | Path) -> SavedModel:
    """Load the winner of a run; no code from its files is run.

    Parameters
    ----------
    run
        A run's folder, that of a sweep's job, or a ``model/`` folder by itself.

    Raises
    ------
    RequestError
        When there is no model, or one that is damaged, names types which are not trusted, or
        brings code of its own.
    """
    folder = model_folder(run)
    description = read_description(folder)
    estimator = load_estimator(folder)
    try:
        return SavedModel(estimator, RowFormat.of(estimator, description.unused))
    except Exception as error:  # noqa: BLE001 - parts may be anything that is trusted
        raise RequestError(str(folder), f"is no whole model: {error}") from None


def model_folder(run: str | Path) -> Path:
    """Find the folder of a run's model.

    Raises
    ------
    RequestError
        When there is no run, there are several, or the one has no model.
    """
    if (Path(run) / DESCRIPTION).is_file():
        return Path(run)
    directory = find_one(str(run))
    if not (directory.model / DESCRIPTION).is_file():
        status = read_entry(directory).status
        raise RequestError(str(directory.path), f"has no saved model; the run is {status}")
    return directory.model
