"""The estimator that an experiment's config describes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from threadpoolctl import threadpool_limits

from runner.data.dataset import Task
from runner.data.fingerprint import fingerprint
from runner.estimator.construction import make_learner, make_network
from runner.estimator.parameters import ConfigParameters, is_network_factory
from runner.estimator.preprocessing import make_preprocessor
from runner.search.record import FitEntry


class ConfigEstimator(ConfigParameters):
    """Preprocessing, model, optimizer and training, as one estimator.

    A fit is a pure function of the config, the training rows and the seed. See `ConfigParameters`
    for the hyper-parameters.
    """

    # Rows of a fit that was answered from the record, should a model be wanted after all.
    _pending: Any = None
    # Whether a fit has failed, which a record knows and a search needs not be told by an exception.
    has_failed_ = False

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit preprocessing and model on the rows given.

        A fit that the record has as completed is not done. With a record a fit that fails raises
        nothing: the record says so, and `FoldScorer` scores it NaN. scikit-learn's searches would
        end when all the fits that they ask for at once have raised.

        Parameters
        ----------
        X
            Array of shape (n, features) or (n, height, width[, channels]), or a data frame.
        y
            Targets of shape (n,): labels of any kind, or numbers.
        sample_weight
            Weights of shape (n,), or None.

        """
        started = time.perf_counter()
        X, y = self.checked(X, y)
        self.fold_ = self.fold_id(X, y)
        self._pending = (X, y, sample_weight)
        known = None if self.record is None else self.record.find(self.candidate_id(), self.fold_)
        if known is None:
            self.has_failed_ = not self._fit_noting_failure()
            self.fit_s_ = time.perf_counter() - started
        elif known.status == "failed":
            self._pending, self.has_failed_ = None, True
        else:
            # Done before: it is fitted again only if someone asks for more than the scores.
            self.fit_s_ = known.fit_s
        return self

    @staticmethod
    def fold_id(X: Any, y: Any) -> str:
        """Name training rows by their content; how numbers are held makes no difference."""
        return fingerprint(_numbers(X), y)

    def _fit_noting_failure(self) -> bool:
        """Do the pending fit; return whether it was done. Without a record, failures are raised."""
        if self.record is None:
            self._fit_pending()
            return True
        if self.limits is not None and not self.limits.allow(self.record):
            self._pending = None
            return False
        self.record.append(FitEntry.started(self.candidate_id(), self.leaves(), self.fold_))
        timed = contextlib.nullcontext() if self.limits is None else self.limits.timed(self._note)
        try:
            with timed:
                self._fit_pending()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed fit
            self._pending = None
            self._note(error)
            return False
        return True

    def _note(self, error: Exception) -> None:
        assert self.record is not None
        self.record.append(FitEntry.failed(self.candidate_id(), self.leaves(), self.fold_, error))

    def _fit_pending(self) -> None:
        self._fit(*self._pending)
        self._pending = None

    def _fit(self, X: Any, y: np.ndarray, sample_weight: Any) -> None:
        config = self.complete_config()
        target = self.target(config["model"])
        network = is_network_factory(target)
        self.preprocessor_ = make_preprocessor(
            config["preprocess"]["name"], X, takes_rows=not network
        )
        with threadpool_limits(self.threads):
            features = _transform(self.preprocessor_, X, fit=True)
            if network:
                self.model_ = make_network(self, target, config, self.fold_, self.preprocessor_)
                self.model_.fit(features, y, sample_weight)
            else:
                self.model_ = make_learner(self, target, config["model"], self.fold_)
                weights = {} if sample_weight is None else {"sample_weight": sample_weight}
                self.model_.fit(features, y, **weights)

    def checked(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """Check rows as scikit-learn does, and bring them to arrays or leave them a frame."""
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, skip_check_array=True)
            y = column_or_1d(y, warn=True)
        else:
            X, y = validate_data(
                self, X, y, allow_nd=True, dtype="numeric", ensure_all_finite=self._finite()
            )
        self.row_shape_ = tuple(int(size) for size in X.shape[1:])
        return X, self._checked_target(y)

    def _checked_target(self, y: np.ndarray) -> np.ndarray:
        return y

    def _finite(self) -> bool | str:
        """What scikit-learn's validation lets pass: missing values, where they are filled."""
        config = self.config if isinstance(self.config, Mapping) else {}
        kind = config.get("preprocess", {}).get("name", "auto")
        return True if kind == "none" else "allow-nan"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._finite() == "allow-nan"
        tags.input_tags.three_d_array = True
        tags.non_deterministic = False
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_") or self._pending is not None

    def predict(self, X: Any) -> np.ndarray:
        """Predict targets, shape (n,)."""
        return self._ask("predict", X)

    def _ask(self, method: str, X: Any) -> np.ndarray:
        check_is_fitted(self)
        if self._pending is not None:
            self._fit_pending()
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=False, skip_check_array=True)
        else:
            X = validate_data(
                self,
                X,
                reset=False,
                allow_nd=True,
                dtype="numeric",
                ensure_all_finite=self._finite(),
            )
        with threadpool_limits(self.threads):
            answer: np.ndarray = getattr(self.model_, method)(_transform(self.preprocessor_, X))
        return answer

    @property
    def history_(self) -> dict[str, list[float]]:
        """Per-epoch curves of a network; empty for other models."""
        return dict(getattr(self.model_, "history_", {}))

    @property
    def notes_(self) -> list[str]:
        """What a user should know of how the model was fitted."""
        return list(getattr(self.model_, "notes_", []))


def _numbers(X: Any) -> Any:
    """The values of an all-numeric frame: how numbers are held does not change a fit."""
    if isinstance(X, pd.DataFrame) and all(map(pd.api.types.is_numeric_dtype, X.dtypes)):
        return X.to_numpy()
    return X


def _transform(preprocessor: Any, X: Any, fit: bool = False) -> np.ndarray:
    if isinstance(preprocessor, str):
        return np.asarray(X)
    return np.asarray(preprocessor.fit_transform(X) if fit else preprocessor.transform(X))


def _model_has(method: str) -> Any:
    """Whether the configured model offers `method`, fitted or not."""

    def check(self: ConfigEstimator) -> bool:
        if hasattr(self, "model_"):
            return hasattr(self.model_, method)
        model = self.complete_config()["model"]
        target = self.target(model)
        if is_network_factory(target):
            return method == "predict_proba"
        return hasattr(make_learner(self, target, model, fold=""), method)

    return check


class ConfigClassifier(ClassifierMixin, ConfigEstimator):
    """The classifier that a config describes; see `ConfigEstimator`."""

    task: Task = "classification"

    def _checked_target(self, y: np.ndarray) -> np.ndarray:
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"needs at least 2 classes, got one class: {self.classes_[0]!r}")
        return y

    @available_if(_model_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities, shape (n, n_classes), columns as in ``classes_``."""
        return self._ask("predict_proba", X)

    @available_if(_model_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """Predict confidence scores, shape (n,) or (n, n_classes)."""
        return self._ask("decision_function", X)


class ConfigRegressor(RegressorMixin, ConfigEstimator):
    """The regressor that a config describes; see `ConfigEstimator`."""

    task: Task = "regression"

    def _checked_target(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(y, dtype=np.float64)
