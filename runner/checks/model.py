"""The model, optimizer and task of a config: do they fit each other and the data?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.base import is_classifier, is_regressor
from sklearn.utils._param_validation import InvalidParameterError

from runner.config.schema import ExperimentConfig, Optimizer, optimizers_with
from runner.config.targets import (
    check_arguments,
    check_constraints,
    resolve,
)
from runner.data.dataset import Dataset
from runner.errors import RequestError, listing
from runner.estimator.base import ConfigClassifier, ConfigEstimator, ConfigRegressor
from runner.estimator.parameters import is_network_factory, model_target


def without_target(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of what a node describes."""
    return {key: value for key, value in node.items() if key != "_target_"}


def make_estimator(
    config: ExperimentConfig, data: Dataset, allow: tuple[str, ...]
) -> ConfigEstimator:
    """Build the estimator that a config describes, for this data.

    Raises
    ------
    RequestError
        For a model that does not fit the task or the data, and for arguments that it, or the
        optimizer, does not take.
    """
    name = config.choices.get("model", "model")
    path = model_target(config.model, data.task)
    if path is None:
        raise RequestError("model", f"'{name}' has no variant for {data.task} (data={data.name})")
    target = resolve("model._target_", path, allow)
    arguments = without_target(config.model)
    check_arguments("model", target, arguments)
    if is_network_factory(target):
        _check_optimizer(config)
    else:
        _check_learner(name, target, arguments, data)
    if getattr(target, "takes", None) == "images" and not data.is_images:
        raise RequestError(
            "model", f"'{name}' takes images, but data={data.name} has rows of shape {data.shape}"
        )
    kind = ConfigClassifier if data.task == "classification" else ConfigRegressor
    sections = {
        "model": dict(config.model),
        "preprocess": config.preprocess.model_dump(),
        "optimizer": config.optimizer.model_dump(),
        "training": config.training.model_dump(),
    }
    return kind(sections, seed=config.seed, threads=config.compute.threads, allow=allow)


def _check_optimizer(config: ExperimentConfig) -> None:
    optimizer = config.optimizer
    searched = "name" in (config.space.get("optimizer") or {})
    for name in Optimizer.model_fields:
        if getattr(optimizer, name) is not None and not searched and not optimizer.has(name):
            raise RequestError(
                f"optimizer.{name}",
                f"{optimizer.name} has none; it belongs to {listing(optimizers_with(name))}",
            )


def _check_learner(name: str, target: Any, arguments: Mapping[str, Any], data: Dataset) -> None:
    try:
        learner = target(**{k: v for k, v in arguments.items() if not isinstance(v, Mapping)})
        check_constraints(learner)
    except InvalidParameterError as error:
        raise invalid_parameter(error) from None
    except (TypeError, ValueError) as error:
        raise RequestError("model", str(error).splitlines()[0]) from None
    fits = is_classifier if data.task == "classification" else is_regressor
    if not fits(learner):
        kinds = {"classifier": is_classifier(learner), "regressor": is_regressor(learner)}
        other = next((word for word, is_one in kinds.items() if is_one), None)
        if other is None or not hasattr(learner, "predict"):
            raise RequestError(
                "model._target_", f"'{target.__name__}' is neither a classifier nor a regressor"
            )
        raise RequestError(
            "model", f"'{name}' is a {other}, but the task is {data.task} (data={data.name})"
        )


def invalid_parameter(error: Exception) -> RequestError:
    """Turn scikit-learn's "The 'C' parameter of SVC must be …. Got -1 instead." into our form."""
    text = str(error)
    parameter = text.split("'")[1] if "'" in text else ""
    requirement = text.partition(" must be ")[2].removesuffix(" instead.")
    return RequestError(f"model.{parameter}", f"must be {requirement.replace('. Got ', ', got ')}")
