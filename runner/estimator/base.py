"""The estimator that an experiment's config describes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from hydra.utils import instantiate
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from threadpoolctl import threadpool_limits

from runner.config.paths import flatten, replaced
from runner.config.schema import Optimizer, Preprocess, Training
from runner.config.targets import allowed_targets, parameters, resolve
from runner.data.dataset import Task
from runner.data.fingerprint import fingerprint
from runner.estimator.preprocessing import ImageScaler, make_preprocessor
from runner.search.record import FitEntry, FitRecord, candidate_id
from runner.seeds import derive_seed
from runner.training.runtime import start_tensorflow

SECTIONS = ("model", "optimizer", "training", "preprocess")


def model_target(node: Mapping[str, Any], task: Task) -> Any:
    """The config's choice of class or factory for this task."""
    target = node.get("_target_")
    return target.get(task) if isinstance(target, Mapping) else target


def is_network_factory(target: Any) -> bool:
    """Whether a resolved target builds a Keras model (a function) or is a scikit-learn class."""
    return not (isinstance(target, type) and issubclass(target, BaseEstimator))


class ConfigEstimator(BaseEstimator):
    """Preprocessing, model, optimizer and training, as one estimator.

    Its hyper-parameters are the config's leaves, named by their path: ``set_params`` and searches
    take ``model.dropout`` or ``optimizer.learning_rate``. A fit is a pure function of the config,
    the training rows and `seed`.

    Parameters
    ----------
    config
        Mapping with ``model`` (``_target_`` names a scikit-learn class, or a function that returns
        a Keras model), and optionally ``preprocess``, ``optimizer`` and ``training``.
    seed
        Every random choice derives from it and from the training rows.
    horizon
        Epochs that a learning-rate schedule spans; None means the config's ``training.epochs``.
    threads
        Threads that a fit may use.
    allow
        What ``_target_`` may name; None reads the environment and the current folder's
        pyproject.toml.
    record
        File to which failed fits are written (finished ones are written with their scores).
    states
        Folder in which networks store how far they were trained, so that a fit of the same
        candidate and rows with more epochs goes on from there; None always starts anew.
    cache_mb
        Bound on that folder, in megabytes; the oldest states are dropped first.
    """

    task: Task
    # Rows of a fit that was answered from the record, should a model be wanted after all.
    _pending: Any = None

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        horizon: int | None = None,
        threads: int = 1,
        allow: tuple[str, ...] | None = None,
        record: str | None = None,
        states: str | None = None,
        cache_mb: float = 1000.0,
    ) -> None:
        self.config = config
        self.seed = seed
        self.horizon = horizon
        self.threads = threads
        self.allow = allow
        self.record = record
        self.states = states
        self.cache_mb = cache_mb

    # Hyper-parameters ---------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        own: dict[str, Any] = super().get_params(deep=False)
        return {**own, **self.leaves()} if deep else own

    def set_params(self, **params: Any) -> Self:
        own = {name: value for name, value in params.items() if "." not in name}
        values = {name: value for name, value in params.items() if "." in name}
        known = {*self._get_param_names(), *(self.leaves() if values else ())}
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}")
        for name, value in own.items():
            setattr(self, name, value)
        if values:
            self.config = replaced(self._complete_config(), values)
        return self

    def leaves(self) -> dict[str, Any]:
        """Every hyper-parameter that this model takes, by config path."""
        return flatten(self._complete_config())

    def _complete_config(self) -> dict[str, Any]:
        """The config with the defaults that it leaves unsaid."""
        config = self.config or {}
        model = dict(config.get("model") or {"_target_": "runner.models.networks.mlp"})
        target = self._target(model)
        defaults = {
            name: parameter.default
            for name, parameter in parameters(target).items()
            if parameter.default is not parameter.empty
        }
        sections = {
            "model": {**defaults, **model},
            "preprocess": Preprocess.model_validate(config.get("preprocess") or {}).model_dump(),
        }
        if is_network_factory(target):
            for name, schema in (("optimizer", Optimizer), ("training", Training)):
                sections[name] = schema.model_validate(config.get(name) or {}).model_dump()
        return sections

    def _target(self, model: Mapping[str, Any]) -> Any:
        return resolve("model._target_", model_target(model, self.task), self._allowed())

    def _allowed(self) -> tuple[str, ...]:
        return self.allow if self.allow is not None else allowed_targets()

    # Fitting ------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit preprocessing and model on the rows given.

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
        X, y = self._checked(X, y)
        self.fold_ = fingerprint(_numbers(X), y)
        self._pending = (X, y, sample_weight)
        known = None
        if self.record is not None:
            known = FitRecord(self.record).find(self.candidate_id(), self.fold_)
        if known is not None:
            # Done before: it is fitted again only if someone asks for more than the scores.
            self.fit_s_ = known.fit_s
            return self
        try:
            self._fit_pending()
        except Exception as error:
            self._pending = None
            if self.record is not None:
                failure = FitEntry.failed(self.candidate_id(), self.leaves(), self.fold_, error)
                FitRecord(self.record).append(failure)
            raise
        self.fit_s_ = time.perf_counter() - started
        return self

    def candidate_id(self) -> str:
        """Name all that decides a fit but the rows."""
        about = {
            "target": model_target(self._complete_config()["model"], self.task),
            "seed": self.seed,
            "horizon": self.horizon,
            "threads": self.threads,
        }
        return candidate_id({**self.leaves(), **about})

    def _fit_pending(self) -> None:
        self._fit(*self._pending)
        self._pending = None

    def _fit(self, X: Any, y: np.ndarray, sample_weight: Any) -> None:
        config = self._complete_config()
        target = self._target(config["model"])
        network = is_network_factory(target)
        self.preprocessor_ = make_preprocessor(
            config["preprocess"]["name"], X, takes_rows=not network
        )
        with threadpool_limits(self.threads):
            features = _transform(self.preprocessor_, X, fit=True)
            if network:
                self.model_ = self._network(target, config, derive_seed(self.seed, self.fold_))
                self.model_.fit(features, y, sample_weight)
            else:
                self.model_ = self._learner(target, config["model"], self.fold_)
                weights = {} if sample_weight is None else {"sample_weight": sample_weight}
                self.model_.fit(features, y, **weights)

    def _network(self, factory: Any, config: dict[str, Any], seed: int) -> Any:
        # Imported late: this is where TensorFlow comes in.
        start_tensorflow(self.threads)
        from runner.estimator.network import make_network
        from runner.training.states import StateStore

        arguments = {key: value for key, value in config["model"].items() if key != "_target_"}
        training = Training.model_validate(config["training"])
        horizon = self.horizon or training.epochs
        states = None if self.states is None else StateStore(Path(self.states), self.cache_mb)
        return make_network(
            self.task,
            factory,
            self._built(arguments),
            Optimizer.model_validate(config["optimizer"]),
            training,
            seed=seed,
            horizon=horizon,
            make_callbacks=partial(_instantiated, training.callbacks, self._allowed()),
            states=states,
            state_key=self._state_key(horizon),
            scaling=scaling_of(self.preprocessor_),
        )

    def _state_key(self, horizon: int) -> str:
        """Name all that decides the course of training, but not how long it goes on."""
        leaves = {k: v for k, v in self.leaves().items() if k != "training.epochs"}
        about = {"seed": self.seed, "horizon": horizon, "threads": self.threads}
        return candidate_id({**leaves, **about, "fold": self.fold_})

    def _learner(self, target: Any, model: Mapping[str, Any], fold: str) -> Any:
        arguments = self._built({key: v for key, v in model.items() if key != "_target_"})
        if "random_state" in arguments and arguments["random_state"] is None:
            arguments["random_state"] = derive_seed(self.seed, fold, "model")
        return target(**arguments)

    def _built(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Instantiate arguments that are themselves described by a ``_target_``."""
        allow = self._allowed()
        return {
            key: _instantiated(value, allow) if isinstance(value, Mapping) else value
            for key, value in arguments.items()
        }

    def _checked(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, skip_check_array=True)
            y = column_or_1d(y, warn=True)
        else:
            X, y = validate_data(
                self, X, y, allow_nd=True, dtype="numeric", ensure_all_finite=self._finite()
            )
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

    # Predicting ---------------------------------------------------------------------------------

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


def _numbers(X: Any) -> Any:
    """The values of an all-numeric frame: how numbers are held does not change a fit."""
    if isinstance(X, pd.DataFrame) and all(map(pd.api.types.is_numeric_dtype, X.dtypes)):
        return X.to_numpy()
    return X


def scaling_of(preprocessor: Any) -> tuple[float, float]:
    """Offset and scale that a network applies to 8-bit images; (0, 1) changes nothing."""
    if isinstance(preprocessor, ImageScaler):
        return preprocessor.offset_, preprocessor.scale_
    return 0.0, 1.0


def _instantiated(node: Any, allow: tuple[str, ...]) -> Any:
    """Make what ``_target_`` nodes describe, in a worker or a thread as anywhere."""
    return instantiate(node, _execution_whitelist_=allow, _convert_="all")


def _transform(preprocessor: Any, X: Any, fit: bool = False) -> np.ndarray:
    if isinstance(preprocessor, str):
        return np.asarray(X)
    return np.asarray(preprocessor.fit_transform(X) if fit else preprocessor.transform(X))


def _model_has(method: str) -> Any:
    """Whether the configured model offers `method`, fitted or not."""

    def check(self: ConfigEstimator) -> bool:
        if hasattr(self, "model_"):
            return hasattr(self.model_, method)
        model = self._complete_config()["model"]
        target = self._target(model)
        if is_network_factory(target):
            return method == "predict_proba"
        return hasattr(self._learner(target, model, ""), method)

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
