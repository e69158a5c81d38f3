"""Hydra's composition, with its errors turned into one line each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Glob, Override
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import split_key
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from omegaconf.resolvers import oc
from yaml import MarkedYAMLError, YAMLError

from runner import secrets
from runner.config.folders import built_in_conf, own_conf
from runner.config.overrides import is_searchable, parse_override
from runner.config.schema import ExperimentConfig
from runner.config.targets import allowed_targets
from runner.config.trust import check_search_path
from runner.errors import RequestError, did_you_mean, listing

CONFIG_NAME = "runner"
# Parts whose keys follow from what was chosen, so they can't be listed beforehand.
_REQUIRED = ("data", "preprocess", "model", "optimizer", "training", "search", "cv", "compute")
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, OSError, ValueError, YAMLError)
_COERCIBLE = ("bool", "bytes", "float", "int", "str", "pathlib.Path")
_OPEN = ("data", "model", "space", "search", "cv", "optimizer")
# Groups of which several options can be chosen at once, as a list.
_SEVERAL = ("tracking",)


class _UserConf(SearchPathPlugin):
    """Looks for options in the current folder's ``conf/`` before the built-in ones."""

    def manipulate_search_path(self, search_path: Any) -> None:
        own = own_conf()
        if own is not None:
            search_path.prepend("user", f"file://{own}", "main")


def register() -> None:
    """Tell Hydra what the config files alone can't say; safe to call twice."""
    base = OmegaConf.create({name: {} for name in _OPEN})
    for name in _OPEN:
        base[name]._set_flag("struct", False)
    ConfigStore.instance().store("open_sections", base, replace=True)
    Plugins.instance().register(_UserConf)
    OmegaConf.register_resolver("oc.env", _from_environment, replace=True)
    OmegaConf.register_resolver("oc.coerce", _coerced, replace=True)
    # Cached with each config, as the time is: two runs of the same second never share a folder.
    OmegaConf.register_resolver("run_id", lambda: os.urandom(3).hex(), use_cache=True, replace=True)


def _from_environment(name: str, *default: Any) -> str | None:
    if name in os.environ:
        secrets.remember(name)
    return oc.env(name, *default)


def _coerced(kind: str, value: Any) -> Any:
    # OmegaConf's own imports any module for the sake of an enumeration in it.
    if kind not in _COERCIBLE:
        raise ValueError(f"oc.coerce makes {listing(_COERCIBLE)} only, not '{kind}'")
    return oc.coerce(kind, value)


def compose_config(
    overrides: Sequence[str],
    config_name: str = CONFIG_NAME,
    config_dir: str | None = None,
) -> DictConfig:
    """Compose the whole config, Hydra's own part included.

    Raises
    ------
    RequestError
        For an unknown group, option or key, a value that can't be read, or a bare sweep.
    """
    register()
    with hydra_for(config_dir):
        for text in overrides:
            _refuse_bare_sweep(text)
            _check_group(parse_override(text))
        _check_search_path(overrides, config_name)
        try:
            return compose(config_name, list(overrides), return_hydra_config=True)
        except COMPOSITION_ERRORS as error:
            raise _diagnose(error, overrides, config_name) from error


@contextlib.contextmanager
def hydra_for(config_dir: str | None) -> Iterator[None]:
    """Make Hydra look for options where it will for the jobs, for the length of the block."""
    previous = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(built_in_conf())):
            if config_dir is not None:
                path = GlobalHydra.instance().config_loader().get_search_path()
                path.append("command-line", f"file://{Path(config_dir).absolute()}")
            yield
    finally:
        GlobalHydra.instance().hydra = previous


def expand_globs(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """Write out the options that ``group=glob(…)`` stands for.

    Raises
    ------
    RequestError
        When there is no option of that kind.
    """
    with hydra_for(config_dir):
        return [_expanded(text) for text in overrides]


def _expanded(text: str) -> str:
    override = parse_override(text)
    glob, group = override._value, override.key_or_group
    if not isinstance(glob, Glob):
        return text
    known = options(group)
    names = glob.filter(known)
    if not names:
        raise RequestError(group, f"no option is meant by '{text}'; options: {listing(known, 20)}")
    return f"{text.partition('=')[0]}={','.join(names)}"


def parse_config(config: DictConfig, hydra: Any = None) -> ExperimentConfig:
    """Check names, types and ranges of a composed config.

    Parameters
    ----------
    config
        The job's config, with or without Hydra's part.
    hydra
        Hydra's part; by default that of the running job or of `config` itself.
    """
    hydra = hydra or config.get("hydra") or HydraConfig.get()
    try:
        plain = OmegaConf.to_container(
            OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]),
            resolve=True,
            throw_on_missing=True,
        )
    except MissingMandatoryValue as error:
        path = str(error.full_key)
        raise RequestError(path, f"is required; give it on the command line: {path}=…") from None
    except OmegaConfBaseException as error:
        raise RequestError(error.full_key or None, first_line(error)) from None
    assert isinstance(plain, dict)
    choices = {
        str(group): str(option)
        for group, option in hydra.runtime.choices.items()
        if option is not None and not str(group).startswith("hydra")
    }
    # As they were written: what they refer to may be a secret, and may change.
    overrides = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return ExperimentConfig.parse(
        {str(key): value for key, value in plain.items()}, choices, list(map(str, overrides))
    )


def note_secrets(config: DictConfig) -> None:
    """Learn which environment variables a composed config uses, before any worker starts."""
    plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    with contextlib.suppress(OmegaConfBaseException):
        OmegaConf.to_container(plain, resolve=True)


def config_for_people(config: DictConfig) -> str:
    """The resolved config as YAML; what comes from the environment is masked, numbers aside, and
    so are passwords in addresses.

    Where something is computed from such a value, the config is left unresolved.
    """
    OmegaConf.register_resolver("oc.env", _masked, replace=True)
    try:
        return secrets.mask(OmegaConf.to_yaml(config, resolve=True))
    except OmegaConfBaseException:
        return secrets.mask(OmegaConf.to_yaml(config, resolve=False))
    finally:
        OmegaConf.register_resolver("oc.env", _from_environment, replace=True)


def _masked(name: str, *default: Any) -> str | None:
    value = oc.env(name, *default)
    return secrets.MASK if name in os.environ and not secrets.is_number(value) else value


def options(group: str) -> list[str]:
    """The options of a config group, the user's own included; none if there is no such group."""
    found: list[str] = GlobalHydra.instance().config_loader().get_group_options(group)
    return found


def groups() -> list[str]:
    found: list[str] = (
        GlobalHydra.instance().config_loader().get_group_options("", ObjectType.GROUP)
    )
    return found


def _check_search_path(overrides: Sequence[str], config_name: str) -> None:
    """Refuse packages to look for options in before Hydra looks there."""
    loader = cast(ConfigLoaderImpl, GlobalHydra.instance().config_loader())
    try:
        primary = loader.repository.load_config(config_name)
        written = loader.parse_overrides(config_name, list(overrides))
    except COMPOSITION_ERRORS as error:
        raise RequestError(None, first_line(error)) from None
    paths = [o.value() for o in written if split_key(o.key_or_group) == ["hydra", "searchpath"]]
    if primary is not None:
        paths.append(OmegaConf.select(primary.config, "hydra.searchpath"))
    for entries in paths:
        check_search_path(entries, allowed_targets())


def _refuse_bare_sweep(text: str) -> None:
    override = parse_override(text)
    if not override.is_sweep_override():
        return
    key, _, value = text.partition("=")
    if key.startswith("space."):
        raise RequestError(
            key, f"quote it as one value: '{key}=\"{value}\"', or write a list or {{low:…,high:…}}"
        )
    sweeper = " hydra/sweeper=optuna" if override.is_interval_sweep() else ""
    within = f"'space.{key}=[…]' or 'space.{key}={{low:…,high:…}}'"
    or_search = f", or search over it within one run: {within}" if is_searchable(key) else ""
    raise RequestError(key, f"several values need a sweep: add -m{sweeper}{or_search}")


def _check_group(override: Override) -> None:
    """Refuse an option that does not exist; Hydra itself lets optional groups pass."""
    group, value = override.key_or_group, override.value()
    known = options(group)
    if not known or (override.is_delete() and group not in _REQUIRED):
        return
    if group in _SEVERAL and isinstance(value, list) and not override.is_delete():
        chosen = [str(name) for name in value]
    elif isinstance(value, str) and not override.is_delete():
        chosen = [value]
    else:
        how_many = "options" if group in _SEVERAL else "one option"
        raise RequestError(group, f"must name {how_many}: {listing(known, 20)}")
    for name in chosen:
        if name not in known:
            near = did_you_mean(name, known) or f"; options: {listing(known, 20)}"
            raise RequestError(group, f"there is no option '{name}'{near}")


def _diagnose(error: Exception, overrides: Sequence[str], config_name: str) -> RequestError:
    """Find which override is at fault, and what would have been right."""
    chosen = [text for text in overrides if options(parse_override(text).key_or_group)]
    for text in overrides:
        override = parse_override(text)
        near = did_you_mean(override.key_or_group, groups())
        is_name = isinstance(override.value(), str)
        if "." not in override.key_or_group and text not in chosen and near and is_name:
            return RequestError(override.key_or_group, f"unknown group{near}")
    return _unknown_key(chosen, overrides, config_name) or RequestError(None, first_line(error))


def _unknown_key(
    chosen: Sequence[str], overrides: Sequence[str], config_name: str
) -> RequestError | None:
    try:
        base = compose(config_name, list(chosen), return_hydra_config=True)
    except COMPOSITION_ERRORS:
        return None
    for text in overrides:
        override = parse_override(text)
        key = override.key_or_group
        if text in chosen or override.is_add() or override.is_force_add():
            continue
        try:
            compose(config_name, [*chosen, text], return_hydra_config=True)
        except ConfigCompositionException:
            known = list(_paths(base))
            if key in known or OmegaConf.select(base, key) is not None:
                return RequestError(key, f"can't be set to {override.get_value_string()}")
            group, name = [*split_key(key), ""][:2]
            is_missing = OmegaConf.select(base, f"{group}.{name}") is None
            if group in _SEVERAL and name in options(group) and is_missing:
                return RequestError(key, f"means nothing without {group}={name}")
            return RequestError(key, f"unknown key{_nearest(key, known)}")
        except COMPOSITION_ERRORS:
            continue
    return None


def _nearest(key: str, known: Sequence[str]) -> str:
    """The nearest path, one that ends in the same name, or what there is beside it."""
    same_name = [path for path in known if path.endswith(f".{key}") and "hydra" not in path]
    if same_name:
        return f"; did you mean '{same_name[0]}'?"
    parent = key.rpartition(".")[0]
    siblings = [path for path in known if path.rpartition(".")[0] == parent]
    top = [path for path in known if "." not in path]
    return did_you_mean(key, known) or f"; known: {listing(siblings or top, 20)}"


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    for key in node:
        path = f"{prefix}{key}"
        yield path
        child = None if OmegaConf.is_missing(node, key) else node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _paths(child, f"{path}.")


def first_line(error: BaseException) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} ('{mark.name}', line {mark.line + 1})"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [repr(error)]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
