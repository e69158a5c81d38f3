"""From the config's ``search`` and ``cv`` to scikit-learn objects, by their signatures."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import instantiate
from sklearn.model_selection import (
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from runner.config.schema import Search
from runner.config.targets import (
    check_arguments,
    check_constraints,
    check_names,
    check_nested,
    check_value,
    hints,
    parameters,
    resolve,
)
from runner.data.dataset import Dataset, Task
from runner.errors import RequestError, listing
from runner.search.distributions import distributions
from runner.search.none import NoSearch
from runner.search.origin import Origin
from runner.search.space import Space
from runner.seeds import derive_seed

logger = logging.getLogger(__name__)

_PLAIN = {
    StratifiedKFold: KFold,
    RepeatedStratifiedKFold: RepeatedKFold,
    StratifiedShuffleSplit: ShuffleSplit,
    StratifiedGroupKFold: None,
}
_PROVIDED = {
    *("estimator", "param_grid", "param_distributions", "space", "scoring", "cv", "refit"),
    "origin",
}


def make_splitter(node: Mapping[str, Any], task: Task, seed: int, allow: Sequence[str]) -> Any:
    """Build the cross-validation splitter; stratified kinds become plain ones for regression.

    Raises
    ------
    RequestError
        For arguments it does not take or values it refuses.
    """
    check_nested("cv", node, allow)
    target = resolve("cv._target_", node.get("_target_"), allow)
    if not hasattr(target, "split"):
        raise RequestError("cv._target_", f"'{target.__name__}' splits nothing; name a splitter")
    if task == "regression" and target in _PLAIN:
        if _PLAIN[target] is None:
            raise RequestError("cv._target_", f"{target.__name__} needs classes; use cv=group")
        logger.debug("regression has no classes to stratify by: %s", _PLAIN[target].__name__)
        target = _PLAIN[target]
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    check_arguments("cv", target, arguments)
    known = parameters(target)
    shuffles = arguments.get("shuffle", "shuffle" not in known or known["shuffle"].default)
    if "random_state" in known and shuffles and arguments.get("random_state") is None:
        arguments["random_state"] = derive_seed(seed, "folds")
    _check_counts(
        arguments, at_least=1 if issubclass(target, ShuffleSplit | StratifiedShuffleSplit) else 2
    )
    try:
        return target(**arguments)
    except (ValueError, TypeError) as error:
        raise RequestError("cv", str(error)) from None


def _check_counts(arguments: Mapping[str, Any], at_least: int) -> None:
    for name, least in (("n_splits", at_least), ("n_repeats", 1)):
        value = arguments.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < least
        ):
            raise RequestError(
                f"cv.{name}", f"must be an integer of at least {least}, got {value!r}"
            )
    size = arguments.get("test_size")
    if size is not None and (not isinstance(size, int | float) or not 0 < size < 1):
        raise RequestError("cv.test_size", f"must be a fraction in (0, 1), got {size!r}")


def n_splits(splitter: Any, data: Dataset) -> int:
    return int(splitter.get_n_splits(data.X_train, data.y_train, data.groups_train))


def check_folds(splitter: Any, data: Dataset) -> None:
    """Refuse folds that these rows can't fill.

    Raises
    ------
    RequestError
        For a class with fewer rows than folds, fewer groups or rows than folds, missing groups.
    """
    needs_groups = "Group" in type(splitter).__name__
    if needs_groups and data.groups_train is None:
        raise RequestError("data.group", "cv=group needs it to name the column of the groups")
    if isinstance(splitter, StratifiedKFold | RepeatedStratifiedKFold):
        folds = getattr(splitter, "n_splits", None) or splitter.cvargs["n_splits"]
        assert data.classes is not None
        counts = {label: int((data.y_train == label).sum()) for label in data.classes}
        rarest = min(counts, key=lambda label: counts[label])
        if counts[rarest] < folds:
            raise RequestError(
                "cv.n_splits",
                f"class '{rarest}' has {counts[rarest]} training rows, fewer than {folds} folds",
            )
    try:
        for _ in splitter.split(data.X_train, data.y_train, data.groups_train):
            pass
    except ValueError as error:
        raise RequestError("cv", str(error).splitlines()[0]) from None


def search_class(config: Search, allow: Sequence[str]) -> Any:
    """Resolve the search's class.

    Raises
    ------
    RequestError
        When it is not allowed or is no search.
    """
    node = config.arguments
    check_nested("search", node, allow)
    target = resolve("search._target_", node.get("_target_"), allow)
    if not (inspect.isclass(target) and hasattr(target, "fit")):
        raise RequestError(
            "search._target_", f"'{node['_target_']}' is no search with a fit method"
        )
    return target


def searches_space(target: Any) -> bool:
    """Whether the search class draws from a space at all."""
    return not (inspect.isclass(target) and issubclass(target, NoSearch))


def make_search(
    config: Search,
    target: Any,
    estimator: Any,
    space: Space,
    *,
    scoring: Any,
    rank_by: str,
    cv: Any,
    n_jobs: int | None,
    seed: int,
    max_epochs: int | None,
    origin: Origin | None,
    allow: Sequence[str],
) -> Any:
    """Build the search over `estimator`, giving its class what the signature asks for.

    ``param_grid`` gets lists, ``param_distributions`` lists and distributions, ``space`` the space
    itself; ``n_iter`` or ``n_candidates`` the budget; ``random_state`` a seed; ``max_resource`` the
    configured value of the resource.
    """
    known = parameters(target)
    arguments = _arguments(config, target, seed, allow)
    if "param_grid" in known:
        grid = space.grid()
        arguments["param_grid"] = grid[0] if len(grid) == 1 else grid
    elif "param_distributions" in known:
        branches = distributions(space)
        arguments["param_distributions"] = branches[0] if len(branches) == 1 else branches
    elif "space" in known:
        arguments["space"] = space
    elif searches_space(target):
        raise RequestError(
            "search._target_",
            f"{target.__name__} takes none of param_grid, param_distributions or space",
        )
    provided = {
        "scoring": scoring,
        "cv": cv,
        "n_jobs": n_jobs,
        "refit": False,
        "rank_by": rank_by,
        "error_score": float("nan"),
        "n_iter": config.n_iter,
        "n_candidates": config.n_iter,
        "random_state": derive_seed(seed, "search"),
        "max_resource": _resource_value(arguments, estimator, max_epochs, known),
        "retries": config.retries,
        "origin": origin,
    }
    for name, value in provided.items():
        if name in known and name not in arguments:
            arguments[name] = value
    try:
        search = target(estimator, **arguments)
        check_constraints(search)
    except (ValueError, TypeError) as error:
        raise RequestError("search", str(error).splitlines()[0]) from None
    return search


def _arguments(config: Search, target: Any, seed: int, allow: Sequence[str]) -> dict[str, Any]:
    given = {key: value for key, value in config.arguments.items() if key != "_target_"}
    taken = [name for name in given if name in _PROVIDED]
    if taken:
        raise RequestError(f"search.{taken[0]}", "is filled in by the runner; leave it out")
    check_names("search", target, given, also=["n_iter"])
    built = {key: _built(value, seed, key, allow) for key, value in given.items()}
    stated = hints(target)
    for name in built.keys() & stated.keys():
        check_value(f"search.{name}", stated[name], built[name])
    return built


def _built(value: Any, seed: int, purpose: str, allow: Sequence[str]) -> Any:
    """Instantiate an argument described by a ``_target_``, seeded if it takes a seed."""
    if not (isinstance(value, Mapping) and "_target_" in value):
        return value
    path = f"search.{purpose}"
    target = resolve(f"{path}._target_", value["_target_"], allow)
    arguments = {key: item for key, item in value.items() if key != "_target_"}
    check_arguments(path, target, arguments)
    if "seed" in parameters(target) and arguments.get("seed") is None:
        value = {**value, "seed": derive_seed(seed, purpose)}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* is (an )?experimental")
            return instantiate(value, _execution_whitelist_=tuple(allow), _convert_="all")
    except Exception as error:  # noqa: BLE001 - whatever the constructor refuses with
        cause = error.__cause__ or error
        raise RequestError(path, str(cause).splitlines()[0]) from None


def _resource_value(
    arguments: Mapping[str, Any], estimator: Any, max_epochs: int | None, known: Mapping[str, Any]
) -> int | None:
    if "max_resource" not in known:
        return None
    resource = arguments.get("resource", known["resource"].default)
    leaves = estimator.leaves()
    value = leaves.get(str(resource))
    if isinstance(value, bool) or not isinstance(value, int):
        counted = [path for path, leaf in leaves.items() if type(leaf) is int]
        raise RequestError(
            "search.resource",
            f"'{resource}' is no whole number that this model takes; try one of {listing(counted)}",
        )
    least = arguments.get("min_resource", 1)
    if least > value:
        raise RequestError(
            "search.min_resource", f"must be at most {resource}={value}, got {least}"
        )
    return value
