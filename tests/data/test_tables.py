"""CSV and Parquet files, good and bad."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import os
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from runner.data.dataset import DataOptions
from runner.data.load import load_dataset
from runner.data.sources import iris, npz, table
from runner.errors import RequestError

CSV = "size,colour,ok,when,big,kind\n" + "".join(
    f"{i if i % 5 else ''},{'red' if i % 3 else 'blue'},{i % 2 == 0},2024-01-{i + 1:02d},"
    f"{10**25 + i},{'ab'[i % 2]}\n"
    for i in range(20)
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_columns_of_a_csv_come_with_their_types(folder):
    X, y = table(write(folder / "t.csv", CSV), target="kind")
    X = X.drop(columns="big")
    kinds = {str(name): dtype.kind for name, dtype in X.dtypes.items()}
    assert kinds == {"size": "f", "colour": "O", "ok": "b", "when": "M"}
    assert y.tolist() == ["a", "b"] * 10


def test_a_csv_with_dates_and_gaps_loads_without_its_dates(folder, caplog):
    path = write(folder / "t.csv", CSV)
    data = load_dataset(lambda: table(path, "kind"), DataOptions(name="t"))
    assert list(data.X_train.columns) == ["size", "colour", "ok", "big"]
    assert "when" in caplog.text
    assert data.X_train["size"].isna().any()
    assert data.X_train["big"].dtype == float


def test_dates_of_a_csv_order_the_rows(folder):
    path = write(folder / "t.csv", CSV)
    data = load_dataset(lambda: table(path, "kind"), DataOptions(name="t", time="when"))
    assert data.X_test["size"].dropna().tolist() == [16, 17, 18, 19]


def test_integers_beyond_64_bits_are_numbers(folder):
    X, _ = table(write(folder / "t.csv", f"x,y\n{2**64 - 1},1\n-1,2\n,2\nNA,1\n"), "y")
    assert X["x"].dtype == float
    assert X["x"].isna().tolist() == [False, False, True, True]


def test_a_column_has_one_type_however_long_it_is(folder):
    X, _ = table(write(folder / "t.csv", "x,y\n" + "1.50,1\n" * 300_000 + "none yet,1\n"), "y")
    assert set(X["x"]) == {"1.50", "none yet"}


@pytest.mark.parametrize("text", ["2024-01-05", "5/1/2024", "2024-01-05T12:30:00Z"])
def test_dates_are_recognized(folder, text):
    assert table(write(folder / "t.csv", f"d,y\n{text},1\n,2\n"), "y")[0]["d"].dtype.kind == "M"


@pytest.mark.parametrize("text", ["May", "1-2-3", "v2024-01-05", "2024-99-99", "10:30", "1/2"])
def test_text_that_is_no_date_stays_text(folder, text):
    assert table(write(folder / "t.csv", f"d,y\n{text},1\n{text},2\n"), "y")[0]["d"][0] == text


@pytest.mark.parametrize("name", ["t.csv", "T.CSV", "t.tsv", "t.csv.gz", "t.tsv.gz"])
def test_every_ending_reads_alike(folder, name):
    text = CSV.replace(",", "\t") if ".tsv" in name else CSV
    content = gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()
    expected, _ = table(write(folder / "expected.csv", CSV), "kind")
    pd.testing.assert_frame_equal(table(write(folder / name, content), "kind")[0], expected)


def test_parquet_reads_as_written(folder):
    X, y = iris()
    X.assign(kind=y).to_parquet("iris.parquet")
    read_X, read_y = table("iris.parquet", "kind")
    pd.testing.assert_frame_equal(read_X, X)
    assert read_y.tolist() == y.tolist()


def test_a_named_index_in_parquet_is_a_column(folder):
    frame = pd.DataFrame({"x": [1, 2], "y": [3, 4]}, index=pd.Index([7, 8], name="well"))
    frame.to_parquet("t.pq")
    assert table("t.pq", "y")[0].columns.tolist() == ["well", "x"]


def test_a_byte_order_mark_is_no_part_of_a_name(folder):
    X, _ = table(write(folder / "t.csv", b"\xef\xbb\xbfx,y\n1,2\n"), "y")
    assert list(X.columns) == ["x"]


def test_quotes_commas_newlines_and_blank_lines_are_understood(folder):
    X, y = table(write(folder / "t.csv", 'x,y\r\n"a,\nb",1\r\n\r\n"say ""hi""",2\r\n'), "y")
    assert X["x"].tolist() == ["a,\nb", 'say "hi"']
    assert y.tolist() == [1, 2]


def test_paths_are_relative_to_the_working_directory_or_home(folder, monkeypatch):
    write(folder / "t.csv", CSV)
    monkeypatch.setenv("HOME", str(folder))
    assert len(table("t.csv", "kind")[1]) == len(table("~/t.csv", "kind")[1]) == 20


PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", "\n\n\n", "is empty"),
        ("t.csv", "x,y\n", "no rows"),
        ("t.csv", "y\n1\n2\n", "only one column"),
        ("t.csv", "x;y\n1;2\n", "not ';'"),
        ("t.tsv", "x,y\n1,2\n", "tabs separate columns, not ','"),
        ("t.csv", "x,y\n1,2\n3,4,5\n", "line 3 of"),
        ("t.csv", "x,y\n1,2\n3\n", "line 3 of"),
        ("t.csv", "x,y\n1,2,3\n3,4,5\n", "3 fields, the header has 2"),
        ("t.csv", 'x,y\n"' + "a" * 200_000 + ",1\n", "cannot be read"),
        ("t.csv", PNG, "PNG image"),
        ("t.csv", b"x,y\n1,\0\n", "binary data"),
        ("t.csv", "x,y\nä,1\n".encode("latin-1"), "byte 0xe4"),
        ("t.csv", b"x,y\n" + b"1,2\n" * 5000 + b"\xff,1\n", "not UTF-8"),
        ("t.csv", "x,y\n1,2\n".encode("utf-16"), "UTF-16"),
        ("t.csv", gzip.compress(b"x,y\n1,2\n", mtime=0), "gzip"),
        ("t.csv.gz", "x,y\n1,2\n", "not a .csv.gz file"),
        ("t.csv.gz", gzip.compress(b"x,y\n1,2\n" * 99, mtime=0)[:-20], "not a .csv.gz file"),
        ("t.csv.gz", gzip.compress(PNG, mtime=0), "PNG image"),
        ("t.parquet", "x,y\n1,2\n", "looks like text"),
        ("t.parquet", PNG, "PNG image"),
        ("t.parquet", b"PAR1" + bytes(50), "damaged"),
        ("t.xlsx", b"PK\x03\x04", "allowed are .csv"),
        ("table", "x,y\n1,2\n", "no ending"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(folder, refused, name, content, words):
    problem = refused("data.path", table, write(folder / name, content), "y")
    assert words in problem
    assert name in problem


def test_a_missing_file_is_refused_with_the_nearest_name(folder, refused):
    write(folder / "wells.csv", CSV)
    assert "did you mean 'wells.csv'?" in refused("data.path", table, "well.csv", "kind")
    assert "no folder 'nowhere'" in refused("data.path", table, "nowhere/well.csv", "kind")


def test_what_is_no_regular_file_is_refused(folder, refused):
    (folder / "t.csv").mkdir()
    assert "is a folder" in refused("data.path", table, "t.csv", "y")
    assert "is a folder" in refused("data.path", table, "", "y")
    os.mkfifo("pipe.csv")
    assert "not a regular file" in refused("data.path", table, "pipe.csv", "y")
    assert "cannot read" in refused("data.path", table, "x" * 5000 + ".csv", "y")


def test_a_gzip_bomb_is_refused(folder, refused, monkeypatch):
    monkeypatch.setattr("runner.data.sources.csv_files.MAX_BYTES", 2**21)
    content = gzip.compress(b"x,y\n" + b"1,2\n" * 2**20, mtime=0)
    assert "unpacks to more" in refused(
        "data.path", table, write(folder / "t.csv.gz", content), "y"
    )


def test_a_parquet_bomb_is_refused(folder, refused, monkeypatch):
    monkeypatch.setattr("runner.data.sources.tables.MAX_BYTES", 2**12)
    pd.DataFrame(np.zeros((10_000, 2)), columns=["x", "y"]).to_parquet("t.parquet")
    assert "unpacks to" in refused("data.path", table, "t.parquet", "y")


def test_a_target_that_is_not_there_is_refused(folder, refused):
    path = write(folder / "t.csv", "weight,height,weight\n1,,3\n4,5,6\n")
    assert "did you mean 'height'?" in refused("data.target", table, path, "heigth")
    assert "1 of 2 rows have no value in 'height'" in refused("data.target", table, path, "height")
    assert "2 columns named 'weight'" in refused("data.target", table, path, "weight")


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4)
VALUES = st.one_of(
    st.sampled_from(
        ["", "inf", "-inf", "NaN", "1e999", "true", "2024-02-30", "0x1f", "007", " 1 "]
    ),
    st.integers(-(10**40), 10**40).map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5),
)


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(names=st.lists(NAMES, min_size=1, max_size=5), data=st.data(), bom=st.booleans())
def test_hostile_csv_files_load_or_are_refused_in_one_line(tmp_path_factory, names, data, bom):
    row = st.lists(VALUES, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, min_size=6, max_size=6))
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([*names, "target"])
    writer.writerows([*values, i % 2] for i, values in enumerate(rows))
    path = tmp_path_factory.getbasetemp() / "hostile.csv"
    path.write_text(text.getvalue(), encoding="utf-8-sig" if bom else "utf-8")
    try:
        loaded = load_dataset(lambda: table(path, "target"), DataOptions(name="t", test_size=0.34))
    except RequestError as error:
        loaded, at_fault = None, error.path
    if loaded is None:
        assert at_fault in {"data", "data.target"}
        return
    assert loaded.n_train + loaded.n_test == 6
    assert loaded.X_train.dtypes.tolist() == loaded.X_test.dtypes.tolist()
    numbers = pd.concat([loaded.X_train, loaded.X_test]).select_dtypes("number")
    assert not np.isinf(numbers.to_numpy(dtype=float)).any()


def _rows(*rows: str, times: int = 6) -> str:
    return "\n".join(["x,y", *rows * times]) + "\n"


# Content of a file, and what the one line says where it is refused.
HOSTILE = {
    "duplicate names": ("x,x,y\n" + "1,2,a\n3,4,b\n" * 6, None),
    "duplicate targets": ("y,x,y\n" + "1,2,3\n" * 6, "2 columns named 'y'"),
    "no names": (",,y\n" + "1,2,a\n3,4,b\n" * 6, None),
    "integers beyond a float": (_rows(f"{10**400},a", f"-{10**400},b", "1,a"), None),
    "target beyond a float": (_rows(f"1,{10**400}", "2,3"), "too large for a float"),
    "infinite": (_rows("inf,a", "-inf,b", "1,a"), None),
    "infinite throughout": (_rows("inf,a", "-inf,b"), None),
    "infinite target": (_rows("1,inf", "2,1"), "infinite"),
    "mixed types": (_rows("1,a", "foo,b", "2024-01-01,a", ",b", "true,a", "1e400,b"), None),
    "mixed target": (_rows("1,a", "2,1", "3,2.5"), None),
    "missing target": (_rows("1,a", "2,"), "rows have no value in 'y'"),
    "all missing": (_rows(","), "rows have no value in 'y'"),
    "no features": (_rows(",a", ",b"), "no feature column is left"),
    "one column": ("y\n1\n2\n", "only one column"),
    "only a header": ("x,y\n", "no rows"),
    "white space": ("   \n", "only one column"),
    "a single row of a class": (_rows("1,a") + "2,b\n", "classes with a single row: 'b'"),
    "old line ends": (_rows("1,a", "2,b").replace("\n", "\r"), None),
    "control characters": ("x\x01,y\n" + "1,a\n2,b\n" * 6, None),
    "an open quote": ('x,y\n"1,a\n2,b\n', "line 3 of"),
    "other digits": (_rows("\u0663,a", "\u202e1,b"), None),
    "byte-order mark": ("\ufeff" + _rows("1,a", "2,b"), None),
    "NUL after a while": (_rows("1,a", "2,b", times=2000) + "1\0,a\n", None),
    "not UTF-8": (_rows("1,a", "2,b", times=2000).encode() + b"\xff,a\n", "byte 0xff"),
    "lone surrogate": (b"x,y\n" + b"\xed\xa0\x80,a\n" * 6, "byte 0xed"),
    "complex": (_rows("1+2j,a", "3j,b"), None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_loads_or_is_refused_in_one_line(folder, name):
    content, says = HOSTILE[name]
    path = write(folder / "t.csv", content)
    loaded, error = _load_or_refuse(path)
    assert (loaded is None) == (says is not None), error
    assert says is None or says in error
    if loaded is not None:
        assert not np.isinf(loaded.X_train.select_dtypes("number").to_numpy(dtype=float)).any()


def _load_or_refuse(path, reader=table, **options):
    """Load, or return the one line; anything else that is raised fails the test."""
    arguments = {"target": "y"} if reader is table else {}
    try:
        data = load_dataset(lambda: reader(path, **arguments), DataOptions(name="t", **options))
    except RequestError as error:
        line = str(error)
    else:
        return data, ""
    assert line.isprintable()
    return None, line


def test_five_thousand_columns_load(folder):
    names = [f"c{number}" for number in range(5000)]
    rows = [",".join(["1"] * 4999 + [str(row), "ab"[row % 2]]) for row in range(12)]
    path = write(folder / "t.csv", "\n".join([",".join([*names, "y"]), *rows]))
    assert _load_or_refuse(path)[0].shape == (5000,)


def test_a_class_that_only_the_test_rows_have_is_refused(refused):
    X = np.arange(20.0).reshape(10, 2)
    returned = (X, np.resize(["a", "b"], 10), X[:3], np.array(["a", "b", "c"]))
    problem = refused("data.target", load_dataset, lambda: returned, DataOptions(name="t"))
    assert "only test rows have the class 'c'" in problem


VALID = (
    "a,b,c,d,y\n"
    + "".join(f"{i},{i / 2},{'uv'[i % 2]},2024-01-{i + 1:02d},{'pq'[i % 2]}\n" for i in range(28))
).encode()
DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["replace", "delete", "insert"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=4) | st.sampled_from([b"\n", b'"', b",", b"\0", b"\r"]),
    ),
    min_size=1,
    max_size=5,
)


def _damaged(content: bytes, damage) -> bytes:
    changed = bytearray(content)
    for kind, place, piece in damage:
        at = int(place * len(changed))
        end = at if kind == "insert" else at + len(piece)
        changed[at:end] = b"" if kind == "delete" else piece
    return bytes(changed)


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_a_damaged_file_loads_or_is_refused_in_one_line(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    frame = pd.read_csv(io.BytesIO(VALID))
    if ending == "csv":
        path.write_bytes(VALID)
    elif ending == "parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, X=frame[["a", "b"]].to_numpy(), y=frame["y"].to_numpy(dtype="U1"))
    content = path.read_bytes()
    reader = npz if ending == "npz" else table
    assert _load_or_refuse(str(path), reader)[0] is not None

    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(DAMAGE, st.sampled_from([{}, {"group": "c"}, {"time": "d"}]))
    @example([("insert", 0.017578125, b"\x1c")], {})
    def check(damage, options):
        path.write_bytes(_damaged(content, damage))
        _load_or_refuse(str(path), reader, **(options if ending == "csv" else {}))

    check()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([b"\xff", b"a"], pa.binary()),
        ([[1], [2, 3]], None),
        ([{"a": 1}, {"a": None}], None),
        ([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        ([2**64 - 1, 0], pa.uint64()),
        ([dt.date(9999, 1, 1), None], None),
        ([dt.timedelta(1), dt.timedelta(2)], None),
        ([Decimal(10) ** 37, Decimal(1)], pa.decimal128(38, 0)),
        ([None, None], None),
    ],
    ids=str,
)
def test_columns_of_any_type_load_or_are_refused_in_one_line(folder, values, kind):
    strange = pa.array(values * 6, kind)
    labels = pa.array(["p", "q"] * 6)
    numbers = pa.array(list(range(12)))
    parquet.write_table(pa.table({"s": strange, "x": numbers, "y": labels}), "x.parquet")
    for options in ({}, {"group": "s"}, {"time": "s"}):
        _load_or_refuse("x.parquet", **options)
    parquet.write_table(pa.table({"x": numbers, "y": strange}), "y.parquet")
    _load_or_refuse("y.parquet")


def test_a_group_column_of_nested_values_is_refused(folder, refused):
    nested = pa.table({"s": [[1], [2]] * 6, "x": list(range(12)), "y": ["p", "q"] * 6})
    parquet.write_table(nested, "x.parquet")
    options = DataOptions(name="t", group="s")
    problem = refused("data.group", load_dataset, lambda: table("x.parquet", "y"), options)
    assert "nested values" in problem


def test_text_in_parquet_that_is_not_utf_8_is_refused(folder, refused):
    raw = pa.array([b"\xff\xfe", b"ok"] * 6).cast(pa.string(), safe=False)
    content = pa.table({"x": raw, "y": ["p", "q"] * 6})
    parquet.write_table(content, "x.parquet", use_dictionary=False)
    assert "UTF8" in refused("data.path", table, "x.parquet", "y")
