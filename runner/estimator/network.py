"""Keras models as scikit-learn estimators: the one file that knows scikeras.

Importing it imports TensorFlow; `runner.training.runtime.start_tensorflow` comes first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from scikeras.wrappers import KerasClassifier, KerasRegressor
from sklearn.utils.class_weight import compute_sample_weight

from runner.config.schema import Optimizer, Training
from runner.config.targets import takes_meta
from runner.data.dataset import Task
from runner.estimator.designs import Design, Designs
from runner.models.annotations import only_dropout
from runner.seeds import derive_seed
from runner.training.dropout import dropout_layers, random_states
from runner.training.fit import Fit
from runner.training.inputs import inputs_of
from runner.training.keras_fit import KerasSession, train_with_keras, why_keras_fit
from runner.training.loop import train
from runner.training.optimizers import fused, make_optimizer
from runner.training.runtime import forget_kernels, note_built_model, seeded
from runner.training.session import Session, has_session, session_for
from runner.training.states import Checkpoint, StateStore, TrainingState


def wrap_network(
    task: Task,
    factory: Callable[..., Any],
    arguments: Mapping[str, Any],
    optimizer: Optimizer,
    training: Training,
    *,
    described: Mapping[str, Any],
    seed: int,
    horizon: int,
    make_callbacks: Callable[[], list[keras.callbacks.Callback]],
    states: StateStore | None = None,
    state_key: str = "",
    watch: Callable[[TrainingState], None] | None = None,
    scaling: tuple[float, float] = (0.0, 1.0),
) -> Any:
    """Wrap a model factory as a scikeras estimator that trains on whole-epoch graphs.

    Parameters
    ----------
    factory
        Returns a Keras model, compiled or not; may take scikeras's ``meta``.
    arguments
        The factory's keyword arguments.
    described
        The same as plain values, by which fits of the same model know each other.
    seed
        Of weights, row order and layers.
    horizon
        Epochs that a learning-rate schedule spans.
    make_callbacks
        Makes the callbacks of one fit.
    states
        Where training is continued from and stored; `state_key` names all that decides its course.
    watch
        Called after epochs of a fit that is stored; what it raises ends the fit.
    scaling
        Offset and scale that 8-bit features are brought to, batch by batch.
    """
    wrapper = NetworkClassifier if task == "classification" else NetworkRegressor
    return wrapper(
        model=factory,
        arguments=dict(arguments),
        described=dict(described),
        optimizer_config=optimizer,
        training=training,
        horizon=horizon,
        random_state=seed,
        make_callbacks=make_callbacks,
        states=states,
        state_key=state_key,
        watch=watch,
        scaling=scaling,
    )


_designs = Designs()
# Models built before TensorFlow forgets what they left behind: some 50 MB.
_MOST_BUILT = 200


class _Network:
    """What classifier and regressor share: building, fitting and predicting through a session."""

    def _build_keras_model(self: Any) -> keras.Model:
        """The model to fit: that of the session, where what a new one would tell is known."""
        known = _designs.find(self._request(), self.random_state)
        self.is_known_ = False
        if known is not None and has_session(known[0].key):
            self.is_known_ = True
            self._design, self._initial_weights = known
            return self._session().model
        fresh = self._fresh_model()
        self._initial_weights = fresh.get_weights()
        return fresh

    def _fresh_model(self: Any) -> keras.Model:
        """Build the model with the weights that a new fit starts from."""
        forget_kernels(after=_MOST_BUILT)
        note_built_model()
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

    def _request(self: Any) -> Hashable:
        request: Hashable = self._named(self.described)
        return request

    def _named(self: Any, arguments: Mapping[str, Any], *more: Any) -> Hashable:
        """Name what decides how a model is built and compiled; learning rates are set later."""
        meta = self._get_metadata()
        optimizer = self.optimizer_config.model_dump(exclude={"learning_rate"})
        shape, target = meta["X_shape_"][1:], (meta.get("n_classes_"), meta.get("target_type_"))
        parts = (arguments, optimizer, shape, target, self.training.fast, *more)
        return self.model, json.dumps(parts, sort_keys=True, default=repr)

    def _design_of(self: Any, model: keras.Model, fast: bool) -> Design:
        """What fits share; arguments that only set dropout rates are set for each."""
        layers = dropout_layers(model)
        drops = [layer.rate > 0 for layer in layers]
        # Rates that other layers may have are part of their graph.
        only_those = len(random_states(model)) == sum(drops)
        shared = only_dropout(self.model) if fast and only_those else set()
        arguments = {k: v for k, v in self.described.items() if k not in shared}
        return Design(
            key=self._named(arguments, drops, fast),
            dropout_rates=[layer.rate for layer in layers if layer.rate > 0],
            comes_compiled=model.compiled,
            fast=fast,
        )

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
        model = self.model_
        if not self.is_known_:
            self._design = self._design_of(model, self.training.fast)
        self.notes_ = []
        if self._design.comes_compiled:
            self.notes_.append(f"{self.model.__name__} comes compiled: optimizer.* is not used")
        data = [inputs_of(model, X), self._targets(model, y)]
        if sample_weight is not None:
            data.append(np.asarray(sample_weight, np.float32))
        fit = Fit(
            tuple(data),
            self.training,
            seed=self.random_state,
            learning_rate=(
                None if self._design.comes_compiled else self.optimizer_config.learning_rate
            ),
            horizon=self.horizon,
            callbacks=self.make_callbacks(),
        )
        # Where an epoch is known to draw from no other generator there is nothing to seed.
        needs_seed = not self.is_known_ or fit.callbacks
        with seeded(derive_seed(self.random_state, "training")) if needs_seed else nullcontext():
            state = self._train(model, fit)
        self.history_ = state.history
        self.epoch_s_ = state.epoch_s
        self.weights_ = state.final_weights
        del self._initial_weights, self.model_

    def _train(self: Any, fresh: keras.Model, fit: Fit) -> TrainingState:
        start = TrainingState(weights=self._initial_weights)
        reason = why_keras_fit(fresh, fit.callbacks)
        if reason is None:
            session = self._session_to_train(fresh)
            reason = session.why_untraceable(fit.data)
        if reason is None:
            rates = self._design.dropout_rates if self.training.fast else None
            state: TrainingState = self._continued(
                session, replace(fit, dropout_rates=rates), start
            )
            if not session.is_spent:
                _designs.remember(
                    self._request(), self.random_state, self._design, self._initial_weights
                )
            return state
        if self.training.fast:
            self.notes_.append(f"training through Keras's own fit: {reason}")
        fresh = self._fresh_model()
        self._design = self._design_of(fresh, fast=False)
        return train_with_keras(self._session_to_train(fresh), fit, start)

    def _continued(self: Any, session: Session, fit: Fit, start: TrainingState) -> TrainingState:
        """Train on from the stored state, if there is one, and store how far it came."""
        # Callbacks, and what a spent session holds, have state of their own, which is not stored.
        if self.states is None or fit.callbacks or (self.fast_ and session.is_spent):
            return train(session, fit, start)
        stored = self.states.load(self.state_key, at_most=self.training.epochs)
        checkpoint = Checkpoint(self.states, self.state_key, self.watch)
        state = train(session, fit, stored or start, checkpoint)
        if self.states.keeps_finished:
            checkpoint.save(state)
        else:
            self.states.drop(self.state_key)
        return state

    def _session_to_train(self: Any, fresh: keras.Model) -> Session:
        design: Design = self._design
        session = session_for(design.key, lambda: self._compiled(fresh, design.fast), to_train=True)
        session.set_scaling(*self.scaling)
        return session

    def _session(self: Any) -> Session:
        design: Design = self._design
        return session_for(design.key, lambda: self._compiled(self._fresh_model(), design.fast))

    @property
    def fast_(self: Any) -> bool:
        """Whether the fit ran on whole-epoch graphs."""
        fast: bool = self._design.fast
        return fast

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
        return {k: v for k, v in vars(self).items() if k not in ("model_", "watch")}


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
