"""The space of a config: does the model take what is to be searched?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError

from runner.checks.model import invalid_parameter
from runner.config.overrides import mentioned_in_space, pinned_paths
from runner.config.schema import (
    ExperimentConfig,
    Optimizer,
    Preprocess,
    Training,
    optimizers_with,
)
from runner.config.targets import (
    check_constraints,
    check_nested,
    check_value,
    hints,
    parameters,
    refuse_pickles,
    resolve,
)
from runner.errors import RequestError, did_you_mean, listing
from runner.estimator.base import ConfigEstimator
from runner.estimator.parameters import model_target
from runner.search.space import Choice, Space

logger = logging.getLogger(__name__)


def settled_space(
    config: ExperimentConfig,
    space: Space,
    estimator: ConfigEstimator,
    searches: bool,
    allow: Sequence[str],
) -> Space:
    """Keep what this run searches over: no pinned paths, conditions decided, values checked.

    Raises
    ------
    RequestError
        For a path that the model lacks, a value that it refuses, and for nothing left to search.
    """
    leaves = estimator.leaves()
    _check_paths(config, space, leaves)
    pinned = pinned_paths(config.overrides) - mentioned_in_space(config.overrides)
    for path in sorted(pinned & set(space.dimensions)) if searches else ():
        logger.info("%s is set on the command line, so it is not searched", path)
    space = space.without(pinned)
    _check_values(config, space, estimator, allow)
    space = space.settle(leaves)
    _check_searched_optimizer(space, config.optimizer.name)
    resource = config.search.arguments.get("resource")
    if searches and resource in space.dimensions:
        logger.info("%s is what halving grows, so it is not searched", resource)
        space = space.without({str(resource)})
    if searches and not len(space):
        raise RequestError(
            "space",
            "there is nothing to search: name a space (space=mlp), give one on the command line "
            f"(space.{_example(leaves)}=[…]), or use search=none",
        )
    return space


def _check_searched_optimizer(space: Space, fixed: str) -> None:
    """Refuse to search an argument for an optimizer that lacks it."""
    choice = space.dimensions.get("optimizer.name", Choice((fixed,)))
    assert isinstance(choice, Choice)
    for path, dimension in space.dimensions.items():
        section, _, name = path.partition(".")
        if section != "optimizer":
            continue
        having = optimizers_with(name)
        lacking = [
            o for o in dimension.when.get("optimizer.name", choice.values) if o not in having
        ]
        if lacking:
            condition = "when:{optimizer.name:" + having[0] + "}"
            raise RequestError(
                f"space.{path}",
                f"{lacking[0]} has none; it belongs to {listing(having)}: add {condition}",
            )


def _example(leaves: Mapping[str, Any]) -> str:
    return next((path for path, value in leaves.items() if path.startswith("model.")), "model.x")


def _check_paths(config: ExperimentConfig, space: Space, leaves: Mapping[str, Any]) -> None:
    for path in space.dimensions:
        if path not in leaves:
            name = config.choices.get("model", "model")
            near = did_you_mean(path, leaves) or f"; it takes: {listing(leaves)}"
            raise RequestError(f"space.{path}", f"model={name} has no '{path}'{near}")


def _check_values(
    config: ExperimentConfig, space: Space, estimator: ConfigEstimator, allow: Sequence[str]
) -> None:
    sections = {
        **_annotations("optimizer", Optimizer),
        **_annotations("training", Training),
        **_annotations("preprocess", Preprocess),
    }
    target = resolve("model._target_", model_target(config.model, estimator.task), allow)
    for path, dimension in space.dimensions.items():
        values = (
            dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        )
        name = path.removeprefix("model.")
        section, _, last = f"space.{path}".rpartition(".")
        check_nested(f"space.{path}", values, allow)
        for value in values:
            if isinstance(target, type):
                refuse_pickles(section, target, {last: value})
            if path in sections:
                check_value(f"space.{path}", sections[path], value)
            elif name in hints(target):
                check_value(f"space.{path}", hints(target)[name], value)
            elif isinstance(target, type) and issubclass(target, BaseEstimator):
                _check_learner_value(path, target, name, value)


def _check_learner_value(path: str, target: Any, name: str, value: Any) -> None:
    if name not in parameters(target):
        return
    try:
        check_constraints(target(**{name: value}))
    except InvalidParameterError as error:
        problem = invalid_parameter(error).problem
        raise RequestError(f"space.{path}", problem) from None


def _annotations(prefix: str, section: Any) -> dict[str, Any]:
    """Annotations of a section's fields by config path, ranges included."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
            found |= _annotations(f"{prefix}.{name}", annotation)
        else:
            found[f"{prefix}.{name}"] = _annotated(annotation, field.metadata)
    return found


def _annotated(annotation: Any, metadata: Sequence[Any]) -> Any:
    return Annotated[annotation, *metadata] if metadata else annotation
