"""The hyper-parameters of an experiment's estimator: the leaves of its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from sklearn.base import BaseEstimator

from runner.config.paths import flatten, replaced
from runner.config.schema import Optimizer, Preprocess, Training
from runner.config.targets import allowed_targets, parameters, resolve
from runner.data.dataset import Task
from runner.search.limits import Limits
from runner.search.record import FitRecord, candidate_id
from runner.training.states import StateStore

SECTIONS = ("model", "optimizer", "training", "preprocess")


def model_target(node: Mapping[str, Any], task: Task) -> Any:
    """The config's choice of class or factory for this task."""
    target = node.get("_target_")
    return target.get(task) if isinstance(target, Mapping) else target


def is_network_factory(target: Any) -> bool:
    """Whether a resolved target builds a Keras model (a function) or is a scikit-learn class."""
    return not (isinstance(target, type) and issubclass(target, BaseEstimator))


class ConfigParameters(BaseEstimator):
    """Hyper-parameters by config path.

    ``set_params`` and searches take ``model.dropout`` or ``optimizer.learning_rate``.

    Parameters
    ----------
    config
        Mapping with ``model`` (``_target_`` names a scikit-learn class, or a function that returns
        a Keras model), and optionally ``preprocess``, ``optimizer`` and ``training``.
    seed
        Every random choice derives from it and from the training rows.
    horizon
        Epochs that a learning-rate schedule spans; None means the config's ``training.epochs``.
    threads
        Threads that a fit may use.
    allow
        What ``_target_`` may name; None reads the environment and the current folder's
        pyproject.toml.
    record
        Where fits are noted, and finished ones found again; None does every fit.
    limits
        When fits are refused or ended.
    states
        Where networks store how far they were trained, so that a fit of the same candidate and
        rows goes on from there; None always starts anew.
    device
        What networks are trained on, ``cpu`` or ``gpu``: numbers are not the same on both. The
        process decides; this is for fits to be told apart.
    """

    task: Task

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        horizon: int | None = None,
        threads: int = 1,
        allow: tuple[str, ...] | None = None,
        record: FitRecord | None = None,
        limits: Limits | None = None,
        states: StateStore | None = None,
        device: str = "cpu",
    ) -> None:
        self.config = config
        self.seed = seed
        self.horizon = horizon
        self.threads = threads
        self.allow = allow
        self.record = record
        self.limits = limits
        self.states = states
        self.device = device

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        own: dict[str, Any] = super().get_params(deep=False)
        return {**own, **self.leaves()} if deep else own

    def set_params(self, **params: Any) -> Self:
        own = {name: value for name, value in params.items() if "." not in name}
        values = {name: value for name, value in params.items() if "." in name}
        known = {*self._get_param_names(), *(self.leaves() if values else ())}
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}")
        for name, value in own.items():
            setattr(self, name, value)
        if values:
            self.config = replaced(self.complete_config(), values)
        return self

    def leaves(self) -> dict[str, Any]:
        """Every hyper-parameter that this model takes, by config path."""
        return flatten(self.complete_config())

    def complete_config(self) -> dict[str, Any]:
        """The config with the defaults that it leaves unsaid."""
        config = self.config or {}
        model = dict(config.get("model") or {"_target_": "runner.models.networks.mlp"})
        target = self.target(model)
        defaults = {
            name: parameter.default
            for name, parameter in parameters(target).items()
            if parameter.default is not parameter.empty
        }
        sections = {
            "model": {**defaults, **model},
            "preprocess": Preprocess.model_validate(config.get("preprocess") or {}).model_dump(),
        }
        if is_network_factory(target):
            for name, schema in (("optimizer", Optimizer), ("training", Training)):
                sections[name] = schema.model_validate(config.get(name) or {}).model_dump()
        return sections

    def target(self, model: Mapping[str, Any]) -> Any:
        return resolve("model._target_", model_target(model, self.task), self.allowed())

    def allowed(self) -> tuple[str, ...]:
        return self.allow if self.allow is not None else allowed_targets()

    def candidate_id(self) -> str:
        """Name all that decides a fit but the rows."""
        return candidate_id({**self.leaves(), **self._beside_leaves(self.horizon)})

    def course_id(self, fold: str) -> str:
        """Name all that decides the course of training on a fold, but not how long it goes on."""
        leaves = self.leaves()
        horizon = self.horizon or leaves.pop("training.epochs", None)
        leaves.pop("training.epochs", None)
        return candidate_id({**leaves, **self._beside_leaves(horizon), "fold": fold})

    def _beside_leaves(self, horizon: int | None) -> dict[str, Any]:
        on_gpu = {"device": self.device} if self.device != "cpu" else {}
        return {
            **on_gpu,
            "target": model_target(self.complete_config()["model"], self.task),
            "seed": self.seed,
            "horizon": horizon,
            "threads": self.threads,
        }
