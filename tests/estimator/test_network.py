"""Networks behind the estimator: sharing, continuing, saving, and a user's own factories."""

from __future__ import annotations

import pickle
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

from runner.errors import RequestError
from runner.estimator.base import ConfigClassifier, ConfigRegressor
from runner.estimator.saved import load_estimator, save_estimator
from runner.training.states import StateStore

DIGITS = load_digits()
X, Y = DIGITS.images[:300].astype(np.uint8), DIGITS.target[:300]


def config(**sections: Any) -> dict[str, Any]:
    model = {"hidden_layer_one": 24, "hidden_layer_two": 12, **sections.pop("model", {})}
    training = {"epochs": 3, **sections.pop("training", {})}
    model.setdefault("_target_", "runner.models.networks.mlp")
    return {"model": model, "training": training, **sections}


def probabilities(settings: dict[str, Any], **arguments: Any) -> np.ndarray:
    return ConfigClassifier(settings, **arguments).fit(X, Y).predict_proba(X)


def test_a_shared_session_changes_nothing() -> None:
    from runner.training import session

    alone = {}
    for dropout in (0.1, 0.4):
        session._sessions.clear()
        alone[dropout] = probabilities(config(model={"dropout": dropout}))
    session._sessions.clear()
    for dropout in (0.4, 0.1):
        assert np.array_equal(probabilities(config(model={"dropout": dropout})), alone[dropout])
    assert len(session._sessions) == 1


def test_learning_rate_epochs_and_batch_size_share_a_session() -> None:
    from runner.training import session

    session._sessions.clear()
    for sections in (
        {},
        {"optimizer": {"learning_rate": 0.01}},
        {"training": {"epochs": 2, "batch_size": 16}},
    ):
        probabilities(config(**sections))
    assert len(session._sessions) == 1
    probabilities(config(model={"activation": "tanh"}))
    assert len(session._sessions) == 2


def counted_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one element with each epoch trained."""
    from runner.training.session import Session

    epochs: list[int] = []
    run_epoch = Session.run_epoch

    def spy(self: Session, *args: Any) -> dict[str, float]:
        epochs.append(1)
        return run_epoch(self, *args)

    monkeypatch.setattr(Session, "run_epoch", spy)
    return epochs


@pytest.mark.parametrize(
    "training", [{}, {"schedule": "cosine", "early_stopping": {"patience": 3}}], ids=str
)
def test_more_epochs_go_on_from_the_stored_state(
    tmp_path: Path, training: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:

    at_once = probabilities(config(training={**training, "epochs": 7}), horizon=7)
    epochs = counted_epochs(monkeypatch)
    states = {"horizon": 7, "states": StateStore(tmp_path)}
    probabilities(config(training={**training, "epochs": 3}), **states)
    continued = probabilities(config(training={**training, "epochs": 7}), **states)
    assert len(epochs) == 7
    assert np.array_equal(continued, at_once)


def test_a_damaged_state_is_a_fresh_start(tmp_path: Path) -> None:
    expected = probabilities(config(), states=StateStore(tmp_path))
    (stored,) = tmp_path.glob("*.npz")
    for content in (b"", b"PK\x03\x04 nonsense", stored.read_bytes()[:-40]):
        stored.write_bytes(content)
        assert np.array_equal(probabilities(config(), states=StateStore(tmp_path)), expected)


def test_stored_states_stay_within_their_bound(tmp_path: Path) -> None:
    for seed in range(4):
        probabilities(config(), states=StateStore(tmp_path, max_mb=0.1), seed=seed)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.npz")]
    assert 0 < sum(sizes) < 0.1e6


def test_without_the_fast_trainer_scores_are_alike() -> None:
    settings = {"model": {"dropout": 0.0}, "training": {"epochs": 15}}
    fast = ConfigClassifier(config(**settings)).fit(X, Y)
    settings["training"]["fast"] = False
    slow = ConfigClassifier(config(**settings)).fit(X, Y)
    np.testing.assert_allclose(fast.predict_proba(X), slow.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("target", ["network", "learner"])
def test_saved_and_pickled_estimators_predict_the_same(tmp_path: Path, target: str) -> None:
    settings = (
        config()
        if target == "network"
        else {"model": {"_target_": "sklearn.ensemble.RandomForestClassifier"}}
    )
    labels = np.array([f"digit {label}" for label in Y], dtype=object)
    fitted = ConfigClassifier(settings).fit(X, labels)
    save_estimator(fitted, tmp_path / "model")
    loaded = load_estimator(tmp_path / "model")
    pickled = pickle.loads(pickle.dumps(fitted))
    for other in (loaded, pickled):
        np.testing.assert_array_equal(other.predict(X), fitted.predict(X))
        np.testing.assert_allclose(other.predict_proba(X), fitted.predict_proba(X), atol=1e-6)


def test_saved_regressor_predicts_in_the_targets_units(tmp_path: Path) -> None:
    rows, target = load_diabetes(as_frame=True, return_X_y=True)
    fitted = ConfigRegressor(config()).fit(rows, target)
    save_estimator(fitted, tmp_path)
    np.testing.assert_allclose(
        load_estimator(tmp_path).predict(rows), fitted.predict(rows), rtol=1e-5
    )


def test_a_saved_model_that_names_other_types_is_not_loaded(tmp_path: Path) -> None:
    import skops.io

    save_estimator(ConfigClassifier(config()).fit(X, Y), tmp_path)
    skops.io.dump({"preprocessor_": Path("/")}, tmp_path / "parts.skops")
    with pytest.raises(RequestError, match="types that are not trusted"):
        load_estimator(tmp_path)
    with pytest.raises(RequestError, match="holds no saved model"):
        load_estimator(tmp_path / "nowhere")


def test_an_own_factory_that_compiles_keeps_its_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    import runner.models.networks as networks

    def compiled(meta: dict[str, Any]) -> keras.Model:
        model = keras.Sequential(
            [keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
        )
        model.compile(keras.optimizers.Adam(0.0), "categorical_crossentropy", metrics=["accuracy"])
        return model

    compiled.__module__ = "runner.models.networks"
    compiled.__qualname__ = "compiled"
    monkeypatch.setattr(networks, "compiled", compiled, raising=False)
    settings = config(
        model={"_target_": "runner.models.networks.compiled"}, optimizer={"learning_rate": 0.1}
    )
    for name in ("hidden_layer_one", "hidden_layer_two"):
        del settings["model"][name]
    fitted = ConfigClassifier(settings).fit(X, Y)
    # Its learning rate is 0, and stays so: nothing is learnt.
    assert len(set(fitted.history_["accuracy"])) == 1
    assert fitted.predict_proba(X).shape == (300, 10)


def test_class_weights_count() -> None:
    rare = np.where(Y == 0, "rare", "common")
    plain = ConfigClassifier(config()).fit(X, rare)
    balanced = ConfigClassifier(config(training={"class_weight": "balanced"})).fit(X, rare)
    assert np.sum(balanced.predict(X) == "rare") > np.sum(plain.predict(X) == "rare")


def test_epoch_callbacks_act_in_the_fast_trainer() -> None:
    stop = {"_target_": "keras.callbacks.EarlyStopping", "monitor": "loss", "min_delta": 100.0}
    fitted = ConfigClassifier(config(training={"epochs": 9, "callbacks": [stop]})).fit(X, Y)
    assert len(fitted.history_["loss"]) == 2
    slower = {
        "_target_": "keras.callbacks.ReduceLROnPlateau",
        "monitor": "loss",
        "min_delta": 100.0,
        "patience": 1,
        "factor": 1e-9,
    }
    settings = config(model={"dropout": 0.0}, training={"epochs": 6, "callbacks": [slower]})
    losses = ConfigClassifier(settings).fit(X, Y).history_["loss"]
    # From the third epoch on the learning rate is next to nothing.
    assert losses[1] < losses[0] - 0.01
    assert np.ptp(losses[3:]) < 1e-5


def test_a_callback_outside_the_whitelist_is_refused() -> None:
    settings = config(
        training={"callbacks": [{"_target_": "keras.callbacks.CSVLogger", "filename": "x.csv"}]}
    )
    with pytest.raises(Exception, match="not in the Hydra execution whitelist"):
        ConfigClassifier(settings).fit(X, Y)


@pytest.mark.parametrize("kind", ["auto", "standard", "minmax"])
@pytest.mark.parametrize("fast", [True, False])
def test_bytes_scaled_by_the_network_are_those_scaled_before_it(kind: str, fast: bool) -> None:
    settings = config(training={"fast": fast, "epochs": 1}, preprocess={"name": kind})
    fitted = ConfigClassifier(settings).fit(X, Y)
    assert fitted.preprocessor_.transform(X).dtype == np.uint8
    inside, before = fitted.predict_proba(X), fitted.predict_proba(X.astype(np.float32))
    np.testing.assert_allclose(inside, before, atol=1e-6)
    assert np.ptp(inside) > 0.05


def test_halving_trains_no_epoch_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.model_selection import StratifiedKFold

    from runner.search.halving import SuccessiveHalving

    epochs = counted_epochs(monkeypatch)
    search = SuccessiveHalving(
        ConfigClassifier(config(), horizon=9, states=StateStore(tmp_path)),
        {"model.dropout": [0.1 * i for i in range(9)]},
        n_iter=9,
        max_resource=9,
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        refit=False,
    ).fit(X, Y)
    assert [p["training.epochs"] for p in search.cv_results_["params"]] == [1] * 9 + [3] * 3 + [9]
    # Each candidate once, to its last rung: 6 to 1 epoch, 2 to 3 and one to 9, on both folds.
    assert len(epochs) == 2 * (6 * 1 + 2 * 3 + 9)


def test_what_other_threads_draw_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.estimator import network
    from runner.estimator.designs import Designs
    from runner.training import session

    alone = probabilities(config(training={"epochs": 1}))
    session._sessions.clear()
    monkeypatch.setattr(network, "_designs", Designs())
    done = threading.Event()

    def draw() -> None:
        while not done.is_set():
            random.random()

    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        assert np.array_equal(probabilities(config(training={"epochs": 1})), alone)
    finally:
        done.set()
        drawing.join()
