"""What load_dataset makes of a target, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from runner.data.dataset import DataOptions
from runner.data.load import load_dataset
from runner.data.sources import breast_cancer, diabetes, digits, iris

X20 = np.arange(40.0).reshape(20, 2)
HALVES = np.array([0] * 10 + [1] * 10)


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (HALVES, "classification"),
        (HALVES.astype(float), "classification"),
        (HALVES.astype(bool), "classification"),
        (HALVES.reshape(-1, 1), "classification"),
        (["a", "b"] * 10, "classification"),
        (pd.Series(["a", "b"] * 10, dtype="category"), "classification"),
        (pd.Series(["a", "b"] * 10, dtype="string"), "classification"),
        (pd.DataFrame({"y": HALVES}), "classification"),
        (pd.Series([1, 2] * 10, dtype="Int64"), "classification"),
        (pd.Series([1, 2] * 10, dtype="category"), "classification"),
        (HALVES + 0.5, "regression"),
        (np.arange(20) // 2, "classification"),
        (np.arange(20) // 2 + np.arange(20) % 2 * (np.arange(20) > 17), "regression"),
        (pd.Series([1.5, 2] * 10, dtype="Float64"), "regression"),
    ],
)
def test_task_is_inferred_from_the_target(load, y, task):
    assert load((X20, y)).task == task


def test_many_distinct_whole_numbers_are_regression_unless_asked_otherwise(load):
    X, y = np.zeros((84, 1)) + np.arange(84)[:, None], np.repeat(np.arange(21), 4)
    assert load((X, y)).task == "regression"
    assert load((X, y), task="classification").task == "classification"
    assert load((X[:80], y[:80])).task == "classification"


def test_labels_stay_as_written(load):
    data = load(breast_cancer())
    assert data.y_train.shape == (data.n_train,)
    assert list(data.classes) == ["benign", "malignant"]
    assert load((X20, HALVES.astype(bool))).y_train.dtype == bool
    assert load((X20, HALVES.astype(np.uint8))).y_train.dtype == np.uint8
    assert set(load((X20, pd.Series(["a", "b"] * 10, dtype="category"))).y_train) == {"a", "b"}


def test_images_keep_their_type_and_shape(load):
    data = load(digits())
    assert data.X_train.dtype == np.uint8
    assert data.shape == (8, 8)
    assert data.X_train.max() == 16
    assert (data.n_train, data.n_test) == (1438, 359)


def test_rows_keep_their_labels(load):
    X, y = iris()
    original = pd.concat([X, pd.Series(y, name="y")], axis=1)
    data = load((X, y), limit=60)
    loaded = pd.concat([data.X_train, pd.Series(data.y_train, name="y")], axis=1)
    assert len(loaded.merge(original.drop_duplicates(), how="inner")) == 60


@pytest.mark.parametrize(
    ("y", "task", "words"),
    [
        (["a", "b"] * 10, "regression", "'a'"),
        (HALVES.astype(bool), "regression", "False"),
        (HALVES + 0.25, "classification", "0.25"),
    ],
)
def test_a_task_that_the_target_rules_out_is_refused(load, refused, y, task, words):
    problem = refused("data.task", load, (X20, y), task=task)
    assert words in problem
    assert task in problem


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (HALVES[:-1], "20 rows but y has 19"),
        (np.ones(20), "same value, 1.0, in all 20"),
        (["same"] * 20, "same value, 'same'"),
        (np.where(HALVES == 0, np.nan, 1), "10 of 20 rows have no value"),
        (["a", None] * 10, "10 of 20"),
        (pd.Series([1, None] * 10, dtype="Int64"), "10 of 20"),
        (np.ma.masked_equal(HALVES, 1), "10 of 20"),
        (np.where(HALVES == 0, np.inf, 1.5), "10 of 20 rows are infinite"),
        ([10**400, 1] * 10, "10 of 20 rows are infinite"),
        (HALVES + 1j, "complex"),
        (pd.date_range("2020", periods=20), "Timestamp"),
        (["a", 1] * 10, "int, str"),
        ([b"a", b"b"] * 10, "bytes"),
        (np.eye(20), "(20, 20)"),
        (pd.DataFrame({"a": HALVES, "b": HALVES}), "2 columns"),
        ([[1], [1, 2]] * 10, "not an array"),
        (["rare", *["a", "b"] * 9, "a"], "single row: 'rare'"),
        (["one", "two", *["a"] * 18], "'one', 'two'"),
    ],
)
def test_a_target_that_cannot_be_learnt_is_refused(load, refused, y, words):
    assert words in refused("data.target", load, (X20, y))


def test_single_rows_of_a_class_suggest_regression_only_for_numbers(load, refused):
    numbers = refused("data.target", load, (X20, [7, *[1, 2] * 9, 1]))
    assert "data.task=regression" in numbers
    assert "data.task" not in refused("data.target", load, (X20, ["rare", *["a", "b"] * 9, "a"]))


def test_huge_integer_targets_become_floats(load):
    y = load((X20, [10**30 + i * 10**29 for i in range(20)])).y_train
    assert y.dtype == np.float64
    assert y.max() < 1e32


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros(20), "(20,)"),
        (np.zeros((20, 1, 1, 1, 1)), "(20, 1, 1, 1, 1)"),
        (np.zeros((20, 0)), "no features"),
        (np.float64(3), "not rows"),
        (np.zeros((20, 2), complex), "complex"),
        (np.zeros((20, 2), "datetime64[s]"), "datetime64"),
        (np.full((20, 2), "a"), "data frame"),
        (np.full((20, 2), "1", dtype=object), "'1'"),
        (np.full((20, 2), {}, dtype=object), "dict"),
        ([[1], [1, 2]] * 10, "not an array"),
        (np.zeros((0, 2)), "no rows"),
        (pd.DataFrame(), "no rows"),
        (pd.DataFrame(index=range(20)), "no feature column"),
        (pd.DataFrame({"z": np.zeros(20, complex)}), "'z' holds complex"),
    ],
)
def test_features_of_another_kind_are_refused(load, refused, X, words):
    assert words in refused("data", load, (X, HALVES))


def test_sparse_matrices_are_refused_with_the_way_out(load, refused):
    sparse = pytest.importorskip("scipy.sparse")
    assert "toarray" in refused("data", load, (sparse.eye(20).tocsr(), HALVES))


@pytest.mark.parametrize("returned", [None, 3, (X20,), (X20, HALVES, X20), {"X": X20}])
def test_another_return_value_is_refused(load, refused, returned):
    assert "X_train, y_train, X_test, y_test" in refused("data", load, returned)


def test_a_file_that_a_users_function_cannot_open_is_one_line(refused):
    def source():
        return pd.read_csv("no_such_file.csv")

    assert "no_such_file.csv" in refused("data", load_dataset, source, DataOptions(name="mine"))


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("data.test_size", {"test_size": 0}),
        ("data.test_size", {"test_size": 1.2}),
        ("data.limit", {"limit": 0}),
        ("data.limit", {"limit": -5}),
        ("data.seed", {"seed": -1}),
        ("data.time", {"group": "g", "time": "t"}),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(refused, path, options):
    def source():
        raise AssertionError("must not be called")

    assert "got" in refused(path, load_dataset, source, DataOptions(name="x", **options))


def test_regression_data_load_with_column_names(load):
    data = load(diabetes())
    assert (data.task, data.classes) == ("regression", None)
    assert "bmi" in data.X_train.columns
