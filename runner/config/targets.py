"""What a config's ``_target_`` may name, and what arguments it takes.

The composed config never decides this: the built-in list below does, and the user's own setting
outside the config (``RUNNER_ALLOW`` or ``[tool.runner] allow`` in the folder's pyproject.toml).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from runner.config.schema import explain
from runner.errors import RequestError, did_you_mean, listing
from runner.quiet import quiet_import

_SKLEARN = (
    "calibration cluster compose decomposition discriminant_analysis dummy ensemble "
    "feature_selection gaussian_process impute isotonic kernel_approximation kernel_ridge "
    "linear_model mixture model_selection multiclass multioutput naive_bayes neighbors "
    "neural_network pipeline preprocessing random_projection svm tree"
)
BUILT_IN = (
    "runner.data.*",
    "runner.models.*",
    "runner.search.*",
    "optuna.samplers.*",
    "optuna.pruners.*",
    # Only those that neither write files nor call anything.
    "keras.callbacks.EarlyStopping",
    "keras.callbacks.ReduceLROnPlateau",
    "keras.callbacks.TerminateOnNaN",
    *(f"sklearn.{package}.*" for package in _SKLEARN.split()),
)


def allowed_targets() -> tuple[str, ...]:
    """List what may be instantiated: exact names, or ``package.*``.

    Where the user allows modules of their own, the current folder also becomes importable (last,
    so that nothing in it can stand in for an installed package).
    """
    own = (*_from_environment(), *_from_pyproject())
    if own and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    return (*BUILT_IN, *own)


def allows_own_modules() -> bool:
    """Whether the environment or this folder's pyproject.toml allows more than what is built in."""
    return bool(_from_environment() or _from_pyproject())


def _from_environment() -> list[str]:
    return os.environ.get("RUNNER_ALLOW", "").replace(",", " ").split()


def _from_pyproject() -> list[str]:
    path = Path("pyproject.toml")
    if not path.is_file():
        return []
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(str(path.absolute()), f"is not valid TOML: {error}") from None
    allow = settings.get("tool", {}).get("runner", {}).get("allow", [])
    if not (isinstance(allow, list) and all(isinstance(entry, str) for entry in allow)):
        raise RequestError(f"{path.absolute()} [tool.runner] allow", "must be a list of names")
    return allow


def is_allowed(target: str, allow: Sequence[str]) -> bool:
    return any(
        target == entry or (entry.endswith(".*") and target.startswith(entry[:-1]))
        for entry in allow
    )


def resolve(path: str, target: object, allow: Sequence[str]) -> Any:
    """Import what ``_target_`` at config path `path` names.

    Raises
    ------
    RequestError
        When it is not a name, not allowed, or does not exist.
    """
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        raise RequestError(path, f"must be a dotted Python name, got {target!r}")
    if not is_allowed(target, allow):
        entry = f"{target.split('.')[0]}.*"
        raise RequestError(
            path,
            f"'{target}' is not allowed; to allow it, set RUNNER_ALLOW=\"{entry}\" in the "
            f'environment or [tool.runner] allow = ["{entry}"] in this folder\'s pyproject.toml',
        )
    module, attributes = _import_longest(path, target)
    found: Any = module
    for name in attributes:
        if not hasattr(found, name):
            near = did_you_mean(name, [n for n in dir(found) if not n.startswith("_")])
            raise RequestError(path, f"'{target}': {found.__name__} has no '{name}'{near}")
        found = getattr(found, name)
        if isinstance(found, ModuleType):
            raise RequestError(path, f"'{target}' reaches through a module; name it directly")
    if not callable(found):
        raise RequestError(path, f"'{target}' is neither a class nor a function")
    # Built-in packages re-export much that was never meant to be named here; a full name was.
    home = f"{found.__module__}.{found.__qualname__}"
    by_package = target not in BUILT_IN and is_allowed(target, BUILT_IN)
    if by_package and not is_allowed(home, allow):
        raise RequestError(path, f"'{target}' is really '{home}', which is not allowed")
    return found


def _import_longest(path: str, target: str) -> tuple[ModuleType, list[str]]:
    parts = target.split(".")
    if target.startswith("sklearn.model_selection.Halving"):
        importlib.import_module("sklearn.experimental.enable_halving_search_cv")
    for end in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:end])
        try:
            with contextlib.nullcontext() if name in sys.modules else quiet_import():
                return importlib.import_module(name), parts[end:]
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise RequestError(
                    path, f"importing '{name}' needs '{error.name}', which is missing"
                ) from None
        except Exception as error:
            kind = type(error).__name__
            raise RequestError(path, f"importing '{name}' failed: {kind}: {error}") from error
    raise RequestError(path, f"'{target}': there is no module '{parts[0]}'")


def check_nested(path: str, node: Any, allow: Sequence[str]) -> None:
    """Refuse any ``_target_`` below `node` that is not allowed."""
    for where, described in _described(path, node):
        target = resolve(f"{where}._target_", described["_target_"], allow)
        refuse_pickles(where, target, described)


def _described(path: str, node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping below `node` that has a ``_target_``, with its config path."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from _described(f"{path}.{key}", value)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for index, value in enumerate(node):
            yield from _described(f"{path}[{index}]", value)


def refuse_pickles(path: str, target: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse scikit-learn's ``memory``: it reads pickles, which can run code, from a folder."""
    for name, value in arguments.items():
        is_memory = str(name) == "memory" or str(name).endswith("__memory")
        if is_memory and isinstance(value, str) and str(target.__module__).startswith("sklearn."):
            raise RequestError(f"{path}.{name}", f"is not allowed: '{value}' may hold pickles")


def parameters(target: Any) -> dict[str, inspect.Parameter]:
    """The keyword arguments that a class or function takes, `meta` and the like left out."""
    provided = {"meta", "compile_kwargs", "params", "self"}
    return {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in provided
    }


def hints(target: Any) -> dict[str, Any]:
    """The annotations of the arguments of a function or class, ranges included."""
    function = target.__init__ if inspect.isclass(target) else target
    if not inspect.isfunction(function):
        return {}
    found: dict[str, Any] = {}
    for name, parameter in parameters(target).items():
        if parameter.annotation is not parameter.empty:
            alone = SimpleNamespace(__annotations__={name: parameter.annotation})
            # A name that exists only for type checkers says nothing that could be checked here.
            with contextlib.suppress(NameError):
                found |= get_type_hints(alone, function.__globals__, include_extras=True)
    return found


def takes_meta(target: Any) -> bool:
    return "meta" in inspect.signature(target).parameters or takes_any(target)


def takes_any(target: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(target).parameters.values())


def check_names(path: str, target: Any, names: Iterable[str], also: Iterable[str] = ()) -> None:
    """Refuse the first of `names` that `target` does not take; `also` may be suggested instead."""
    known = [*parameters(target), *also]
    for name in names:
        if name not in known and not takes_any(target):
            near = did_you_mean(name, known) or f"; known: {listing(known)}"
            raise RequestError(f"{path}.{name}", f"{target.__name__} takes no '{name}'{near}")


def check_arguments(
    path: str, target: Any, arguments: Mapping[str, Any], also: Iterable[str] = ()
) -> None:
    """Check arguments against the signature: names, and types and ranges where it states them.

    `also` are names at the same path that someone else takes, to be suggested.

    Raises
    ------
    RequestError
        For the first name that `target` does not take or value outside its annotation, and for
        required arguments that are missing.
    """
    known = parameters(target)
    stated = hints(target)
    check_names(path, target, arguments, also)
    refuse_pickles(path, target, arguments)
    for name in stated.keys() & arguments.keys():
        if not isinstance(arguments[name], Mapping):
            check_value(f"{path}.{name}", stated[name], arguments[name])
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in arguments:
            raise RequestError(f"{path}.{name}", f"is required by {target.__name__}")


def check_value(path: str, annotation: Any, value: Any) -> None:
    """Check one value against a type annotation, ranges included."""
    settings = ConfigDict(arbitrary_types_allowed=True)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=settings)
    except (PydanticSchemaGenerationError, PydanticUserError):
        # Not something that pydantic can check: the target itself will.
        return
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError as error:
        raise explain(error, prefix=path) from None


def check_constraints(estimator: Any) -> None:
    """Let scikit-learn check the arguments of what it made itself; others state no constraints.

    Raises
    ------
    InvalidParameterError
        For the first argument out of its range.
    """
    if hasattr(estimator, "_parameter_constraints"):
        estimator._validate_params()
