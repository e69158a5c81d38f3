"""Everything that can be known before anything is trained: load, build, check."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from runner import __version__, fork_server
from runner.checks.model import make_estimator, without_target
from runner.checks.space import settled_space
from runner.config.schema import (
    Data,
    ExperimentConfig,
)
from runner.config.targets import (
    allowed_targets,
    check_arguments,
    check_nested,
    parameters,
    resolve,
)
from runner.data.dataset import DataOptions, Dataset
from runner.data.load import load_dataset
from runner.errors import RequestError, did_you_mean, listing
from runner.estimator.base import ConfigEstimator
from runner.results.comparison.pareto import FIT_S
from runner.search.build import (
    check_folds,
    make_search,
    make_splitter,
    n_splits,
    search_class,
    searches_space,
)
from runner.search.origin import Origin
from runner.search.scoring import Scoring
from runner.search.space import Space
from runner.tracking.settings import check_tracking

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
            origin=self._origin(estimator),
            allow=self.allow,
        )

    def _origin(self, estimator: ConfigEstimator) -> Origin | None:
        """What a study that is shared with other processes is of."""
        config = self.config
        if config.search.arguments.get("storage") is None:
            return None
        sections = ("seed", "preprocess", "model", "optimizer", "training", "cv")
        parts = {
            **config.model_dump(include=set(sections)),
            "data": self.data.fingerprint,
            "space": repr(self.space.dimensions),
            "scoring": [self.scoring.names, self.scoring.refit],
            "compute.threads": config.compute.threads,
            "version of the runner": __version__,
        }
        return Origin.of(parts, estimator.record.path if estimator.record else None)


def prepare(config: ExperimentConfig) -> Experiment:
    """Load the data and build every part, training nothing and without TensorFlow.

    Raises
    ------
    RequestError
        For the first thing that can't be run as asked.
    """
    fork_server.note_threads()
    check_tracking(config.tracking)
    allow = allowed_targets()
    # What needs no data comes first: it is answered at once.
    space = Space.parse(config.space)
    for section in ("source", "model"):
        node = config.data.source if section == "source" else config.model
        check_nested("data" if section == "source" else "model", without_target(node), allow)
    check_nested("training.callbacks", config.training.callbacks, allow)
    search = search_class(config.search, allow)
    data = _load(config, allow)
    estimator = make_estimator(config, data, allow)
    space = settled_space(config, space, estimator, searches_space(search), allow)
    scoring = Scoring.parse(config.scoring, config.refit, data.task)
    _check_objectives(config.sweep.objectives, scoring)
    splitter = make_splitter(config.cv, data.task, config.seed, allow)
    check_folds(splitter, data)
    scoring.check(data.task, data.classes, estimator)
    experiment = Experiment(
        config, data, estimator, space, scoring, splitter, n_splits(splitter, data), allow
    )
    search = experiment.make_search(estimator, None, None)
    if hasattr(search, "check_reach"):
        search.check_reach()
    return experiment


def _check_objectives(names: Sequence[str], scoring: Scoring) -> None:
    known = (*scoring.names, FIT_S)
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise RequestError(
                "sweep.objectives",
                f"'{name}' is neither in scoring ({listing(scoring.names)}) nor {FIT_S}{near}",
            )


# Data ---------------------------------------------------------------------------------------------


def _load(config: ExperimentConfig, allow: Sequence[str]) -> Dataset:
    source = config.data.source
    target = resolve("data._target_", source.get("_target_"), allow)
    arguments = without_target(source)
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
