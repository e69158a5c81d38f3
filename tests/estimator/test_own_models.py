"""Users' own models: trained fast they become what Keras's ``fit`` makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import own_models
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.utils.class_weight import compute_class_weight

from runner.estimator.base import ConfigClassifier

X, Y = load_iris(return_X_y=True)
# A whole number of batches of 16.
X, Y = X[:144], Y[:144]


def fit(
    factory: str, *, rows: Any = X, weights: Any = None, seed: int = 0, **sections: Any
) -> ConfigClassifier:
    training = {"epochs": 3, "batch_size": 16, **sections.pop("training", {})}
    model = {"_target_": f"own_models.{factory}", **sections.pop("model", {})}
    config = {"model": model, "training": training, **sections}
    allow = ("own_models.*", "keras.callbacks.*")
    return ConfigClassifier(config, seed=seed, allow=allow).fit(rows, Y, sample_weight=weights)


def check_equal(fast: ConfigClassifier, keras_fit: ConfigClassifier) -> None:
    assert fast.model_.fast_
    assert not keras_fit.model_.fast_
    assert fast.history_.keys() == keras_fit.history_.keys()
    for name, curve in keras_fit.history_.items():
        np.testing.assert_allclose(fast.history_[name], curve, rtol=1e-4, err_msg=name)
    for ours, theirs in zip(fast.model_.weights_, keras_fit.model_.weights_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-5)


FACTORIES = {
    "own_layer": {},
    "batch_norm": {},
    "hidden_state": {},
    "two_inputs": {},
    "two_inputs, by name": {"named": True},
    "codes": {"n_codes": 5},
    "compiled": {},
    "compiled, nadam": {"optimizer": "nadam"},
    "compiled, adagrad": {"optimizer": "adagrad"},
    "compiled, clipped": {"optimizer": "sgd", "momentum": 0.9, "clipnorm": 0.1},
    "compiled, accumulating": {"optimizer": "adamw", "gradient_accumulation_steps": 3},
    "spared_from_decay": {},
    "own_train_step": {},
    "own_train_step, last": {"reported": "own"},
    "subclassed": {},
}
slow = pytest.mark.slow
LIKE_OTHERS = (
    "two_inputs, by name",
    "compiled, nadam",
    "compiled, adagrad",
    "own_train_step, last",
)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=slow) if case in LIKE_OTHERS else case for case in FACTORIES],
)
def test_fast_training_is_that_of_keras(case: str) -> None:
    factory = case.partition(",")[0]
    fast, keras_fit = (
        fit(factory, model=FACTORIES[case], training={"fast": fast}) for fast in (True, False)
    )
    check_equal(fast, keras_fit)
    if factory == "spared_from_decay":
        assert "Fused" in type(fast.model_._session().model.optimizer).__name__
    if factory != "hidden_state":  # it counts the calls of predictions too
        np.testing.assert_allclose(fast.predict_proba(X), keras_fit.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("training", [{}, {"early_stopping": {"patience": 2}}], ids=str)
def test_weighted_rows_count_as_in_keras(training: dict[str, Any]) -> None:
    weights = np.where(Y == 0, 3.0, 0.5)
    fast, keras_fit = (
        fit("compiled", weights=weights, training={**training, "fast": fast})
        for fast in (True, False)
    )
    check_equal(fast, keras_fit)
    assert fast.history_["loss"] != fit("compiled", training=training).history_["loss"]


def test_balanced_classes_are_class_weights_of_keras() -> None:
    import keras

    rows, target = load_breast_cancer(return_X_y=True)
    n_rows = len(rows)
    # In one batch, where the order of rows is no matter.
    training = {"epochs": 5, "batch_size": n_rows, "class_weight": "balanced"}
    model = {"hidden_layer_one": 8, "hidden_layer_two": 4, "dropout": 0.0}
    model["_target_"] = "runner.models.networks.mlp"
    fitted = ConfigClassifier({"model": model, "training": training}).fit(rows, target)
    weights = compute_class_weight("balanced", classes=np.unique(target), y=target)
    plain = fitted.model_._fresh_model()
    plain.compile(keras.optimizers.Adam(0.001), "binary_crossentropy")
    history = plain.fit(
        fitted.preprocessor_.transform(rows),
        target,
        batch_size=n_rows,
        epochs=5,
        class_weight=dict(enumerate(weights)),
        verbose=0,
    )
    np.testing.assert_allclose(fitted.history_["loss"], history.history["loss"], rtol=1e-5)
    for ours, theirs in zip(fitted.model_.weights_, plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("factory", "model", "reason"),
    [
        ("eager", {}, "compiled to run eagerly"),
        ("replicated", {}, "distribution strategy"),
        pytest.param("replicated", {"compiled": True}, "distribution strategy", marks=slow),
        pytest.param("compiled", {"use_ema": True}, "averages weights", marks=slow),
        ("paired", {}, "num_rows=None"),
    ],
)
def test_what_only_keras_can_train_it_trains(
    factory: str, model: dict[str, Any], reason: str
) -> None:
    fitted = fit(factory, model=model)
    assert not fitted.model_.fast_
    assert len(fitted.history_["loss"]) == 3
    assert fitted.predict(X).shape == (144,)
    assert fitted.notes_[-1].startswith("training through Keras's own fit: ")
    assert reason in fitted.notes_[-1]


def test_batch_callbacks_are_called_for_every_batch() -> None:
    counting = {"_target_": "own_models.CountBatches"}
    own_models.CountBatches.batches = 0
    fits = [fit("own_layer", training={"callbacks": [counting]}) for _ in range(2)]
    assert own_models.CountBatches.batches == 2 * 3 * 9
    assert fits[0].history_ == fits[1].history_
    note = "training through Keras's own fit: a callback acts within epochs"
    assert [fitted.notes_ for fitted in fits] == [[note]] * 2


@pytest.mark.parametrize("what", ["variable", "keras", "tensorflow"])
def test_state_out_of_sight_does_not_reach_the_next_fit(what: str) -> None:
    alone = fit("hidden_state", model={"what": what})
    other = fit("hidden_state", model={"what": what}, optimizer={"learning_rate": 0.05})
    again = fit("hidden_state", model={"what": what})
    assert alone.history_ == again.history_ != other.history_


@pytest.mark.parametrize("how", ["eager", "with a seed", "in a graph"])
def test_weights_that_tensorflow_draws_follow_from_the_seed(how: str) -> None:
    from runner.estimator import network

    starts = []
    for seed in (0, 1, 0):
        network._designs = network.Designs()
        fitted = fit("weights_of_tensorflow", seed=seed, model={"how": how})
        starts.append(fitted.history_["loss"])
    assert starts[0] == starts[2] != starts[1]


def test_a_model_is_built_once_for_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    stack = own_models.stack
    monkeypatch.setattr(own_models, "stack", lambda *given: built.append(1) or stack(*given))
    rates = ({"learning_rate": rate} for rate in (0.01, 0.02, 0.01))
    fits = [fit("two_dropouts", model={"first": 0.37}, optimizer=rate) for rate in rates]
    assert len(built) == 1
    assert fits[0].history_ == fits[2].history_ != fits[1].history_
    assert fit("two_dropouts", seed=1, model={"first": 0.37}).history_ != fits[0].history_
    assert len(built) == 2


def test_rates_of_dropout_out_of_sight_are_not_shared() -> None:
    from runner.training import session

    session._sessions.clear()
    alone = fit("nested_dropout", model={"rate": 0.5})
    session._sessions.clear()
    fit("nested_dropout", model={"rate": 0.1})
    assert fit("nested_dropout", model={"rate": 0.5}).history_ == alone.history_


def test_a_rate_of_zero_is_not_mistaken_for_that_of_another_layer() -> None:
    from runner.training import session

    session._sessions.clear()
    alone = fit("two_dropouts", model={"second": 0.8})
    session._sessions.clear()
    fit("two_dropouts", model={"first": 0.8})
    assert fit("two_dropouts", model={"second": 0.8}).history_ == alone.history_


def test_inputs_that_do_not_share_out_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2,\), \(3,\).*features of shape \(4,\)"):
        fit("two_inputs", model={"n_right": 3})


def test_an_input_of_codes_gets_them_as_integers() -> None:
    rows = np.column_stack([Y, X[:, :2]])
    fitted = fit(
        "codes",
        rows=rows,
        preprocess={"name": "none"},
        training={"epochs": 30},
        optimizer={"learning_rate": 0.05},
    )
    # The first column gives the class away, but only as a code.
    assert fitted.score(rows, Y) > 0.95


def test_early_stopping_needs_a_loss() -> None:
    class Silent(own_models.Contrasted):
        def test_step(self, data: Any) -> dict[str, Any]:
            return {"seen": super().test_step(data)["loss"]}

    own_models.silent = lambda meta: _built(Silent, meta)
    with pytest.raises(ValueError, match=r"early_stopping needs val_loss.*reports val_seen"):
        fit("silent", training={"early_stopping": {"patience": 1}})


def _built(kind: type, meta: dict[str, Any]) -> Any:
    model = kind(own_models.stack(meta).layers)
    model.build((None, *meta["X_shape_"][1:]))
    return model
