"""How sure the test scores are: intervals, and the winner against the baseline.

All intervals have 95 % confidence. The rows are taken as independent draws; what training with
another seed would change is not in them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning

from runner.results.schema import Comparison

Array = np.ndarray[Any, np.dtype[Any]]
Interval = tuple[float, float]

N_RESAMPLES = 2000
# A scorer called from Python costs about a millisecond; a thousand are enough for two percentiles.
N_SCORER_RESAMPLES = 1000
_UNDEFINED = (math.nan, math.nan)
_Z95 = float(stats.norm.ppf(0.975))


def wilson_interval(n_correct: int, n: int) -> Interval:
    """Return Wilson's score interval of a proportion, within [0, 1].

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927); recommended by Brown, Cai & DasGupta, Statistical Science 16 (2001).

    Raises
    ------
    ValueError
        Unless 0 <= `n_correct` <= `n` and `n` >= 1.
    """
    if n < 1 or not 0 <= n_correct <= n:
        raise ValueError(f"n_correct must be between 0 and n >= 1, but got {n_correct} of {n}")
    interval = stats.binomtest(int(n_correct), int(n)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    statistic: Callable[..., Any],
    *arrays: Array,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    vectorized: bool = False,
) -> Interval:
    """Return the percentile bootstrap interval of ``statistic(*arrays)`` over paired rows.

    Parameters
    ----------
    statistic
        Takes the arrays' rows and returns a float; resamples on which it is NaN are dropped.
        When `vectorized`, it takes ``axis`` too and reduces along it.
    arrays
        Each of shape (n,); the same rows are drawn from all of them.

    Returns
    -------
    (low, high)
        NaN both with fewer than two rows or where no resample has a value; equal where all have
        the same.
    """
    values = _resampled(statistic, arrays, seed, n_resamples, vectorized)
    return _percentiles(values)


def test_interval(
    metric_name: str,
    y_true: Array,
    y_pred: Array,
    score_fn: Callable[[Array], float],
    seed: int,
) -> Interval:
    """Return the interval of a score on the test rows.

    Accuracy gets Wilson's interval, every other metric a percentile bootstrap of the rows.

    Parameters
    ----------
    metric_name
        The scorer's name; only ``accuracy`` is special.
    y_true, y_pred
        Targets and predictions of shape (n,), labels as the user wrote them.
    score_fn
        Returns the score of the rows whose indices (shape (n,), with repeats) it is given. A
        resample that can't be scored is dropped: one value of the target only, a class that a
        probability scorer needs and doesn't find (ValueError), or a score that is not finite.
    """
    y_true = np.asarray(y_true)
    if metric_name == "accuracy":
        return wilson_interval(int(np.sum(y_true == np.asarray(y_pred))), len(y_true))

    def score(rows: Array) -> float:
        if np.all(y_true[rows] == y_true[rows[0]]):
            return math.nan
        try:
            return float(score_fn(rows))
        except ValueError:
            return math.nan

    rows = np.arange(len(y_true))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return bootstrap_interval(score, rows, seed=seed, n_resamples=N_SCORER_RESAMPLES)


# The name is the package's own; pytest must not take it for a test where a test imports it.
test_interval.__test__ = False  # type: ignore[attr-defined]


def compare(
    task: str, y_true: Array, tuned_pred: Array, baseline_pred: Array, seed: int
) -> Comparison:
    """Compare two models on the same test rows; positive differences favour the tuned one.

    Classification: difference in accuracy with the Agresti-Min interval, p-value of McNemar's
    exact test. Regression: difference in R² with a paired percentile bootstrap of the rows, and
    the bootstrap's two-sided p-value. Identical predictions have difference 0 and p-value 1.

    Parameters
    ----------
    task
        ``classification`` or ``regression``.
    y_true, tuned_pred, baseline_pred
        Shape (n,) each, or (n, 1).
    seed
        Seeds the bootstrap; classification draws nothing.

    Raises
    ------
    ValueError
        When the lengths differ or there are no rows.
    """
    y_true, tuned_pred, baseline_pred = (
        np.asarray(values).ravel() for values in (y_true, tuned_pred, baseline_pred)
    )
    lengths = [len(values) for values in (y_true, tuned_pred, baseline_pred)]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"predictions must be of the same rows, at least one, but got {lengths}")
    if task == "classification":
        return _compare_accuracy(tuned_pred == y_true, baseline_pred == y_true)
    return _compare_r2(y_true.astype(float), tuned_pred, baseline_pred, seed)


def _compare_accuracy(tuned_right: Array, baseline_right: Array) -> Comparison:
    n = len(tuned_right)
    gained = int(np.sum(tuned_right & ~baseline_right))
    lost = int(np.sum(~tuned_right & baseline_right))
    discordant = gained + lost
    return Comparison(
        difference=(gained - lost) / n,
        ci95=_agresti_min_interval(gained, lost, n),
        p_value=float(stats.binomtest(gained, discordant).pvalue) if discordant else 1.0,
        method="McNemar's exact test; Agresti-Min interval of the difference in accuracy",
    )


def _agresti_min_interval(gained: int, lost: int, n: int) -> Interval:
    """Interval of a difference of paired proportions, within [-1, 1].

    Wald's with half a row added to each of the four cells, which keeps its coverage near 95 %
    where few rows differ. Source: A. Agresti & Y. Min, "Simple improved confidence intervals for
    comparing matched proportions", Statistics in Medicine 24 (2005).
    """
    up, down = (gained + 0.5) / (n + 2), (lost + 0.5) / (n + 2)
    centre = up - down
    half_width = _Z95 * math.sqrt((up + down - centre**2) / (n + 2))
    return max(centre - half_width, -1.0), min(centre + half_width, 1.0)


def _compare_r2(y_true: Array, tuned: Array, baseline: Array, seed: int) -> Comparison:
    # Both models share the denominator of R², so the difference needs one array of gains.
    gain = (baseline - y_true) ** 2 - (tuned - y_true) ** 2
    values = _resampled(_r2_difference, (gain, y_true), seed, N_RESAMPLES, vectorized=True)
    return Comparison(
        difference=float(_r2_difference(gain, y_true)),
        ci95=_percentiles(values),
        p_value=_two_sided_p_value(values),
        method=f"Paired bootstrap of the difference in R² ({N_RESAMPLES} resamples, percentile)",
    )


def _r2_difference(gain: Array, y_true: Array, axis: int = -1) -> Array:
    mean_gain, variance = np.mean(gain, axis=axis), np.var(y_true, axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.where(variance > 0, mean_gain / variance, np.nan)
    # No gain is no difference, even where a constant target leaves R² itself undefined.
    return np.where(mean_gain == 0, 0.0, difference)


def _two_sided_p_value(values: Array) -> float:
    """Twice the smaller share of resamples on either side of zero, the observed one counted in.

    Source: A. C. Davison & D. V. Hinkley, "Bootstrap Methods and their Application", ch. 4 (1997).
    """
    if not values.size:
        return math.nan
    smaller = min(np.sum(values <= 0), np.sum(values >= 0))
    return float(min(1.0, 2 * (smaller + 1) / (values.size + 1)))


def _percentiles(values: Array) -> Interval:
    if not values.size:
        return _UNDEFINED
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _resampled(
    statistic: Callable[..., Any],
    arrays: tuple[Array, ...],
    seed: int,
    n_resamples: int,
    vectorized: bool,
) -> Array:
    """Finite values of `statistic` on resamples of the rows."""
    if len(arrays[0]) < 2:
        return np.empty(0)
    # Percentiles are taken by the caller: scipy's become NaN with one undefined resample.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            arrays,
            statistic,
            paired=True,
            vectorized=vectorized,
            method="percentile",
            n_resamples=n_resamples,
            batch=100,  # bounds the memory: 100 resamples of all rows at a time
            rng=seed,
        )
    values: Array = np.asarray(result.bootstrap_distribution, dtype=float)
    return values[np.isfinite(values)]
