"""What becomes of columns and arrays before any model sees them, hostile tables included."""

from __future__ import annotations

import datetime
import decimal
import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.data.features import clean_features, named_columns

ALLOWED_KINDS = set("biuf")


def cleaned(values, **kwargs) -> pd.Series:
    """Clean one column, beside another that keeps the table from being empty."""
    column = pd.Series(values, **kwargs)
    return clean_features(pd.DataFrame({"column": column, "other": range(len(column))}))["column"]


@pytest.mark.parametrize(
    ("column", "dtype", "values"),
    [
        (pd.Series([1, 2]), "int64", [1, 2]),
        (pd.Series([1, None], dtype="Int64"), "float64", [1, np.nan]),
        (pd.Series([1, 2], dtype="Int64"), "int64", [1, 2]),
        (pd.Series([1.5, None], dtype="Float64"), "float64", [1.5, np.nan]),
        (pd.Series([1, 2], dtype="int64[pyarrow]"), "int64", [1, 2]),
        (pd.Series(pd.arrays.SparseArray([0.0, 1.5])), "float64", [0, 1.5]),
        (pd.Series([1.5, 2], dtype="float16"), "float32", [1.5, 2]),
        (pd.Series([2**60 + 1, 5]), "int64", [2**60 + 1, 5]),
        (pd.Series([10**30, 5]), "float64", [1e30, 5]),
        (pd.Series([10**400, 5]), "float64", [np.nan, 5]),
        (pd.Series([np.inf, -np.inf, 5]), "float64", [np.nan, np.nan, 5]),
        (pd.Series([decimal.Decimal("1.5"), None]), "float64", [1.5, np.nan]),
        (pd.Series([True, False]), "bool", [True, False]),
        (pd.Series([True, None], dtype="boolean"), "float64", [1, np.nan]),
        (pd.Series([True, None], dtype=object), "float64", [1, np.nan]),
        (pd.Series(["a", None]), "str", ["a", np.nan]),
        (pd.Series(["a", None], dtype="string"), "str", ["a", np.nan]),
        (pd.Series(["a", 1, None], dtype=object), "str", ["a", "1", np.nan]),
        (pd.Series([b"a", b"b"]), "str", ["b'a'", "b'b'"]),
        (pd.Series(pd.interval_range(0, 2)), "str", ["(0, 1]", "(1, 2]"]),
        (pd.Series([1, "1"], dtype="category"), "str", ["1", "1"]),
    ],
)
def test_a_column_becomes_numbers_truth_or_text(column, dtype, values):
    expected = pd.Series(values, dtype=dtype, name="column")
    pd.testing.assert_series_equal(cleaned(column), expected)


@pytest.mark.parametrize("values", [["a", "b", None], [1, 2, None]])
def test_categories_stay_categories(values):
    column = pd.Series(values, dtype="category", name="column")
    pd.testing.assert_series_equal(cleaned(column), column)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.date_range("2020", periods=2), "dates"),
        (pd.date_range("2020", periods=2, tz="UTC"), "dates"),
        (pd.date_range("2020", periods=2).astype("category"), "dates"),
        ([datetime.date(2020, 1, 1), None], "dates"),
        ([datetime.time(12), None], "dates"),
        (pd.to_timedelta([1, 2], unit="s"), "dates"),
        (pd.period_range("2020", periods=2), "dates"),
        ([[1], [2]], "nested"),
        ([{"a": 1}, None], "nested"),
        ([None, None], "no values"),
        ([np.nan, np.nan], "no values"),
    ],
)
def test_columns_of_no_use_are_left_out_with_a_warning(caplog, values, reason):
    frame = pd.DataFrame({"odd": values, "x": [1, 2]})
    assert list(clean_features(frame).columns) == ["x"]
    assert "odd" in caplog.text
    assert reason in caplog.text


def test_infinite_values_are_warned_about_by_column(caplog):
    clean_features(pd.DataFrame({"fine": [1.0, 2], "endless": [np.inf, 1]}))
    assert "endless" in caplog.text
    assert "fine" not in caplog.text


def test_clean_tables_give_no_warning(caplog):
    with caplog.at_level(logging.WARNING):
        clean_features(pd.DataFrame({"a": [1.0, np.nan], "b": ["x", None]}))
    assert not caplog.records


def test_a_table_of_dates_alone_is_refused(refused):
    frame = pd.DataFrame({"when": pd.date_range("2020", periods=2)})
    assert "when (dates" in refused("data", clean_features, frame)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float32, np.float64])
def test_arrays_keep_their_type(dtype):
    X = np.ones((2, 3), dtype)
    assert clean_features(X) is X or clean_features(X).dtype == dtype


def test_arrays_of_odd_floats_become_common_ones():
    assert clean_features(np.ones((2, 1), np.float16)).dtype == np.float32
    assert clean_features(np.ones((2, 1), np.longdouble)).dtype == np.float64


def test_infinite_values_of_an_array_become_missing_in_a_copy(caplog):
    X = np.array([[1, np.inf], [-np.inf, 2]], np.float32)
    result = clean_features(X)
    assert np.array_equal(result, np.array([[1, np.nan], [np.nan, 2]]), equal_nan=True)
    assert result.dtype == np.float32
    assert np.isinf(X).sum() == 2
    assert "2 infinite" in caplog.text


def test_arrays_of_number_objects_become_floats():
    X = np.array([[1, None], [10**400, decimal.Decimal("0.5")]], dtype=object)
    result = clean_features(X)
    assert np.array_equal(result, np.array([[1, np.nan], [np.nan, 0.5]]), equal_nan=True)


def test_masked_values_are_missing(load):
    X = np.ma.masked_equal(np.arange(20).reshape(10, 2), 5)
    data = load((X, [0, 1] * 5))
    assert np.isnan(data.X_train).sum() + np.isnan(data.X_test).sum() == 1


def test_a_series_is_one_feature(load):
    data = load((pd.Series(np.arange(10.0), name="x"), [0, 1] * 5))
    assert list(data.X_train.columns) == ["x"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "a", "a"], ["a", "a.1", "a.2"]),
        (["a", "a.1", "a"], ["a", "a.1", "a.2"]),
        (["a", "a", "a.1"], ["a", "a.2", "a.1"]),
        ([0, "0", 0.5], ["0", "0.1", "0.5"]),
        (["", " ", "x "], ["column_0", "column_1", "x"]),
        ([("a", "b"), None, True], ["('a', 'b')", "None", "True"]),
    ],
)
def test_column_names_become_unique_text(names, expected):
    frame = pd.DataFrame(np.zeros((1, 3)))
    frame.columns = pd.Index(names, tupleize_cols=False)
    assert list(named_columns(frame).columns) == expected


@given(st.lists(st.one_of(st.text(max_size=3), st.integers(0, 2), st.none()), max_size=8))
def test_any_column_names_become_unique_text(names):
    frame = pd.DataFrame(np.zeros((1, len(names))))
    frame.columns = pd.Index(names, dtype=object)
    result = list(named_columns(frame).columns)
    assert len(set(result)) == len(names)
    assert all(isinstance(name, str) and name for name in result)


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.integers(-3, 3),
    st.floats(),
    st.text(max_size=3),
    st.decimals(allow_nan=False),
    st.dates(),
    st.binary(max_size=2),
)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.one_of(*(st.lists(kind, min_size=3, max_size=3) for kind in (CELLS, st.floats()))),
        min_size=width,
        max_size=width,
    )
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(TABLES)
def test_hostile_tables_become_clean_ones(columns):
    objects = {f"c{i}": pd.Series(values, dtype=object) for i, values in enumerate(columns)}
    frame = pd.DataFrame({**objects, "safe": [1, 2, 3]})
    result = clean_features(frame)
    assert result.shape[0] == 3
    for name, column in result.items():
        number = column.dtype.kind in ALLOWED_KINDS
        assert number or column.dtype == "str"
        assert not (column.dtype.kind == "f" and np.isinf(column).any())
        assert (column.isna() >= frame[name].isna()).all()


def test_thousands_of_columns_are_no_trouble():
    frame = pd.DataFrame(np.arange(3_000.0).reshape(3, 1000))
    assert clean_features(named_columns(frame)).shape == (3, 1000)
