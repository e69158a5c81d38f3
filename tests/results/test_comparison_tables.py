"""Tables for tools read back as they were written, whatever the names; people's stay aligned."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from runner.results.comparison.tables import (
    TextTable,
    print_records,
    print_tables,
    to_csv,
    to_markdown,
)

hostile = st.text(max_size=8) | st.sampled_from(
    [
        '"',
        "a,b",
        "\r",
        "\n",
        "\r\n",
        "a\rb",
        "|",
        "\\|",
        "=1+1",
        "\x1b[31m",
        "\u2028",
        "[red]",
        "±",
        "\0",
    ]
)
printable = hostile.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))
cell = st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | printable
rows = st.lists(printable, min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.lists(
        st.fixed_dictionaries(dict.fromkeys(names, cell)), min_size=1, max_size=4
    )
)


def as_text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


@settings(max_examples=50, deadline=None)
@given(rows)
def test_csv_reads_back_as_it_was_written(records):
    header, *lines = csv.reader(io.StringIO(to_csv(records), newline=""))
    assert header == list(records[0])
    assert lines == [[as_text(value) for value in record.values()] for record in records]


@settings(max_examples=50, deadline=None)
@given(rows)
def test_json_reads_back_as_it_was_written(records):
    stream = io.StringIO()
    print_records(records, "json", Console(file=stream))
    assert json.loads(stream.getvalue()) == records


def test_no_records_are_an_empty_file_and_an_empty_array():
    assert to_csv([]) == ""
    stream = io.StringIO()
    print_records([], "json", Console(file=stream))
    assert json.loads(stream.getvalue()) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(hostile, min_size=2, max_size=2), min_size=1, max_size=4))
def test_text_for_people_stays_a_row_a_line_and_keeps_control_characters_out(cells):
    stream = io.StringIO()
    table = TextTable("title", ["a", "b"], cells)
    print_tables([table], "table", Console(file=stream))
    lines = stream.getvalue().split("\n")
    assert len(lines) == len(cells) + 3
    assert all(line.isprintable() and line == line.rstrip() for line in lines)
    markdown = to_markdown([table]).split("\n")
    assert len(markdown) == len(cells) + 5
    assert all(line.isprintable() for line in markdown)


def test_a_long_line_is_neither_cut_nor_wrapped():
    stream = io.StringIO()
    table = TextTable(
        "", ["run", "x"], [["outputs/" + "a" * 300, "é"], ["宽", "y"]], ["note " * 50]
    )
    print_tables([table], "table", Console(file=stream, width=40))
    header, long, wide, note = stream.getvalue().splitlines()
    assert long == "outputs/" + "a" * 300 + "  é"
    assert wide == "宽" + " " * 306 + "  y"  # it is two columns wide
    assert note == ("note " * 50).rstrip() or note == "note " * 50
    assert header.index("x") == 310


@pytest.mark.parametrize("as_format", ["table", "markdown"])
def test_text_from_a_config_is_not_markup(as_format):
    stream = io.StringIO()
    print_tables(
        [TextTable("[red]", ["[b]"], [["[bold]x[/bold]"]])], as_format, Console(file=stream)
    )
    assert "[bold]x[/bold]" in stream.getvalue()
