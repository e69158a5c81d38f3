"""Everything that can be known before anything is trained: load, build, check."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Any

from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils._param_validation import InvalidParameterError

from runner.config.overrides import mentioned_in_space, pinned_paths
from runner.config.schema import (
    Data,
    ExperimentConfig,
    Optimizer,
    Preprocess,
    Training,
    optimizers_with,
)
from runner.config.targets import (
    allowed_targets,
    check_arguments,
    check_constraints,
    check_nested,
    check_value,
    hints,
    parameters,
    refuse_pickles,
    resolve,
)
from runner.data.dataset import DataOptions, Dataset
from runner.data.load import load_dataset
from runner.errors import RequestError, did_you_mean, listing
from runner.estimator.base import ConfigClassifier, ConfigEstimator, ConfigRegressor
from runner.estimator.parameters import is_network_factory, model_target
from runner.search.build import (
    check_folds,
    make_search,
    make_splitter,
    n_splits,
    search_class,
    searches_space,
)
from runner.search.scoring import Scoring
from runner.search.space import Choice, Space

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """A checked experiment: what to fit, on what, and how candidates are found and judged."""

    config: ExperimentConfig
    data: Dataset
    estimator: ConfigEstimator
    space: Space
    scoring: Scoring
    splitter: Any
    n_splits: int
    allow: tuple[str, ...]

    @property
    def is_network(self) -> bool:
        return "training.epochs" in self.estimator.leaves()

    @property
    def searches(self) -> bool:
        return searches_space(search_class(self.config.search, self.allow))

    @property
    def ignores_budget(self) -> bool:
        """Whether ``search.n_iter`` means nothing to the search."""
        known = parameters(search_class(self.config.search, self.allow))
        return not {"n_iter", "n_candidates"} & set(known)

    def make_search(self, estimator: ConfigEstimator, scorer: Any, n_jobs: int | None) -> Any:
        """Build the configured search over `estimator`."""
        config = self.config.search
        return make_search(
            config,
            search_class(config, self.allow),
            estimator,
            self.space,
            scoring=scorer,
            rank_by=self.scoring.refit if len(self.scoring.names) > 1 else "score",
            cv=self.splitter,
            n_jobs=n_jobs,
            seed=self.config.seed,
            max_epochs=self.config.training.epochs if self.is_network else None,
            allow=self.allow,
        )


def prepare(config: ExperimentConfig) -> Experiment:
    """Load the data and build every part, training nothing and without TensorFlow.

    Raises
    ------
    RequestError
        For the first thing that can't be run as asked.
    """
    allow = allowed_targets()
    # What needs no data comes first: it is answered at once.
    space = Space.parse(config.space)
    for section in ("source", "model"):
        node = config.data.source if section == "source" else config.model
        check_nested("data" if section == "source" else "model", _without_target(node), allow)
    check_nested("training.callbacks", config.training.callbacks, allow)
    search = search_class(config.search, allow)
    data = _load(config, allow)
    estimator = _estimator(config, data, allow)
    space = _settled_space(config, space, estimator, searches_space(search), allow)
    scoring = Scoring.parse(config.scoring, config.refit, data.task)
    splitter = make_splitter(config.cv, data.task, config.seed, allow)
    check_folds(splitter, data)
    scoring.check(data.task, data.classes, estimator)
    experiment = Experiment(
        config, data, estimator, space, scoring, splitter, n_splits(splitter, data), allow
    )
    experiment.make_search(estimator, None, None)
    return experiment


def _without_target(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "_target_"}


# Data ---------------------------------------------------------------------------------------------


def _load(config: ExperimentConfig, allow: Sequence[str]) -> Dataset:
    source = config.data.source
    target = resolve("data._target_", source.get("_target_"), allow)
    arguments = _without_target(source)
    check_arguments("data", target, arguments, also=set(Data.model_fields) - {"source"})
    options = config.data.options(default_name=config.choices.get("data", "data"))
    data, said = _load_once(target, json.dumps(arguments, sort_keys=True, default=repr), options)
    for record in said:
        logging.getLogger(record.name).handle(record)
    return data


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record)


@lru_cache(maxsize=2)
def _load_once(
    target: Any, arguments: str, options: DataOptions
) -> tuple[Dataset, list[logging.LogRecord]]:
    """Load a data set once for its check and its run, and for following jobs of a sweep.

    What loading says is kept too, so that each of them can say it.
    """
    listener = _Listener()
    package = logging.getLogger("runner.data")
    package.addHandler(listener)
    package.propagate = False
    try:
        return load_dataset(partial(target, **json.loads(arguments)), options), listener.said
    finally:
        package.removeHandler(listener)
        package.propagate = True


# Model --------------------------------------------------------------------------------------------


def _estimator(config: ExperimentConfig, data: Dataset, allow: tuple[str, ...]) -> ConfigEstimator:
    name = config.choices.get("model", "model")
    path = model_target(config.model, data.task)
    if path is None:
        raise RequestError("model", f"'{name}' has no variant for {data.task} (data={data.name})")
    target = resolve("model._target_", path, allow)
    arguments = _without_target(config.model)
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


def _check_learner(name: str, target: Any, arguments: Mapping[str, Any], data: Dataset) -> None:
    try:
        learner = target(**{k: v for k, v in arguments.items() if not isinstance(v, Mapping)})
        check_constraints(learner)
    except InvalidParameterError as error:
        raise _invalid_parameter(error) from None
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


def _invalid_parameter(error: Exception) -> RequestError:
    """Turn scikit-learn's "The 'C' parameter of SVC must be …. Got -1 instead." into our form."""
    text = str(error)
    parameter = text.split("'")[1] if "'" in text else ""
    requirement = text.partition(" must be ")[2].removesuffix(" instead.")
    return RequestError(f"model.{parameter}", f"must be {requirement.replace('. Got ', ', got ')}")


# Space --------------------------------------------------------------------------------------------


def _settled_space(
    config: ExperimentConfig,
    space: Space,
    estimator: ConfigEstimator,
    searches: bool,
    allow: Sequence[str],
) -> Space:
    """Keep what this run searches over: no pinned paths, conditions decided, values checked."""
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
        **flatten_hints("optimizer", Optimizer),
        **flatten_hints("training", Training),
        **flatten_hints("preprocess", Preprocess),
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
        problem = _invalid_parameter(error).problem
        raise RequestError(f"space.{path}", problem) from None


def flatten_hints(prefix: str, section: Any) -> dict[str, Any]:
    """Annotations of a section's fields by config path, ranges included."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
            found |= flatten_hints(f"{prefix}.{name}", annotation)
        else:
            found[f"{prefix}.{name}"] = _annotated(annotation, field.metadata)
    return found


def _annotated(annotation: Any, metadata: Sequence[Any]) -> Any:
    return Annotated[annotation, *metadata] if metadata else annotation
