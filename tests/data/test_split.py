"""Which rows are set apart, by class, group or time, and which are kept of many."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.data.sources import breast_cancer, diabetes, digits, iris
from runner.data.split import generator, shares

X100 = np.arange(100.0)[:, None]


def rows_of(features) -> set[float]:
    return set(np.asarray(features)[:, 0].tolist())


def test_test_rows_have_the_share_of_each_class(load):
    _, y = breast_cancer()
    data = load(breast_cancer(), test_size=0.25)
    assert data.n_test == round(569 * 0.25)
    assert np.mean(data.y_test == "benign") == pytest.approx(np.mean(y == "benign"), abs=0.005)


def test_every_row_is_in_exactly_one_part(load):
    data = load((X100, np.arange(100) / 7), test_size=0.3)
    assert rows_of(data.X_train) | rows_of(data.X_test) == set(range(100))
    assert (data.n_train, data.n_test) == (70, 30)


def test_rows_sorted_by_class_are_shuffled(load):
    y = load(iris()).y_train
    assert len(set(y[:20])) == 3


def test_the_seed_alone_decides(load):
    first, same, other = (load(iris(), seed=seed) for seed in (1, 1, 2))
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_another_process_splits_alike(load):
    code = (
        "from runner.data.load import load_dataset\n"
        "from runner.data.dataset import DataOptions\n"
        "from runner.data.sources import iris\n"
        "print(load_dataset(iris, DataOptions('test', seed=3, limit=50)).fingerprint)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == load(iris(), seed=3, limit=50).fingerprint


def test_purposes_draw_independently():
    assert generator(0, "a").integers(2**60) == generator(0, "a").integers(2**60)
    assert generator(0, "a").integers(2**60) != generator(0, "b").integers(2**60)


def test_limit_keeps_shares_of_classes_and_leaves_the_test_rows_alone(load):
    whole, part = load(breast_cancer()), load(breast_cancer(), limit=100)
    assert part.n_train == 100
    assert abs(np.mean(part.y_train == "benign") - np.mean(whole.y_train == "benign")) < 0.01
    pd.testing.assert_frame_equal(part.X_test, whole.X_test)


def test_limit_keeps_two_rows_of_a_rare_class(load):
    y = np.array([0] * 940 + [1] * 30 + [2] * 30)
    data = load((np.zeros((1000, 1)), y), limit=10)
    assert dict(zip(*np.unique(data.y_train, return_counts=True), strict=True)) == {
        0: 6,
        1: 2,
        2: 2,
    }


def test_limit_works_for_regression_and_beyond_what_there_is(load):
    assert load(diabetes(), limit=50).n_train == 50
    assert load(diabetes(), limit=10_000).n_train == 354


def test_a_limit_too_small_for_the_classes_is_refused(load, refused):
    assert "at least 20, 2 of each of 10 classes" in refused("data.limit", load, digits(), limit=19)


def test_a_test_size_that_leaves_too_little_is_refused(load, refused):
    assert "leaves 15 of 150 rows" in refused(
        "data.test_size",
        load,
        (np.zeros((150, 1)), np.repeat(np.arange(20), 8)[:150]),
        test_size=0.9,
    )
    assert "leaves 1 of 10" in refused(
        "data.test_size", load, (X100[:10], np.arange(10) / 3), test_size=0.9
    )


def test_every_class_is_left_to_train_on_when_test_size_is_large(load):
    y = np.array([0] * 90 + [1] * 2 + [2] * 8)
    for seed in range(5):
        assert set(load((X100, y), test_size=0.95, seed=seed).y_train) == {0, 1, 2}


def test_a_shipped_split_is_kept_in_its_order(load):
    y = np.arange(100) % 2
    data = load((X100[:70], y[:70], X100[70:], y[70:]), test_size=0.5)
    assert data.X_train[:, 0].tolist() == list(range(70))
    assert data.X_test[:, 0].tolist() == list(range(70, 100))


def test_limit_holds_for_shipped_test_rows(load):
    y = np.arange(100) % 2
    data = load((X100[:50], y[:50], X100[50:], y[50:]), limit=10)
    assert (data.n_train, data.n_test) == (10, 10)
    assert data.y_test.sum() == 5
    assert rows_of(data.X_test) <= set(range(50, 100))


def test_keras_nested_pairs_are_a_shipped_split(load):
    y = np.arange(100) % 2
    assert load(((X100[:70], y[:70]), (X100[70:], y[70:]))).n_test == 30


def test_shipped_frames_are_matched_by_column_name(load):
    train = pd.DataFrame({"a": [1.0, 2, 3, 4], "b": [5.0, 6, 7, 8]})
    y = [0, 1, 0, 1]
    data = load((train, y, train[["b", "a"]], y))
    pd.testing.assert_frame_equal(data.X_train, data.X_test)


@pytest.mark.parametrize(
    ("path", "test", "y_test", "words"),
    [
        ("data.target", X100[:4], [0, 1, 2, 2], "only test rows have the class 2"),
        ("data.target", X100[:4], ["a", "b", "a", "b"], "object in the test rows"),
        ("data", np.zeros((4, 2)), [0, 1, 0, 1], "shape (1,), test rows (2,)"),
        ("data", pd.DataFrame({"a": [1, 2, 3, 4]}), [0, 1, 0, 1], "both"),
        ("data", np.zeros((0, 1)), [], "no rows"),
    ],
)
def test_shipped_test_rows_must_match(load, refused, path, test, y_test, words):
    assert words in refused(path, load, (X100, np.arange(100) % 2, test, y_test))


def test_a_column_missing_from_the_shipped_test_rows_is_named(load, refused):
    train, test = pd.DataFrame({"width": [1, 2, 3, 4]}), pd.DataFrame({"widht": [1, 2, 3, 4]})
    problem = refused("data", load, (train, [0, 1, 0, 1], test, [0, 1, 0, 1]))
    assert "'width'; did you mean 'widht'?" in problem


def table_with(**columns) -> tuple[pd.DataFrame, np.ndarray]:
    return pd.DataFrame({"x": np.arange(100.0), **columns}), np.arange(100) % 2


def test_groups_stay_together_and_leave_the_features(load):
    data = load(table_with(well=[f"w{i // 5}" for i in range(100)]), group="well", test_size=0.3)
    assert list(data.X_train.columns) == ["x"]
    train, test = data.X_train["x"] // 5, data.X_test["x"] // 5
    assert not set(train) & set(test)
    assert data.n_test == 30
    assert [f"w{int(g)}" for g in train] == data.groups_train.tolist()


@pytest.mark.parametrize(
    "when",
    [
        np.arange(100)[::-1],
        pd.date_range("2020", periods=100)[::-1],
        pd.date_range("2020", periods=100, tz="Europe/Berlin")[::-1],
        [str(day)[:10] for day in pd.date_range("2020", periods=100)[::-1]],
    ],
    ids=["numbers", "dates", "dates with zone", "text"],
)
def test_the_last_rows_in_time_are_the_test_rows(load, when):
    data = load(table_with(when=when), time="when")
    assert list(data.X_train.columns) == ["x"]
    assert data.X_train["x"].tolist() == list(range(99, 19, -1))
    assert rows_of(data.X_test) == set(range(20))


def test_limited_training_rows_stay_in_order_of_time(load):
    x = load(table_with(when=np.arange(100)[::-1]), time="when", limit=20).X_train["x"]
    assert len(x) == 20
    assert x.is_monotonic_decreasing


def test_training_rows_of_a_shipped_split_are_ordered_in_time(load):
    (train, y), (test, _) = table_with(t=np.arange(100)[::-1]), table_with(t=np.arange(100))
    data = load((train, y, test, y), time="t")
    assert data.X_train["x"].is_monotonic_decreasing
    assert data.n_train == data.n_test == 100


@pytest.mark.parametrize("option", ["group", "time"])
def test_a_missing_column_is_refused_with_the_nearest_name(load, refused, option):
    problem = refused(f"data.{option}", load, table_with(visit=range(100)), **{option: "vist"})
    assert "did you mean 'visit'?" in problem
    assert "array" in refused(f"data.{option}", load, (X100, np.arange(100) % 2), **{option: "t"})
    holes = table_with(visit=[None, *range(99)])
    assert "1 of 100 rows" in refused(f"data.{option}", load, holes, **{option: "visit"})


def test_groups_and_times_that_cannot_split_are_refused(load, refused):
    assert "one value" in refused("data.group", load, table_with(g=["a"] * 100), group="g")
    two = table_with(g=["a", "b"] * 50)
    assert "leaves none" in refused("data.test_size", load, two, group="g", test_size=0.9)
    three = table_with(g=["a", "b", "c", "d"] * 25)[0], ["p", "q", "r", "s"] * 25
    assert "only test rows have the class" in refused("data.group", load, three, group="g")
    assert "'soon'" in refused("data.time", load, table_with(t=["soon"] * 100), time="t")
    flat = pd.DataFrame({"t": np.arange(100), "x": 1.0}), np.maximum(0, np.arange(100) - 80) / 3
    assert "all training rows have the target 0.0" in refused("data.time", load, flat, time="t")
    late = pd.DataFrame({"t": np.arange(100)}), [0] * 50 + [1] * 35 + [2] * 15
    assert "class 2" in refused("data.time", load, (late[0].assign(x=1.0), late[1]), time="t")


@given(st.lists(st.integers(2, 500), min_size=1, max_size=30), st.data())
def test_shares_add_up_and_stay_within_bounds(counts, data):
    counts = np.array(counts)
    low = np.minimum(counts, data.draw(st.integers(0, 2)))
    high = counts - data.draw(st.integers(0, 1))
    high = np.maximum(high, low)
    n = data.draw(st.integers(int(low.sum()), int(high.sum())))
    taken = shares(counts, n, low, high)
    assert taken.sum() == n
    assert (low <= taken).all()
    assert (taken <= high).all()


@given(st.integers(1, 30), st.integers(1, 20))
def test_equal_classes_get_equal_shares(n_classes, each):
    counts = np.full(n_classes, 40)
    taken = shares(counts, n_classes * each, np.zeros_like(counts), counts)
    assert (taken == each).all()
