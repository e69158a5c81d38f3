"""The record of a run, as written to ``result.json`` (schema 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from runner.secrets import mask

Status = Literal["completed", "failed", "interrupted"]

# Strict JSON knows no NaN: an undefined number is written as null and read back as NaN.
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


@dataclass(frozen=True)
class Evaluation:
    """One configuration's scores: cross-validated, and once on the test rows.

    ``params`` maps config paths to values. ``cv_mean`` and ``cv_std`` are of the refit scorer,
    over folds; ``cv`` maps every scorer's name to its mean. ``test`` maps scorer names to scores;
    ``test_ci95`` is the refit scorer's interval.
    """

    params: dict[str, Any]
    cv_mean: Number
    cv_std: Number
    cv_scores: list[Number]
    test: dict[str, Number]
    test_ci95: tuple[Number, Number] | None = None
    cv: dict[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Winner against baseline on the same test rows; ``difference`` is winner minus baseline."""

    difference: Number
    ci95: tuple[Number, Number]
    p_value: Number
    method: str


@dataclass(frozen=True)
class DataSummary:
    n_train: int
    n_test: int
    shape: tuple[int, ...]
    n_classes: int | None
    fingerprint: str


@dataclass(frozen=True)
class TrialCounts:
    """Counts of the search's own candidates, and of their fits on folds.

    ``n_pruned`` candidates were stopped by a pruner before their last fold; ``n_elsewhere`` were
    evaluated by other runs that shared the study.
    """

    n_candidates: int
    n_fits: int
    n_failed: int
    n_restored: int = 0
    n_pruned: int = 0
    n_elsewhere: int = 0


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds; ``search_s`` is the search alone, worker start included.

    ``fit_s`` is the mean over folds of fitting and scoring the best in cross-validation.
    """

    total_s: Number
    search_s: Number
    refit_s: Number
    fit_s: Number = math.nan


@dataclass(frozen=True)
class Result:
    """Everything ``result.json`` says; fields a failed run never reached are None."""

    status: Status
    task: str | None
    name: dict[str, str]
    seed: int
    scoring: str | None
    overrides: list[str]
    environment: dict[str, Any]
    data: DataSummary | None = None
    baseline: Evaluation | None = None
    best: Evaluation | None = None
    comparison: Comparison | None = None
    trials: TrialCounts | None = None
    timing: Timing | None = None
    error: dict[str, str] | None = None
    schema: int = field(default=1)

    def without_secrets(self) -> Result:
        """Return a copy in which nothing that came from the environment can be read."""

        def shown(evaluation: Evaluation | None) -> Evaluation | None:
            return evaluation and replace(evaluation, params=mask(evaluation.params))

        return replace(
            self,
            # The other names are those of config files.
            name={key: mask(name) if key == "data" else name for key, name in self.name.items()},
            overrides=mask(self.overrides),
            best=shown(self.best),
            baseline=shown(self.baseline),
            error=mask(self.error),
        )
