"""The typed configuration of one experiment: names, types and allowed ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runner.config.overrides import is_searchable
from runner.data.dataset import DataOptions
from runner.errors import RequestError, did_you_mean, listing

PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the config whose keys are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Section):
    """What every data option knows; `source` is its ``_target_`` with that function's arguments."""

    name: str | None = None
    test_size: Fraction = 0.2
    limit: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    task: Literal["auto", "classification", "regression"] = "auto"
    group: str | None = None
    time: str | None = None
    source: dict[str, Any]

    def options(self, default_name: str) -> DataOptions:
        fields = self.model_dump(exclude={"source", "name"})
        return DataOptions(name=self.name or default_name, **fields)


class Preprocess(Section):
    """How features are prepared, fitted inside each fold."""

    name: Literal["auto", "standard", "minmax", "none"] = "auto"


_OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
_SPECIFIC_ARGUMENTS = {
    "beta_1": ("adam", "adamw"),
    "beta_2": ("adam", "adamw"),
    "momentum": ("sgd", "rmsprop"),
    "nesterov": ("sgd",),
    "rho": ("rmsprop",),
    "epsilon": ("adam", "adamw", "rmsprop"),
}


def optimizers_with(argument: str) -> tuple[str, ...]:
    """Names of the optimizers that take `argument`."""
    return _SPECIFIC_ARGUMENTS.get(argument, _OPTIMIZERS)


class Optimizer(Section):
    """A Keras optimizer; arguments that the named one lacks are not passed to it."""

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    momentum: Decay | None = None
    nesterov: bool | None = None
    weight_decay: NonNegativeFloat | None = None
    beta_1: Decay | None = None
    beta_2: Decay | None = None
    rho: Decay | None = None
    epsilon: PositiveFloat | None = None
    clipnorm: PositiveFloat | None = None

    def has(self, argument: str) -> bool:
        return self.name in optimizers_with(argument)

    def arguments(self) -> dict[str, Any]:
        """What is set and the named optimizer takes."""
        values = self.model_dump(exclude={"name"})
        return {k: v for k, v in values.items() if v is not None and self.has(k)}


class EarlyStopping(Section):
    """Stop when the loss on held-out training rows has not improved for `patience` epochs."""

    patience: PositiveInt | None = None
    validation_fraction: Fraction = 0.1
    min_delta: NonNegativeFloat = 0.0


class Training(Section):
    """How a network is fitted."""

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 32
    schedule: Literal["none", "cosine", "plateau"] = "none"
    class_weight: Literal["balanced"] | None = None
    early_stopping: EarlyStopping = EarlyStopping()
    callbacks: list[dict[str, Any]] = []
    fast: bool = True


class Search(Section):
    """What every search knows; `arguments` are its ``_target_`` with that class's arguments."""

    n_iter: PositiveInt = 10
    max_failures: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)] = 0.5
    retries: Annotated[int, Field(ge=0)] = 1
    trial_timeout: PositiveFloat | None = None
    time_budget_s: PositiveFloat | None = None
    arguments: dict[str, Any]

    def most_failures(self, n_fits: int) -> int:
        """How many of so many fits may fail: `max_failures` as a number, or a share of them."""
        if isinstance(self.max_failures, int):
            return self.max_failures
        return math.floor(self.max_failures * n_fits)


class Compute(Section):
    """Where fits run: worker processes (`n_jobs`) and threads in each, here or on a cluster."""

    backend: Literal["local", "dask", "ray"] = "local"
    address: str | None = None
    device: Literal["auto", "cpu", "gpu"] = "auto"
    n_jobs: Literal["auto"] | int = "auto"
    fork: bool = True
    threads: PositiveInt = 1
    cache_mb: PositiveFloat = 1000.0
    checkpoint_s: Annotated[float, Field(ge=0)] = 30.0


class MlflowSettings(Section):
    """An MLflow database or server, and what is logged there; `timeout_s` is for each run."""

    uri: str | None = None
    experiment: Annotated[str, Field(min_length=1, max_length=500)] = "runner"
    candidates: bool = True
    artifacts: bool = True
    timeout_s: PositiveFloat = 60.0


class TensorboardSettings(Section):
    """Event files in the run's folder."""

    candidates: bool = True


class Tracking(Section):
    """Where runs are logged besides their folders; None where they are not."""

    mlflow: MlflowSettings | None = None
    tensorboard: TensorboardSettings | None = None


class SweepSettings(Section):
    """How the jobs of a sweep are combined and judged, and what a failed one means for the rest."""

    on_error: Literal["continue", "stop"] = "continue"
    zip: list[str] = []
    objectives: list[str] = []


class ExperimentConfig(Section):
    """One experiment, checked for names, types and ranges.

    `choices` names the option chosen from each config group; `overrides` are the command line's.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    scoring: str | list[str] = "auto"
    refit: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    plots: bool = True
    data: Data
    preprocess: Preprocess = Preprocess()
    model: dict[str, Any]
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    search: Search
    cv: dict[str, Any]
    compute: Compute = Compute()
    tracking: Tracking = Tracking()
    sweep: SweepSettings = SweepSettings()
    space: dict[str, Any] = {}
    choices: dict[str, str] = {}
    overrides: list[str] = []

    @classmethod
    def parse(
        cls, config: Mapping[str, Any], choices: Mapping[str, str], overrides: list[str]
    ) -> Self:
        """Check a composed config (plain containers, resolved).

        Raises
        ------
        RequestError
            Naming the first unknown key, wrong type or value out of range.
        """
        node = dict(config)
        node["data"] = _split(node.get("data") or {}, Data, "source")
        node["search"] = _split(node.get("search") or {}, Search, "arguments")
        try:
            parsed = cls.model_validate({**node, "choices": dict(choices), "overrides": overrides})
        except ValidationError as error:
            raise explain(error, cls) from None
        if parsed.compute.n_jobs == 0:
            raise RequestError(
                "compute.n_jobs", "must be 'auto', a positive number, or -1 for all, got 0"
            )
        return parsed


def _split(node: Mapping[str, Any], section: type[Section], rest: str) -> dict[str, Any]:
    """Separate the keys that a section knows from those of its ``_target_``."""
    known = set(section.model_fields) - {rest}
    return {
        **{key: value for key, value in node.items() if key in known},
        rest: {key: value for key, value in node.items() if key not in known},
    }


def explain(
    error: ValidationError, schema: type[BaseModel] | None = None, prefix: str = ""
) -> RequestError:
    """Say in one line what pydantic found: config path, value, what is allowed."""
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    # Members of a union are reported one by one under their type's name: keep the field.
    path = [part for part in location if part.isidentifier() and not part.startswith("literal[")]
    if first["type"] == "extra_forbidden":
        known = _keys_at(schema, path[:-1]) if schema else []
        problem = f"unknown key{did_you_mean(path[-1], known) or f'; known: {listing(known)}'}"
        return RequestError(".".join(path), problem)
    # Below a plain annotation the rest of the location only names members of its union.
    dotted = prefix if schema is None else ".".join(_existing(schema, path))
    problem = f"{_requirement(error, first['loc'])}, got {first['input']!r}"
    wants_one = first["type"] not in ("too_short", "too_long") and not first["type"].startswith(
        "list"
    )
    if isinstance(first["input"], list) and wants_one and is_searchable(dotted):
        problem += f"; to search over several values: space.{dotted}=…"
    return RequestError(dotted, problem)


def _requirement(error: ValidationError, location: tuple[int | str, ...]) -> str:
    """Join what each member of a union would accept; a single type says just its own."""
    found = error.errors(include_url=False)
    same_field = [e["msg"] for e in found if e["loc"][:-1] == location[:-1] or e["loc"] == location]
    messages = same_field if len({e["loc"][:-1] for e in found}) == 1 else [found[0]["msg"]]
    if error.errors()[0]["type"] == "too_short":
        return f"must have at least {error.errors()[0]['ctx']['min_length']} item"
    texts = [message.removeprefix("Input should be ") for message in messages]
    return "must be " + " or ".join(dict.fromkeys(texts))


def _keys_at(schema: type[BaseModel], path: list[str]) -> list[str]:
    for name in path:
        annotation = schema.model_fields[name].annotation
        members = (annotation, *get_args(annotation))
        sections = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        if not sections:
            return []
        schema = sections[0]
    return [name for name in schema.model_fields if name not in ("choices", "overrides")]


def _existing(schema: type[BaseModel], path: list[str]) -> list[str]:
    """Cut the path after its last real field."""
    kept: list[str] = []
    for name in path:
        if name not in _keys_at(schema, kept):
            break
        kept.append(name)
    return kept or path
