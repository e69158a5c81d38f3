"""Asking a trial for a value of every dimension of a space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna

from runner.search.space import Choice, Dimension, Space


def suggest(
    space: Space, trial: optuna.trial.BaseTrial, stored: Callable[[Any], Any] = lambda value: value
) -> dict[str, Any]:
    """Ask `trial` for a value of every dimension whose conditions hold.

    `stored` turns the values of a choice into what Optuna keeps; lists and mappings that it leaves
    as they are go by their position.
    """
    values: dict[str, Any] = {}
    pending = dict(space.dimensions)
    while pending:
        # Conditions rest on other dimensions: those come first, whatever the order written.
        for path, dimension in list(pending.items()):
            if any(other in pending for other in dimension.when):
                continue
            del pending[path]
            if all(values.get(o, _Absent) in allowed for o, allowed in dimension.when.items()):
                values[path] = _suggest_one(path, dimension, trial, stored)
    return {path: values[path] for path in space.dimensions if path in values}


class _Absent:
    """Stands for a dimension whose own conditions do not hold."""


def _suggest_one(
    path: str, dimension: Dimension, trial: optuna.trial.BaseTrial, stored: Callable[[Any], Any]
) -> Any:
    if isinstance(dimension, Choice):
        options = [stored(value) for value in dimension.values]
        if not all(isinstance(option, bool | int | float | str | None) for option in options):
            options = list(range(len(options)))
        chosen = trial.suggest_categorical(path, options)
        # True and 1 are equal, and yet different options.
        places = [type(option) is type(chosen) and option == chosen for option in options]
        return dimension.values[places.index(True)]
    if dimension.is_integer:
        step = 1 if dimension.step is None else int(dimension.step)
        return trial.suggest_int(
            path, int(dimension.low), int(dimension.high), step=step, log=dimension.log
        )
    return trial.suggest_float(
        path, dimension.low, dimension.high, step=dimension.step, log=dimension.log
    )
