"""The test of the winner's lead, against other ways to compute it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from entries import run
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from runner.results.comparison.lead import corrected_resampled_p_value, find_lead
from runner.results.comparison.ranking import Row
from runner.results.run_directory import RunDirectory

score = st.floats(0, 1, allow_nan=False).map(lambda value: round(value, 4))


def test_p_value_is_that_of_a_computation_by_hand():
    """Mean 0.03, variance 0.0001, n 3, test to train 1/2; with 2 degrees of freedom Student's
    distribution has the closed form P(|T| > t) = 1 - t / sqrt(t² + 2)."""
    t = 0.03 / math.sqrt((1 / 3 + 1 / 2) * 0.0001)
    assert t == pytest.approx(3.2863, abs=1e-4)
    expected = 1 - t / math.sqrt(t * t + 2)
    assert expected == pytest.approx(0.0814, abs=1e-4)
    assert corrected_resampled_p_value([0.02, 0.04, 0.03], 1 / 2) == pytest.approx(
        expected, rel=1e-9
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(score, score), min_size=2, max_size=12), st.floats(0.01, 1))
def test_p_value_is_the_paired_t_test_with_a_larger_error(pairs, ratio):
    """scipy's ordinary test, its statistic shrunk by the factor between the two errors."""
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    differences = [a - b for a, b in pairs]
    assume(max(differences) - min(differences) > 1e-6)
    n = len(pairs)
    ordinary = stats.ttest_rel(ours, theirs).statistic
    shrunk = ordinary * math.sqrt((1 / n) / (1 / n + ratio))
    expected = 2 * stats.t.sf(abs(shrunk), n - 1)
    assert corrected_resampled_p_value(differences, ratio) == pytest.approx(expected, rel=1e-6)


def test_p_value_of_no_difference_is_1_and_of_a_constant_one_undefined():
    assert corrected_resampled_p_value([0.0, 0.0, 0.0], 0.5) == 1
    assert math.isnan(corrected_resampled_p_value([0.1 + 0.2, 0.3, 0.3], 0.5))


OURS, THEIRS = (0.90, 0.95, 0.94), (0.88, 0.91, 0.91)


@pytest.fixture
def rows(tmp_path):
    """Winner and next, each with a run directory; `cv` is written into its config."""

    def _rows(*runs: dict) -> list[Row]:
        made = []
        for number, facts in enumerate(runs):
            directory = RunDirectory(tmp_path / str(number))
            directory.path.mkdir()
            cv = facts.pop("cv", None)
            if cv is not None:
                directory.config.write_text(f"cv: {cv}\n")
            entry = replace(run(str(number), 0.5), directory=directory, **facts)
            made.append(Row((replace(entry, cv_mean=sum(entry.cv_scores) / 3),), rank=number + 1))
        return made

    return _rows


K_FOLD = "{_target_: sklearn.model_selection.StratifiedKFold, n_splits: 3, shuffle: true}"
REPEATED = "{_target_: sklearn.model_selection.RepeatedStratifiedKFold, n_splits: 2, n_repeats: 2}"
SHUFFLE = "{_target_: sklearn.model_selection.StratifiedShuffleSplit, n_splits: 3, test_size: 0.2}"
SHUFFLE_ROWS = SHUFFLE.replace("0.2", "24")
TIME = "{_target_: sklearn.model_selection.TimeSeriesSplit, n_splits: 3}"


@pytest.mark.parametrize(
    ("cv", "ratio"),
    [(K_FOLD, 1 / 2), (None, 1 / 2), (SHUFFLE, 1 / 4), (SHUFFLE_ROWS, 1 / 4), (REPEATED, 1)],
)
def test_lead_is_tested_with_the_sizes_of_the_folds(rows, cv, ratio):
    winner, following = rows({"cv_scores": OURS, "cv": cv}, {"cv_scores": THEIRS, "cv": cv})
    lead = find_lead([winner, following])
    assert lead.difference == pytest.approx(0.03)
    assert lead.n_folds == 3
    expected = corrected_resampled_p_value([0.02, 0.04, 0.03], ratio)
    assert lead.p_value == pytest.approx(expected, rel=1e-6)
    assert lead.is_significant == (expected < 0.05)


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        ({}, {"seed": 1}, "other seeds"),
        ({}, {"fingerprint": "other"}, "training rows"),
        ({}, {"cv_scores": (0.9, 0.8)}, "other folds"),
        ({"cv": K_FOLD}, {"cv": SHUFFLE}, "other folds"),
        ({"cv": TIME}, {"cv": TIME}, "TimeSeriesSplit"),
        ({}, {"cv_scores": (0.9, 0.8, math.nan)}, "no score"),
        ({"cv_scores": (0.9,)}, {"cv_scores": (0.8,)}, "only one fold"),
        ({"cv_scores": (0.9, 0.8, 0.7)}, {"cv_scores": (0.8, 0.7, 0.6)}, "same in every fold"),
    ],
)
def test_lead_over_a_run_on_other_folds_is_not_tested_and_says_why(rows, one, other, problem):
    runs = rows({"cv_scores": OURS, **one}, {"cv_scores": THEIRS, **other})
    lead = find_lead(runs)
    assert lead.p_value is None
    assert problem in lead.problem
    assert not lead.is_significant


def test_a_run_alone_has_no_lead(rows):
    (winner,) = rows({"cv_scores": OURS})
    assert find_lead([winner]) is None
    assert find_lead([winner, replace(winner, rank=None)]) is None


def test_seeds_are_tested_over_the_folds_of_all_of_them():
    def row(rank, *scores):
        entries = [
            replace(
                run(f"{rank} {seed}", 0.5, seed=seed), cv_scores=of_seed, fingerprint=f"f{seed}"
            )
            for seed, of_seed in enumerate(scores)
        ]
        return Row(tuple(entries), rank)

    lead = find_lead([row(1, OURS, (0.8, 0.9, 0.7)), row(2, THEIRS, (0.7, 0.75, 0.7))])
    differences = [0.02, 0.04, 0.03, 0.1, 0.15, 0.0]
    assert lead.n_folds == 6
    assert lead.p_value == pytest.approx(corrected_resampled_p_value(differences, 1 / 2), rel=1e-6)
    fewer = find_lead([row(1, OURS, (0.8, 0.9, 0.7)), row(2, THEIRS)])
    assert "other seeds" in fewer.problem
