"""The figures, each by itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from runner.results.report import predictions, search
from runner.results.report.figure import MOST_POINTS
from runner.results.report.parallel import parallel_coordinates
from runner.results.report.predictions import Fitted


def trials_of(status: str | list[str] = "completed", **columns) -> pd.DataFrame:
    """Candidates by number; their first column is the score."""
    n = len(next(iter(columns.values())))
    trials = pd.DataFrame({"rank": range(1, n + 1), "mean_test_score": np.linspace(0.9, 0.5, n)})
    trials["status"] = status
    for name, values in columns.items():
        trials[name] = pd.Series(values, dtype=object)
    return trials.set_index(np.arange(1, n + 1))


def test_parameter_slice_shows_null_and_leaves_out_what_does_not_apply():
    trials = trials_of(depth=[10, None, np.nan, 2])
    trials["mean_test_score"] = [0.1, 0.2, 0.3, np.nan]
    figure = search.parameter_slice(trials, "depth")
    assert list(figure.data[0].x) == ["10", "null"]
    assert list(figure.data[0].y) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1e-4, 1e-3, 1e-2], "log"),
        ([8, 16, 32], "linear"),
        (list(range(1, 100)), "linear"),
        ([0, 1e-3, 1e-2], "linear"),
        ([True, False], "category"),
        (["1", "10"], "category"),
        ([[64], [64, 64]], "category"),
    ],
    ids=["decades", "doublings", "counts", "with zero", "booleans", "texts", "lists"],
)
def test_parameter_slice_has_the_axis_that_its_values_call_for(values, kind):
    axis = search.parameter_slice(trials_of(p=values), "p").layout.xaxis
    assert (axis.type or "linear") == kind


def test_best_so_far_counts_only_candidates_that_ran_to_the_end():
    trials = trials_of(["completed", "stopped", "completed"], p=[1, 2, 3])
    trials["mean_test_score"] = [0.5, 0.9, 0.7]
    best = search.search_history(trials, None).data[-1]
    assert (list(best.x), list(best.y)) == ([1, 3], [0.5, 0.7])


def test_candidates_without_a_score_are_marked_at_the_foot():
    trials = trials_of(["completed", "pruned", "failed"], p=[1, 2, 3])
    trials["mean_test_score"] = [0.5, np.nan, np.nan]
    marks = {trace.name: trace for trace in search.search_history(trials).data}
    assert (list(marks["pruned"].x), list(marks["pruned"].y)) == ([2], [0.5])
    assert (list(marks["failed"].x), list(marks["failed"].y)) == ([3], [0.5])
    assert marks["pruned"].marker.symbol != marks["failed"].marker.symbol


def test_parallel_lines_run_from_value_to_value_and_break_off_between_candidates():
    trials = trials_of(rate=[1e-1, 1e-3, 1e-2, 1e-3], kind=["b", np.nan, "a", None])
    figure = parallel_coordinates(trials, ["rate", "kind"])
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert list(lines)[-1] == "best fifth"
    best = lines["best fifth"]
    assert list(best.x) == ["rate", "kind", "score", "score"]
    assert list(best.text) == ["0.1", "b", "0.9", ""]
    # Log of the rate, categories in order (a, b, null), the score; then nothing.
    np.testing.assert_allclose(best.y, [1, 0.5, 1, np.nan])
    np.testing.assert_allclose(lines["third"].y, [0.5, 0, 1 / 3, np.nan], atol=1e-9)
    np.testing.assert_allclose(lines["second"].y[:2], [0, np.nan])
    ticks = [list(trace.text) for trace in figure.data if trace.mode == "lines+text"]
    assert ticks == [["0.001", "0.1"], ["  a", "  b", "  null"], ["0.5", "0.9"]]


def test_confusion_matrix_counts_true_classes_in_rows_and_keeps_the_given_order():
    true, predicted = np.array(["b", "b", "a", "c"]), np.array(["b", "a", "a", "d"])
    figure = predictions.confusion(true, predicted, ["c", "b", "a"])
    heatmap = figure.data[0]
    assert list(heatmap.y) == ["c", "b", "a", "d"]
    assert np.array(heatmap.text).tolist() == [[0, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0] * 4]
    assert heatmap.z[1][1] == 0.5
    # The first class is at the top, as in scikit-learn's display.
    assert figure.layout.yaxis.autorange == "reversed"


def test_residuals_of_many_rows_are_thinned():
    figure = predictions.residuals(np.arange(50_000.0), np.zeros((50_000, 1)))
    assert len(figure.data[0].x) == MOST_POINTS
    assert figure.data[0].y[-1] == 49_999


def test_calibration_of_two_classes_is_of_the_second_ones_probability():
    given = np.repeat([0.1, 0.8], 50)
    came_true = np.r_[np.ones(5), np.zeros(45), np.ones(40), np.zeros(10)]
    fitted = Fitted(np.array(["no"] * 100), np.c_[1 - given, given])
    y_true = np.where(came_true == 1, "yes", "no")
    figure = predictions.calibration(y_true, ["no", "yes"], fitted, None)
    tuned = figure.data[-1]
    assert sum(int(n) for n in tuned.text) == 100
    means = pd.Series(tuned.y).groupby(np.round(tuned.x, 6)).mean()
    assert means.to_dict() == pytest.approx({0.1: 0.1, 0.8: 0.8})


def test_calibration_of_more_classes_is_of_the_predicted_ones_probability():
    chances = np.tile([0.2, 0.7, 0.1], (40, 1))
    figure = predictions.calibration(np.full(40, "b"), ["a", "b", "c"], Fitted(None, chances), None)
    assert set(figure.data[-1].y) == {1.0}
    np.testing.assert_allclose(figure.data[-1].x, 0.7)


def test_calibration_needs_probabilities_and_twenty_rows():
    chances = np.full((19, 2), 0.5)
    assert predictions.calibration(np.ones(19), [0, 1], Fitted(None, chances), None) is None
    assert predictions.calibration(np.ones(30), [0, 1], Fitted(None), None) is None
