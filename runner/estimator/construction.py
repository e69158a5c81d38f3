"""The model of one fit, built from a complete config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hydra.utils import instantiate

from runner.config.schema import Optimizer, Training
from runner.estimator.parameters import ConfigParameters
from runner.estimator.preprocessing import ImageScaler
from runner.seeds import derive_seed
from runner.training.runtime import start_tensorflow
from runner.training.states import TrainingState


def make_learner(
    parameters: ConfigParameters, target: Any, model: Mapping[str, Any], fold: str
) -> Any:
    """Build a scikit-learn estimator, seeded for the rows of `fold`."""
    arguments = _built(model, parameters.allowed())
    if "random_state" in arguments and arguments["random_state"] is None:
        arguments["random_state"] = derive_seed(parameters.seed, fold, "model")
    return target(**arguments)


def make_network(
    parameters: ConfigParameters,
    factory: Any,
    config: Mapping[str, Any],
    fold: str,
    preprocessor: Any,
) -> Any:
    """Build the wrapper of a Keras model, seeded for the rows of `fold`."""
    # Imported late: this is where TensorFlow comes in.
    start_tensorflow(parameters.threads)
    from runner.estimator.network import wrap_network

    allow = parameters.allowed()
    training = Training.model_validate(config["training"])
    return wrap_network(
        parameters.task,
        factory,
        _built(config["model"], allow),
        Optimizer.model_validate(config["optimizer"]),
        training,
        described=config["model"],
        seed=derive_seed(parameters.seed, fold),
        horizon=parameters.horizon or training.epochs,
        make_callbacks=partial(_instantiated, training.callbacks, allow),
        states=parameters.states,
        state_key=parameters.course_id(fold),
        watch=_watch(parameters, training.epochs),
        scaling=scaling_of(preprocessor),
    )


def _watch(parameters: ConfigParameters, epochs: int) -> Callable[[TrainingState], None] | None:
    """What looks at each epoch, while the search may yet move to worker processes."""
    record = parameters.record
    pace = None if parameters.limits is None else parameters.limits.pace
    if record is None or pace is None:
        return None

    def watch(state: TrainingState) -> None:
        pace.epoch_ends(state.epoch_s, epochs, epochs - state.epoch, record)

    return watch


def scaling_of(preprocessor: Any) -> tuple[float, float]:
    """Offset and scale that a network applies to 8-bit images; (0, 1) changes nothing."""
    if isinstance(preprocessor, ImageScaler):
        return preprocessor.offset_, preprocessor.scale_
    return 0.0, 1.0


def _built(model: Mapping[str, Any], allow: tuple[str, ...]) -> dict[str, Any]:
    """The model's arguments; those that are described by a ``_target_`` are made."""
    return {
        key: _instantiated(value, allow) if isinstance(value, Mapping) else value
        for key, value in model.items()
        if key != "_target_"
    }


def _instantiated(node: Any, allow: tuple[str, ...]) -> Any:
    """Make what ``_target_`` nodes describe, in a worker or a thread as anywhere."""
    return instantiate(node, _execution_whitelist_=allow, _convert_="all")
