"""What the ``hydra`` part of a config may do: log, launch and sweep, but run no code of its choice.

Hydra checks targets as well, when it makes them, against `hydra_whitelist`; what is refused here
is refused before anything is made, in one line.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from runner.config.targets import allowed_targets, check_nested, is_allowed, resolve
from runner.errors import RequestError, did_you_mean, listing

# Hydra's launchers for clusters can run shell commands, so they need the user's own word; this
# project's take numbers and words only.
_PLUGINS = (
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "runner.sweeps.launchers.joblib.JoblibLauncher",
    "runner.sweeps.launchers.local.LocalLauncher",
    "runner.sweeps.launchers.ray.RayLauncher",
    "runner.sweeps.launchers.slurm.SlurmLauncher",
    "runner.sweeps.study.StudySweeper",
    "runner.sweeps.sweeper.JobSweeper",
    "runner.sweeps.space.suggest_space",
    "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
    "hydra_plugins.hydra_optuna_sweeper._impl.create_nsgaii_sampler",
    "hydra_plugins.hydra_optuna_sweeper._impl.create_nsgaiii_sampler",
)
_LOGGING_CLASSES = (
    "colorlog.ColoredFormatter",
    "logging.FileHandler",
    "logging.NullHandler",
    "logging.StreamHandler",
    "logging.handlers.RotatingFileHandler",
    "logging.handlers.TimedRotatingFileHandler",
)
_SECTIONS = ("hydra_logging", "job_logging", "callbacks", "launcher", "sweeper", "output_subdir")
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
# Nothing here decides what Python runs, as PYTHONPATH, LD_PRELOAD or RUNNER_ALLOW would.
_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_CPP_MIN_LOG_LEVEL",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


def hydra_whitelist() -> tuple[str, ...]:
    """What Hydra may make: what configs may name, and the handlers of a logging config."""
    return (*allowed_targets(), *_LOGGING_CLASSES, "runner.sweeps.space.suggest_space")


def check_hydra(config: DictConfig) -> None:
    """Refuse what would run code or write elsewhere by way of Hydra's own config.

    Parameters
    ----------
    config
        Composed, Hydra's part included.

    Raises
    ------
    RequestError
        For a factory, class or object in a logging config, a callback, launcher or sweeper that is
        not allowed, an environment variable that decides what runs, or a path out of the run's
        directory.
    """
    hydra = _resolved(config)
    allow = allowed_targets()
    for section in ("hydra_logging", "job_logging"):
        _check_logging(f"hydra.{section}", hydra[section] or {})
    check_nested("hydra.callbacks", hydra["callbacks"], allow)
    for section in ("launcher", "sweeper"):
        _check_plugin(f"hydra.{section}", hydra[section], allow)
    for name in config.hydra.job.env_set or ():
        if name not in _ENVIRONMENT:
            raise RequestError(
                f"hydra.job.env_set.{name}",
                "a config can't set it; set it where you start the runner. It can set "
                f"{listing(_ENVIRONMENT)}",
            )
    subdir = PurePath(hydra["output_subdir"] or "")
    if subdir.is_absolute() or ".." in subdir.parts:
        raise RequestError("hydra.output_subdir", f"'{subdir}' leads out of the run's folder")


def check_search_path(entries: object, allow: Sequence[str]) -> None:
    """Refuse a package on Hydra's search path that is not allowed: looking there imports it."""
    for entry in entries if isinstance(entries, Sequence) else ():
        scheme, _, package = str(entry).partition("://")
        package = package.replace("/", ".").rstrip(".")
        if scheme == "pkg" and not is_allowed(f"{package}.conf", allow):
            raise RequestError(
                "hydra.searchpath",
                f"'{entry}' would import '{package}'; to allow it, set "
                f'RUNNER_ALLOW="{package}.*" in the environment',
            )


def _resolved(config: DictConfig) -> dict[str, Any]:
    """Hydra's part, with what Hydra itself fills in when a job starts."""
    filled = copy.deepcopy(config)
    with flag_override(filled, ["readonly", "struct"], False):
        filled.hydra.runtime.output_dir = "."
        filled.hydra.job.id, filled.hydra.job.num = "0", 0
    previous = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = cast(Any, filled)
    try:
        hydra: dict[str, Any] = {}
        for key in _SECTIONS:
            node = filled.hydra[key]
            is_node = OmegaConf.is_config(node)
            hydra[key] = OmegaConf.to_container(node, resolve=True) if is_node else node
        return hydra
    except OmegaConfBaseException as error:
        raise RequestError(error.full_key or None, str(error).splitlines()[0]) from None
    finally:
        HydraConfig.instance().cfg = previous


def _check_logging(path: str, config: Mapping[str, Any]) -> None:
    for where, key, value in _entries(path, config):
        if key in ("()", "."):
            what = "is made by a factory" if key == "()" else "has attributes set"
            raise RequestError(where, f"nothing in a logging config {what}; name a class")
        if key == "class" and value not in _LOGGING_CLASSES:
            near = did_you_mean(str(value), _LOGGING_CLASSES)
            raise RequestError(
                where, f"'{value}' is not allowed{near or f'; {listing(_LOGGING_CLASSES)} are'}"
            )
        if key == "style" and value == "{":
            raise RequestError(where, "'{' is not allowed: its fields reach into objects; use '%'")
        text = str(value)
        if text.startswith(("ext://", "cfg://")) and text not in _STREAMS:
            raise RequestError(where, f"'{text}' is not allowed; {listing(_STREAMS)} are")


def _entries(path: str, node: Any) -> Iterator[tuple[str, str, Any]]:
    """Every value below `node`, as config path, key and value."""
    items: Any = node.items() if isinstance(node, Mapping) else ()
    if isinstance(node, list):
        items = enumerate(node)
    for key, value in items:
        where = f"{path}.{key}" if isinstance(node, Mapping) else f"{path}[{key}]"
        yield where, str(key), value
        yield from _entries(where, value)


def _check_plugin(path: str, node: Any, allow: Sequence[str]) -> None:
    for where, key, target in _entries(path, node):
        is_named = key == "_target_" or (key == "custom_search_space" and target is not None)
        if is_named and target not in _PLUGINS:
            resolve(where, target, allow)
