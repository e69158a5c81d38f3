"""Keras models as scikit-learn estimators: the one file that knows scikeras.

Importing it imports TensorFlow; `runner.training.runtime.start_tensorflow` comes first.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cache
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
from runner.training.dropout import dropout_layers, random_states
from runner.training.fit import Fit
from runner.training.inputs import inputs_of
from runner.training.keras_fit import KerasSession, train_with_keras, why_keras_fit
from runner.training.loop import train
from runner.training.optimizers import fused, make_optimizer
from runner.training.runtime import seeded
from runner.training.session import Session, session_for
from runner.training.states import Checkpoint, StateStore, TrainingState

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
def say_once(message: str) -> None:
    logger.info(message)


class _Network:
    """What classifier and regressor share: building, fitting and predicting through a session."""

    def _build_keras_model(self: Any) -> keras.Model:
        fresh = self._fresh_model()
        self._initial_weights = fresh.get_weights()
        return fresh

    def _fresh_model(self: Any) -> keras.Model:
        """Build the model with the weights that a new fit starts from."""
        meta = self._get_metadata()
        with seeded(derive_seed(self.random_state, "weights")):
            given = {"meta": meta} if takes_meta(self.model) else {}
            model = self.model(**self.arguments, **given)
            if not isinstance(model, keras.Model):
                raise TypeError(
                    f"{self.model.__name__} returned {type(model).__name__}, not a Keras model"
                )
            if not model.built:
                model(keras.Input(meta["X_shape_"][1:]))
        return model

    def _architecture(self: Any, model: keras.Model, fast: bool) -> Hashable:
        """What makes two fits share one compiled model.

        The learning rate, and arguments that only set dropout rates, are set for each fit.
        """
        drops = [layer.rate > 0 for layer in dropout_layers(model)]
        # Rates that other layers may have are part of their graph.
        only_those = len(random_states(model)) == sum(drops)
        shared = only_dropout(self.model) if fast and only_those else set()
        meta = self._get_metadata()
        parts = {
            "arguments": {k: v for k, v in self.arguments.items() if k not in shared},
            "drops": drops,
            "optimizer": self.optimizer_config.model_dump(exclude={"learning_rate"}),
            "shape": meta["X_shape_"][1:],
            "classes": meta.get("n_classes_"),
            "target": meta.get("target_type_"),
            "fast": fast,
        }
        return self.model, json.dumps(parts, sort_keys=True, default=repr)

    def _compiled(self: Any, model: keras.Model, fast: bool) -> Session:
        # Optimizers keep to the strategy, if any, under which they are made.
        with model.distribute_strategy.scope():
            if not model.compiled:
                model.compile(
                    optimizer=make_optimizer(self.optimizer_config, fast),
                    loss=self._default_loss(model),
                    jit_compile=False,
                )
            else:
                # XLA compiles for each shape of a batch, which takes longer than small fits do.
                model.jit_compile = False
                if fast:
                    fused(model.optimizer)
            return Session(model) if fast else KerasSession(model)

    def _n_units(self: Any, model: keras.Model) -> int:
        """Numbers that the model gives for each row."""
        shape = getattr(model, "output_shape", None)
        if shape is None:  # a subclassed model
            shape = model(keras.Input(self._get_metadata()["X_shape_"][1:])).shape
        return int(shape[-1])

    def _ensure_compiled_model(self: Any) -> None:
        """The session's model is compiled already."""

    def _check_model_compatibility(self: Any, y: np.ndarray) -> None:
        """The loss follows from the model."""

    def _fit_keras_model(
        self: Any, X: np.ndarray, y: np.ndarray, sample_weight: Any, **_: Any
    ) -> None:
        fresh = self.model_
        if fresh.compiled:
            say_once(f"{self.model.__name__} comes compiled: optimizer.* is not used")
        data = [inputs_of(fresh, X), self._targets(fresh, y)]
        if sample_weight is not None:
            data.append(np.asarray(sample_weight, np.float32))
        fit = Fit(
            tuple(data),
            self.training,
            seed=self.random_state,
            learning_rate=None if fresh.compiled else self.optimizer_config.learning_rate,
            horizon=self.horizon,
            callbacks=self.make_callbacks(),
        )
        with seeded(derive_seed(self.random_state, "training")):
            state = self._train(fresh, fit)
        self.history_ = state.history
        self.epoch_s_ = state.epoch_s
        self.weights_ = state.final_weights
        del self._initial_weights, self.model_

    def _train(self: Any, fresh: keras.Model, fit: Fit) -> TrainingState:
        start = TrainingState(weights=self._initial_weights)
        rates = [layer.rate for layer in dropout_layers(fresh) if layer.rate > 0]
        reason = why_keras_fit(fresh, fit.callbacks)
        if reason is None:
            session = self._session_to_train(fresh, self.training.fast)
            reason = session.why_untraceable(fit.data)
        if reason is None:
            fit = replace(fit, dropout_rates=rates if self.fast_ else None)
            state: TrainingState = self._continued(session, fit, start)
            return state
        if self.training.fast:
            say_once(f"training through Keras's own fit: {reason}")
        return train_with_keras(self._session_to_train(self._fresh_model(), False), fit, start)

    def _session_to_train(self: Any, fresh: keras.Model, fast: bool) -> Session:
        self.key_, self.fast_ = self._architecture(fresh, fast), fast
        session = session_for(self.key_, lambda: self._compiled(fresh, fast), to_train=True)
        session.set_scaling(*self.scaling)
        return session

    def _continued(self: Any, session: Session, fit: Fit, start: TrainingState) -> TrainingState:
        """Train on from the stored state, if there is one, and store how far it came."""
        # Callbacks, and what a spent session holds, have state of their own, which is not stored.
        if self.states is None or fit.callbacks or (self.fast_ and session.is_spent):
            return train(session, fit, start)
        stored = self.states.load(self.state_key, at_most=self.training.epochs)
        checkpoint = Checkpoint(self.states, self.state_key)
        state = train(session, fit, stored or start, checkpoint)
        if self.states.keeps_finished:
            checkpoint.save(state)
        else:
            self.states.drop(self.state_key)
        return state

    def _session(self: Any) -> Session:
        return session_for(self.key_, lambda: self._compiled(self._fresh_model(), self.fast_))

    @property
    def initialized_(self: Any) -> bool:
        return hasattr(self, "weights_")

    def network(self: Any) -> keras.Model:
        """The trained model, a copy of its own."""
        model = self._fresh_model()
        model.set_weights(self.weights_)
        return model

    def _predict_raw(self: Any, X: np.ndarray, **_: Any) -> np.ndarray:
        session = self._session()
        session.load(self.weights_)
        session.set_scaling(*self.scaling)
        prediction: np.ndarray = session.predict(inputs_of(session.model, X))
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
        one_unit = self._n_units(model) == 1
        return "binary_crossentropy" if one_unit else "sparse_categorical_crossentropy"

    def _targets(self, model: keras.Model, y: np.ndarray) -> np.ndarray:
        n_units = self._n_units(model)
        if n_units == 1:
            return np.asarray(y, np.float32).reshape(-1, 1)
        name = getattr(model.loss, "name", model.loss)
        if name == "categorical_crossentropy":
            return np.asarray(keras.utils.to_categorical(y, n_units))
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
