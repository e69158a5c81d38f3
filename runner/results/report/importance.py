"""Which hyper-parameters mattered."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from runner.results.report.figure import is_missing, is_number, label, spans_decades

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEWEST = 10
_TOP = 0.1
_FEWEST_IN_TOP = 5


def importances(trials: pd.DataFrame, paths: Sequence[str]) -> dict[str, float]:
    """How much each parameter's value has to do with being among the best candidates.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023; with conditions Imai et al., KDD 2026), as
    Optuna has it: how far the values of the best candidates are from those of all. It asks only
    who was best, so that candidates which halving stopped early count in their place.

    Parameters
    ----------
    trials
        A table of trials; failed ones don't count.
    paths
        The parameters to judge.

    Returns
    -------
    dict
        Shares that add up to 1, the largest first; empty with fewer than 10 candidates, or where
        nothing mattered.
    """
    rows = trials[trials["status"] != "failed"]
    if len(rows) < FEWEST or not paths:
        return {}
    # Only now: it takes a part of a second.
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = {path: _Column(list(rows[path])) for path in paths}
    with warnings.catch_warnings():
        # About too few candidates: the page says how many there are.
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="minimize")
        for row, rank in enumerate(rows["rank"]):
            given = {path: column for path, column in columns.items() if column.has(row)}
            study.add_trial(
                optuna.create_trial(
                    params={path: column.values[row] for path, column in given.items()},
                    distributions={path: column.distribution for path, column in given.items()},
                    value=float(rank),
                )
            )
        evaluator = PedAnovaImportanceEvaluator(target_quantile=n_best(len(rows)) / len(rows))
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    total = sum(found.values())
    return {path: value / total for path, value in found.items()} if total > 0 else {}


def n_best(n: int) -> int:
    """How many of `n` candidates count as the best: a tenth, but five at least."""
    return max(_FEWEST_IN_TOP, round(n * _TOP))


class _Column:
    """A parameter's values as Optuna takes them: numbers, or the texts of a choice."""

    def __init__(self, values: list[Any]) -> None:
        given = [value for value in values if not is_missing(value)]
        self._is_numeric = all(is_number(value) for value in given)
        self.values = values if self._is_numeric else [label(value) for value in values]
        self._has = [not is_missing(value) for value in values]
        self.distribution = self._distribution(given)

    def has(self, row: int) -> bool:
        return self._has[row]

    def _distribution(self, given: list[Any]) -> BaseDistribution:
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if not self._is_numeric:
            return CategoricalDistribution(list(dict.fromkeys(label(value) for value in given)))
        low, high, log = min(given), max(given), spans_decades(given)
        if all(isinstance(value, int) for value in given):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
