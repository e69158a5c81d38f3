"""Whether the winner's lead is more than noise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.results.comparison.entry import Entry, read_yaml
from runner.results.comparison.ranking import Row
from runner.results.verdict import SIGNIFICANT

METHOD = "corrected resampled t-test (Nadeau & Bengio 2003)"
_FOLDS = {
    *("KFold", "StratifiedKFold", "GroupKFold", "StratifiedGroupKFold"),
    *("RepeatedKFold", "RepeatedStratifiedKFold"),
}
_SHUFFLES = {"ShuffleSplit", "StratifiedShuffleSplit", "GroupShuffleSplit"}


@dataclass(frozen=True)
class Lead:
    """How far the winner is ahead of the next.

    ``p_value`` is two-sided, over ``n_folds`` folds that both were scored on; None where it can't
    be tested, and then ``problem`` says why.
    """

    difference: float
    p_value: float | None = None
    n_folds: int = 0
    problem: str | None = None

    @property
    def is_significant(self) -> bool:
        return self.p_value is not None and self.p_value < SIGNIFICANT


class _UntestableError(Exception):
    """Says why two runs can't be tested against each other."""


def find_lead(rows: Sequence[Row]) -> Lead | None:
    """Test the first of the ranked rows against the next; None where fewer than two have a score.

    Rows of several seeds are tested over the folds of all seeds together.
    """
    ranked = [row for row in rows if row.rank is not None]
    if len(ranked) < 2:
        return None
    winner, runner_up = ranked[:2]
    assert winner.cv_mean is not None
    assert runner_up.cv_mean is not None
    difference = winner.cv_mean - runner_up.cv_mean
    try:
        pairs = _pairs(winner, runner_up)
        ratio = _test_to_train(pairs[0][0])
        differences = [
            ours - theirs
            for one, other in pairs
            for ours, theirs in zip(one.cv_scores, other.cv_scores, strict=True)
        ]
        p_value = corrected_resampled_p_value(differences, ratio)
        if math.isnan(p_value):
            raise _UntestableError("the difference is the same in every fold")
    except _UntestableError as problem:
        return Lead(difference, problem=str(problem))
    return Lead(difference, p_value, len(differences))


def corrected_resampled_p_value(differences: Sequence[float], test_to_train: float) -> float:
    """Two-sided p-value of the hypothesis that the mean difference over folds is zero.

    The training rows of different folds overlap, so their differences are not independent, and
    the ordinary paired t-test finds leads where there are none. The variance of the mean is
    therefore taken as ``(1 / n + n_test / n_train)`` of the variance of the differences, rather
    than ``1 / n``.

    Source: C. Nadeau & Y. Bengio, "Inference for the generalization error", Machine Learning 52
    (2003); for repeated cross-validation R. R. Bouckaert & E. Frank, PAKDD 2004.

    Parameters
    ----------
    differences
        Differences between two models' scores on the same folds, at least 2.
    test_to_train
        Rows scored to rows trained on, in a fold.

    Returns
    -------
    float
        1 when there is no difference at all; NaN when it is the same in every fold, which leaves
        nothing to judge it by.
    """
    n = len(differences)
    if max(differences) - min(differences) < 1e-12:
        return 1.0 if abs(differences[0]) < 1e-12 else math.nan
    from scipy.special import stdtr  # only now: it takes longer than all else here

    error = math.sqrt((1 / n + test_to_train) * statistics.variance(differences))
    return float(2 * stdtr(n - 1, -abs(statistics.fmean(differences)) / error))


def _pairs(winner: Row, runner_up: Row) -> list[tuple[Entry, Entry]]:
    """Runs of both with the same seed, which were scored on the same folds."""
    others = {entry.seed: entry for entry in runner_up.ranked}
    if {entry.seed for entry in winner.ranked} != others.keys():
        raise _UntestableError("they were run with other seeds, so the folds are not the same")
    pairs = [(entry, others[entry.seed]) for entry in winner.ranked]
    for one, other in pairs:
        if one.fingerprint != other.fingerprint:
            raise _UntestableError("their training rows are not the same")
        if len(one.cv_scores) != len(other.cv_scores) or not _same_folds(one, other):
            raise _UntestableError("they were scored on other folds")
        if not all(map(math.isfinite, (*one.cv_scores, *other.cv_scores))):
            raise _UntestableError("a fold has no score")
    if len(pairs) * len(pairs[0][0].cv_scores) < 2:
        raise _UntestableError("there is only one fold")
    return pairs


def _same_folds(one: Entry, other: Entry) -> bool:
    """Folds follow from data, seed and the config's cv section, where the config is kept."""
    ours, theirs = _cv(one), _cv(other)
    return ours is None or theirs is None or ours == theirs


def _cv(entry: Entry) -> Mapping[str, Any] | None:
    config = read_yaml(entry.directory.config)
    cv = config.get("cv") if isinstance(config, dict) else None
    return cv if isinstance(cv, dict) else None


def _test_to_train(entry: Entry) -> float:
    """Rows scored to rows trained on, in each fold of the run's cross-validation.

    A run without its config is taken to have used plain folds.
    """
    cv = _cv(entry) or {"_target_": "KFold", "n_splits": len(entry.cv_scores)}
    kind = str(cv.get("_target_")).rpartition(".")[2]
    share = 0.0
    if kind in _FOLDS:
        share = 1 / int(cv.get("n_splits", 5))
    elif kind in _SHUFFLES:
        share = float(cv.get("test_size") or 0.1)
    if share > 1 and entry.data_summary is not None:
        share /= entry.data_summary.n_train  # a number of rows
    if not 0 < share < 1:
        raise _UntestableError(f"the test knows no folds of {kind}")
    return share / (1 - share)
