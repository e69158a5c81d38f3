"""Intervals and tests against independent formulas, and against simulated truth."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import f1_score, r2_score, roc_auc_score

from runner.results import statistics
from runner.results.statistics import bootstrap_interval, compare, wilson_interval


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_the_score_equation(counts):
    n_correct, n = counts
    share = n_correct / n
    for bound in wilson_interval(n_correct, n):
        # Wilson's bounds are where the normal score test is just at its limit.
        assert (share - bound) ** 2 == pytest.approx(
            1.959964**2 * bound * (1 - bound) / n, rel=1e-4, abs=1e-9
        )
        assert 0 <= bound <= 1


@pytest.mark.parametrize(("n", "truth"), [(100, 0.9), (360, 0.97), (40, 0.5)])
def test_wilson_interval_covers_the_truth_about_95_times_in_100(n, truth):
    covered = [
        binom.pmf(k, n, truth)
        for k in range(n + 1)
        if wilson_interval(k, n)[0] <= truth <= wilson_interval(k, n)[1]
    ]
    assert 0.93 < sum(covered) < 0.98


@pytest.mark.parametrize(("n_correct", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_impossible_counts(n_correct, n):
    with pytest.raises(ValueError, match=f"got {n_correct} of {n}"):
        wilson_interval(n_correct, n)


def test_bootstrap_interval_of_a_mean_agrees_with_normal_theory():
    values = np.random.default_rng(0).normal(3, 2, size=400)
    low, high = bootstrap_interval(np.mean, values, seed=0, vectorized=True)
    half_width = 1.96 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half_width, abs=0.03)
    assert high == pytest.approx(values.mean() + half_width, abs=0.03)


def test_bootstrap_keeps_rows_paired():
    values = np.random.default_rng(0).normal(size=50)
    interval = bootstrap_interval(lambda a, b: np.sum(a - b), values, values, seed=0)
    assert interval == (0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [np.ones(1), np.empty(0)])
def test_bootstrap_of_too_few_rows_is_undefined_without_a_warning(values):
    assert np.isnan(bootstrap_interval(np.mean, values, seed=0)).all()


@pytest.mark.filterwarnings("error")
def test_bootstrap_of_constant_rows_has_no_width_and_no_warning():
    assert bootstrap_interval(np.mean, np.full(30, 2.0), seed=0) == (2, 2)


def test_intervals_depend_on_the_seed_only():
    values = np.random.default_rng(0).normal(size=60)
    assert bootstrap_interval(np.mean, values, seed=1) == bootstrap_interval(
        np.mean, values, seed=1
    )
    assert bootstrap_interval(np.mean, values, seed=1) != bootstrap_interval(
        np.mean, values, seed=2
    )


def test_accuracy_gets_wilsons_interval_and_never_scores_a_resample():
    y_true, y_pred = np.array(["a", "b", "b", "a"]), np.array(["a", "b", "a", "a"])

    def fail(rows):
        raise AssertionError("no resample is needed")

    interval = statistics.test_interval("accuracy", y_true, y_pred, fail, 0)
    assert interval == wilson_interval(3, 4)


def test_other_metrics_get_an_interval_around_the_score(digits_run, monkeypatch):
    monkeypatch.setattr(statistics, "N_SCORER_RESAMPLES", 400)
    y_true, y_pred = digits_run.details.y_test, digits_run.details.winner.y_pred

    def macro_f1(rows):
        return f1_score(y_true[rows], y_pred[rows], average="macro")

    low, high = statistics.test_interval("f1_macro", y_true, y_pred, macro_f1, 0)
    score = macro_f1(np.arange(len(y_true)))
    assert low < score < high
    # Macro F1 of balanced digits is near accuracy, whose interval Wilson knows.
    accuracy = wilson_interval(int(np.sum(y_true == y_pred)), len(y_true))
    assert high - low == pytest.approx(accuracy[1] - accuracy[0], rel=0.25)


@pytest.mark.filterwarnings("error")
def test_resamples_of_one_class_are_dropped_from_the_interval(monkeypatch):
    monkeypatch.setattr(statistics, "N_SCORER_RESAMPLES", 300)
    y_true = np.array([0] * 7 + [1])
    probability = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.65])
    n_classes = []

    def auc(rows):
        n_classes.append(len(set(y_true[rows])))
        return roc_auc_score(y_true[rows], probability[rows])

    low, high = statistics.test_interval("roc_auc", y_true, y_true, auc, 0)
    assert 0.4 < low < 6 / 7 < high <= 1
    assert set(n_classes) == {2}
    # (7/8)^8 = 34 % of the resamples lack the only positive row.
    assert 160 < len(n_classes) < 235


@pytest.mark.filterwarnings("error")
def test_resamples_that_the_scorer_refuses_are_dropped(monkeypatch):
    monkeypatch.setattr(statistics, "N_SCORER_RESAMPLES", 100)
    y_true = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    probability = np.full((8, 3), 1 / 3) + np.eye(3)[y_true] * 0.1
    probability /= probability.sum(axis=1, keepdims=True)

    def auc(rows):
        return roc_auc_score(y_true[rows], probability[rows], multi_class="ovr")

    assert statistics.test_interval("roc_auc_ovr", y_true, y_true, auc, 0) == (1, 1)


def test_interval_is_undefined_where_the_test_rows_have_one_class_only():
    y_true = np.zeros(20)
    interval = statistics.test_interval("roc_auc", y_true, y_true, lambda rows: 1.0, 0)
    assert np.isnan(interval).all()


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 100))
def test_mcnemar_p_value_is_the_exact_binomial_tail(gained, lost, agreeing):
    comparison = compare("classification", *_predictions(gained, lost, agreeing), seed=0)
    n, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n
    assert comparison.p_value == pytest.approx(min(1, 2 * tail))
    assert comparison.difference == pytest.approx((gained - lost) / (n + agreeing))
    assert -1 <= comparison.ci95[0] <= comparison.difference <= comparison.ci95[1] <= 1


def test_interval_of_the_accuracy_difference_is_agresti_and_mins():
    # Worked by hand: cells 18 and 7 of 100 become 18.5/102 and 7.5/102.
    comparison = compare("classification", *_predictions(18, 7, 75), seed=0)
    assert comparison.ci95 == pytest.approx((0.01212, 0.20356), abs=5e-5)


def test_interval_of_the_accuracy_difference_covers_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        outcome = rng.choice([1, -1, 0], p=[0.08, 0.03, 0.89], size=150)
        y_true = np.ones(150)
        result = compare("classification", y_true, outcome >= 0, outcome <= 0, seed=0)
        covered += result.ci95[0] <= 0.05 <= result.ci95[1]
    assert 0.92 < covered / 400 <= 0.99


def test_interval_of_the_r2_difference_covers_the_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        y_true = rng.normal(size=120)
        tuned, baseline = (y_true + scale * rng.normal(size=120) for scale in (0.5, 0.6))
        result = compare("regression", y_true, tuned, baseline, seed=0)
        covered += result.ci95[0] <= 0.6**2 - 0.5**2 <= result.ci95[1]
    assert 0.88 < covered / 150 <= 0.99


def test_p_value_of_the_r2_difference_is_small_as_often_as_it_says():
    rng = np.random.default_rng(2)
    y_true = rng.normal(size=(120, 150))
    noise = rng.normal(size=(2, 120, 150))
    p_values = [
        compare("regression", y, y + first, y + second, seed=0).p_value
        for y, first, second in zip(y_true.T, noise[0].T, noise[1].T, strict=True)
    ]
    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.12
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.1)


def test_r2_difference_is_the_scorers_difference(diabetes_run):
    y_true, tuned = diabetes_run.details.y_test, diabetes_run.details.winner.y_pred
    baseline = np.full(len(y_true), y_true.mean() + 5)
    comparison = compare("regression", y_true, tuned, baseline, seed=0)
    assert comparison.difference == pytest.approx(
        r2_score(y_true, tuned) - r2_score(y_true, baseline)
    )
    assert comparison.ci95[0] < comparison.difference < comparison.ci95[1]


def test_a_large_r2_difference_has_a_small_p_value():
    y_true = np.random.default_rng(0).normal(size=200)
    comparison = compare("regression", y_true, y_true * 0.99, -y_true, seed=0)
    assert comparison.p_value == pytest.approx(2 / 2001)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("y_true", [np.arange(30.0), np.zeros(30), np.zeros(1)])
def test_identical_predictions_do_not_differ(task, y_true):
    comparison = compare(task, y_true, y_true + 1, y_true + 1, seed=0)
    assert comparison.difference == 0
    assert len(y_true) == 1 or comparison.p_value == 1


@pytest.mark.filterwarnings("error")
def test_r2_difference_on_a_constant_target_is_undefined():
    comparison = compare("regression", np.zeros(20), np.zeros(20), np.ones(20), seed=0)
    assert math.isnan(comparison.difference)
    assert math.isnan(comparison.p_value)


def test_predictions_of_a_network_may_be_a_column():
    y_true = np.random.default_rng(0).normal(size=40)
    tuned, baseline = y_true * 0.9, y_true * 0.5
    assert compare("regression", y_true, tuned[:, None], baseline[:, None], 0) == compare(
        "regression", y_true, tuned, baseline, 0
    )


def test_predictions_of_different_rows_are_refused():
    with pytest.raises(ValueError, match=r"got \[3, 3, 2\]"):
        compare("classification", np.ones(3), np.ones(3), np.ones(2), seed=0)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_ten_thousand_test_rows_take_less_than_a_second(task):
    rng = np.random.default_rng(0)
    y_true, tuned, baseline = rng.integers(0, 3, size=(3, 10_000))
    start = time.process_time()
    compare(task, y_true, tuned, baseline, seed=0)
    assert time.process_time() - start < 1


def _predictions(gained: int, lost: int, agreeing: int):
    """Targets, tuned and baseline predictions with the given counts of discordant rows."""
    tuned = np.repeat([True, False, True], [gained, lost, agreeing])
    baseline = np.repeat([False, True, True], [gained, lost, agreeing])
    return np.ones(len(tuned), dtype=bool), tuned, baseline
