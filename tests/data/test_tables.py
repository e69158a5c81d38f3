"""CSV and Parquet files, good and bad."""

from __future__ import annotations

import csv
import gzip
import io
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.data.dataset import DataOptions
from runner.data.load import load_dataset
from runner.data.sources import iris, table
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
