"""How long each candidate takes, timed on as many as there is patience for."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from runner.models.annotations import only_dropout
from runner.planning.fit_times import FitTimes, n_steps, time_fit
from runner.planning.proposals import Candidate
from runner.planning.schedule import Task
from runner.preparation import Experiment
from runner.searching import splits

logger = logging.getLogger(__name__)

_PATIENCE_S = 6.0
_LEAST = 3


class Clock:
    """Times candidates; what is not timed takes the mean of what is like it.

    Attributes
    ----------
    n_timed
        Candidates, or kinds of them that take equally long, that were timed.
    n_rows
        Training rows of a fold.
    warm_up_s
        What the first fit of a process took more than the first of another architecture.
    failure
        What the last fit failed with, if one did.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self.n_rows = len(next(splits(experiment))[0])
        self._leaves = experiment.estimator.leaves()
        self._same_time = _without_effect_on_time(experiment)
        self._times: dict[str, FitTimes] = {}
        self.warm_up_s = 0.0
        self.failure: Exception | None = None

    @property
    def n_timed(self) -> int:
        return len(self._times)

    def time(self, candidates: Sequence[Candidate]) -> None:
        """Time the config as it is, then candidates at random until patience ends."""
        kinds = {self._kind(one): one for one in reversed(candidates)}
        as_it_is = self._kind({})
        others = [kinds[kind] for kind in sorted(kinds) if kind != as_it_is]
        self._time({})
        first_done = time.monotonic()
        for index in np.random.default_rng(0).permutation(len(others)):
            if self.n_timed > _LEAST and time.monotonic() - first_done > _PATIENCE_S:
                break
            self._time(others[index])
        self._tell_warm_up_apart(as_it_is)

    def _time(self, candidate: Candidate) -> None:
        try:
            self._times[self._kind(candidate)] = time_fit(self._experiment, candidate)
        except Exception as error:  # noqa: BLE001 - whatever a model fails with
            logger.debug("a fit to time failed: %s", error)
            self.failure = error

    def _tell_warm_up_apart(self, first: str) -> None:
        others = [times.compile_s for kind, times in self._times.items() if kind != first]
        if others and first in self._times:
            usual = min(self._times[first].compile_s, statistics.median(others))
            self.warm_up_s = self._times[first].compile_s - usual
            self._times[first] = replace(self._times[first], compile_s=usual)

    def of(self, candidate: Mapping[str, Any]) -> FitTimes:
        """The times of a candidate, its own or reckoned from those of others."""
        kind = self._kind(candidate)
        if kind in self._times:
            return self._times[kind]
        batch_size = self._value(candidate, "training.batch_size")
        steps = 0 if batch_size is None else n_steps(self.n_rows, batch_size)
        alike = [times for times in self._times.values() if times.n_steps == steps]
        return _mean(alike or list(self._times.values()), steps)

    def epochs(self, candidate: Mapping[str, Any]) -> int:
        """Epochs of a candidate; 0 for a model that has none."""
        return int(self._value(candidate, "training.epochs") or 0)

    def task(self, candidate: Candidate, epochs: int) -> Task:
        """A candidate's fit on one fold, of so many epochs."""
        times = self.of(candidate)
        return Task(
            times.evaluation_s(epochs),
            self._architecture(candidate),
            times.compile_s,
            epochs,
            times.epoch_s,
        )

    def _value(self, candidate: Mapping[str, Any], path: str) -> Any:
        return candidate.get(path, self._leaves.get(path))

    def _kind(self, candidate: Mapping[str, Any]) -> str:
        """Name what decides how long a fit takes, epochs aside."""
        return self._named(candidate, "training.epochs")

    def _architecture(self, candidate: Mapping[str, Any]) -> str:
        """Name what decides whether a compiled model can be used again."""
        return self._named(candidate, "training.")

    def _named(self, candidate: Mapping[str, Any], without: str) -> str:
        values = {**self._leaves, **candidate}
        return json.dumps(
            {
                path: value
                for path, value in sorted(values.items())
                if path not in self._same_time and not path.startswith(without)
            },
            default=repr,
        )


def _without_effect_on_time(experiment: Experiment) -> set[str]:
    """Config paths whose values change neither a network's graph nor how long a step takes."""
    if not experiment.is_network:
        return set()
    estimator = experiment.estimator
    factory = estimator.target(estimator.complete_config()["model"])
    return {"optimizer.learning_rate", *(f"model.{name}" for name in only_dropout(factory))}


def _mean(times: Sequence[FitTimes], steps: int) -> FitTimes:
    def mean(name: str) -> float:
        return statistics.fmean(getattr(one, name) for one in times)

    return FitTimes(mean("compile_s"), mean("set_up_s"), mean("step_s"), steps, mean("score_s"))
