"""What the jobs of a sweep are judged by, where that is not one score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from runner.errors import RequestError, listing
from runner.results.comparison.pareto import DIRECTIONS, FIT_S, Direction, Objective
from runner.results.schema import Result


def read_objectives(sweep: DictConfig, sweeper: DictConfig) -> tuple[Objective, ...]:
    """Read ``sweep.objectives``, none by default.

    Scores are maximized and times minimized, unless ``hydra.sweeper.direction`` lists it otherwise.

    Parameters
    ----------
    sweep, sweeper
        The config's ``sweep`` and ``hydra.sweeper``.

    Raises
    ------
    RequestError
        For a name given twice, and directions that do not go with the names.
    """
    names = [str(name) for name in sweep.objectives]
    if len(set(names)) < len(names):
        raise RequestError("sweep.objectives", f"names one twice: {listing(names)}")
    given = OmegaConf.select(sweeper, "direction")
    if not isinstance(given, ListConfig):
        return tuple(Objective(name, _natural(name)) for name in names)
    path, directions = "hydra.sweeper.direction", list(given)
    for direction in directions:
        if direction not in DIRECTIONS:
            raise RequestError(path, f"must be of {listing(DIRECTIONS)}, got '{direction}'")
    if len(directions) != len(names):
        raise RequestError(
            path, f"has {len(directions)} directions, but sweep.objectives {len(names)} names"
        )
    return tuple(map(Objective, names, directions))


def _natural(name: str) -> Direction:
    return "minimize" if name == FIT_S else "maximize"


def job_value(result: Result | None, objectives: Sequence[Objective]) -> Any:
    """What a job tells its sweeper: a number, or one for each of several objectives.

    NaN where it failed, which no sampler takes for a score.
    """
    values = [_value(result, objective) for objective in objectives]
    if len(values) > 1:
        return values
    if values:
        return values[0]
    return math.nan if result is None or result.best is None else result.best.cv_mean


def _value(result: Result | None, objective: Objective) -> float:
    if result is None or result.best is None or result.timing is None:
        return math.nan
    if objective.name == FIT_S:
        return result.timing.fit_s
    return result.best.cv.get(objective.name, math.nan)
