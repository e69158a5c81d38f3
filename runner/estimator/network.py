"""Keras models as scikit-learn estimators: the one file that knows scikeras.

Importing it imports TensorFlow; `runner.training.runtime.start_tensorflow` comes first.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Hashable, Mapping
from functools import cache, partial
from typing import Any

import keras
import numpy as np
from scikeras.wrappers import KerasClassifier, KerasRegressor
from sklearn.utils.class_weight import compute_sample_weight

from runner.config.schema import Optimizer, Training
from runner.config.targets import takes_meta
from runner.data.dataset import Task
from runner.models.annotations import only_dropout
from runner.seeds import derive_seed
from runner.training.callbacks import acts_within_epochs
from runner.training.dropout import dropout_layers
from runner.training.fallback import train_with_keras
from runner.training.loop import train
from runner.training.optimizers import fused, make_optimizer
from runner.training.runtime import seeded
from runner.training.session import KerasSession, Session, as_input, session_for
from runner.training.states import StateStore, TrainingState

logger = logging.getLogger(__name__)


def wrap_network(
    task: Task,
    factory: Callable[..., Any],
    arguments: Mapping[str, Any],
    optimizer: Optimizer,
    training: Training,
    *,
    seed: int,
    horizon: int,
    make_callbacks: Callable[[], list[keras.callbacks.Callback]],
    states: StateStore | None = None,
    state_key: str = "",
    scaling: tuple[float, float] = (0.0, 1.0),
) -> Any:
    """Wrap a model factory as a scikeras estimator that trains on whole-epoch graphs.

    Parameters
    ----------
    factory
        Returns a Keras model, compiled or not; may take scikeras's ``meta``.
    arguments
        The factory's keyword arguments.
    seed
        Of weights, row order and layers.
    horizon
        Epochs that a learning-rate schedule spans.
    make_callbacks
        Makes the callbacks of one fit.
    states
        Where training is continued from and stored; `state_key` names all that decides its course.
    scaling
        Offset and scale that 8-bit features are brought to, batch by batch.
    """
    wrapper = NetworkClassifier if task == "classification" else NetworkRegressor
    return wrapper(
        model=factory,
        arguments=dict(arguments),
        optimizer_config=optimizer,
        training=training,
        horizon=horizon,
        random_state=seed,
        make_callbacks=make_callbacks,
        states=states,
        state_key=state_key,
        scaling=scaling,
    )


@cache
def _say_once(message: str) -> None:
    logger.info(message)


class _Network:
    """What classifier and regressor share: building, fitting and predicting through a session."""

    def _build_keras_model(self: Any) -> keras.Model:
        meta = self._get_metadata()
        fresh = self._fresh_model(meta)
        self._comes_compiled = fresh.compiled
        self._initial_weights = fresh.get_weights()
        self._dropout_rates = [layer.rate for layer in dropout_layers(fresh)]
        self.key_ = self._architecture(meta)
        session_for(self.key_, lambda: self._session_of(fresh))
        return fresh

    def _fresh_model(self: Any, meta: dict[str, Any]) -> keras.Model:
        """Build the model with the weights that a new fit starts from."""
        with seeded(derive_seed(self.random_state, "weights")):
            given = {"meta": meta} if takes_meta(self.model) else {}
            model = self.model(**self.arguments, **given)
            if not isinstance(model, keras.Model):
                raise TypeError(
                    f"{self.model.__name__} returned {type(model).__name__}, not a Keras model"
                )
            if not model.built:
                model.build((None, *meta["X_shape_"][1:]))
        return model

    def _architecture(self: Any, meta: Mapping[str, Any]) -> Hashable:
        """What makes two fits share one compiled model.

        The learning rate, and arguments that only set dropout rates, are set for each fit.
        """
        shared = only_dropout(self.model) if self.training.fast else set()
        parts = {
            "arguments": {k: v for k, v in self.arguments.items() if k not in shared},
            "n_dropout": len(self._dropout_rates),
            "optimizer": self.optimizer_config.model_dump(exclude={"learning_rate"}),
            "shape": meta["X_shape_"][1:],
            "classes": meta.get("n_classes_"),
            "target": meta.get("target_type_"),
            "fast": self.training.fast,
        }
        return self.model, json.dumps(parts, sort_keys=True, default=repr)

    def _session_of(self: Any, model: keras.Model) -> Session:
        if not model.compiled:
            model.compile(
                optimizer=make_optimizer(self.optimizer_config, self.training.fast),
                loss=self._default_loss(model),
                jit_compile=False,
            )
        else:
            logger.info("%s comes compiled: optimizer.* is not used", self.model.__name__)
            if self.training.fast:
                model.optimizer = fused(model.optimizer)
        return Session(model) if self.training.fast else KerasSession(model)

    def _ensure_compiled_model(self: Any) -> None:
        """The session's model is compiled already."""

    def _check_model_compatibility(self: Any, y: np.ndarray) -> None:
        """The loss follows from the model."""

    def _fit_keras_model(
        self: Any, X: np.ndarray, y: np.ndarray, sample_weight: Any, **_: Any
    ) -> None:
        session = self._session()
        # Callbacks keep state of their own, which is not stored.
        states = None if self.training.callbacks else self.states
        state = states and states.load(self.state_key, at_most=self.training.epochs)
        session.set_scaling(*self.scaling)
        parts = [as_input(X), self._targets(session.model, y)]
        if sample_weight is not None:
            parts.append(np.asarray(sample_weight, np.float32))
        settings = {
            "learning_rate": None if self._comes_compiled else self.optimizer_config.learning_rate,
            "horizon": self.horizon,
            "seed": self.random_state,
        }
        callbacks = self.make_callbacks()
        start = state or TrainingState(weights=self._initial_weights)
        if any(map(acts_within_epochs, callbacks)):
            _say_once("a callback acts within epochs: training through Keras's own fit")
            state = train_with_keras(
                session, tuple(parts), self.training, start, callbacks=callbacks, **settings
            )
        else:
            rates = self._dropout_rates if self.training.fast else None
            state = train(
                session,
                tuple(parts),
                self.training,
                start,
                callbacks=callbacks,
                dropout_rates=rates,
                checkpoint=states and partial(states.save, self.state_key),
                checkpoint_s=states.every_s if states else math.inf,
                **settings,
            )
        if states and states.keeps_finished:
            states.save(self.state_key, state)
        elif states:
            states.drop(self.state_key)
        self.history_ = state.history
        self.epoch_s_ = state.epoch_s
        self.weights_ = state.final_weights
        del self._initial_weights, self.model_

    def _session(self: Any) -> Session:
        return session_for(
            self.key_, lambda: self._session_of(self._fresh_model(self._get_metadata()))
        )

    @property
    def initialized_(self: Any) -> bool:
        return hasattr(self, "weights_")

    def network(self: Any) -> keras.Model:
        """The trained model, a copy of its own."""
        model = self._fresh_model(self._get_metadata())
        model.set_weights(self.weights_)
        return model

    def _predict_raw(self: Any, X: np.ndarray, **_: Any) -> np.ndarray:
        session = self._session()
        session.load(self.weights_)
        session.set_scaling(*self.scaling)
        prediction: np.ndarray = session.predict(as_input(X))
        return prediction

    def __getstate__(self: Any) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "model_"}


class NetworkClassifier(_Network, KerasClassifier):
    """A Keras classifier; two classes end in one sigmoid unit or two softmax units."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        if self.training.class_weight is not None:
            balanced = compute_sample_weight(self.training.class_weight, y)
            sample_weight = balanced if sample_weight is None else sample_weight * balanced
        return super().fit(X, y, sample_weight=sample_weight)

    def _default_loss(self, model: keras.Model) -> str:
        one_unit = model.output_shape[-1] == 1
        return "binary_crossentropy" if one_unit else "sparse_categorical_crossentropy"

    def _targets(self, model: keras.Model, y: np.ndarray) -> np.ndarray:
        if model.output_shape[-1] == 1:
            return np.asarray(y, np.float32).reshape(-1, 1)
        name = getattr(model.loss, "name", model.loss)
        if name == "categorical_crossentropy":
            return np.asarray(keras.utils.to_categorical(y, model.output_shape[-1]))
        return np.asarray(y, np.int32)


class NetworkRegressor(_Network, KerasRegressor):
    """A Keras regressor, trained on targets scaled to zero mean and unit variance."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        self.target_mean_, self.target_scale_ = float(np.mean(y)), float(np.std(y)) or 1.0
        scaled = (np.asarray(y, np.float64) - self.target_mean_) / self.target_scale_
        return super().fit(X, scaled, sample_weight=sample_weight)

    def _default_loss(self, model: keras.Model) -> str:
        return "mean_squared_error"

    def _targets(self, model: keras.Model, y: np.ndarray) -> np.ndarray:
        return np.asarray(y, np.float32).reshape(-1, 1)

    def predict(self, X: Any, **_: Any) -> np.ndarray:
        raw = self._predict_raw(X).reshape(-1).astype(np.float64)
        prediction: np.ndarray = raw * self.target_scale_ + self.target_mean_
        return prediction
