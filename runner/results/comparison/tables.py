"""Tables in the formats that people and tools read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from runner.results.jsonable import plain, to_json

FORMATS = ("table", "csv", "json", "markdown")
Record = Mapping[str, Any]
"""A row for tools: column to value. All records of a table have the same columns."""

_PIPED_WIDTH = 100_000  # characters; a line for a pipe is never cut or wrapped


@dataclass(frozen=True)
class TextTable:
    """A table for people: a title, cells as text, and sentences below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def to_csv(records: Sequence[Record]) -> str:
    """Write records as CSV with a header; None as an empty cell, floats with all their digits."""
    header = list(records[0]) if records else []
    lines = [header, *(list(record.values()) for record in records)] if records else []
    return "".join(_csv_line([_csv_cell(value) for value in line]) for line in lines)


def to_markdown(tables: Sequence[TextTable]) -> str:
    """Write tables as GitHub's Markdown."""
    blocks = []
    for table in tables:
        lines = [_markdown_row(table.header), _markdown_row(["---"] * len(table.header))]
        lines += [_markdown_row(row) for row in table.rows]
        blocks += [f"### {_escaped(table.title)}"] if table.title else []
        blocks += ["\n".join(lines), *(_escaped(note) for note in table.notes)]
    return "\n\n".join(blocks) + "\n"


def print_records(records: Sequence[Record], as_format: str, console: Console) -> None:
    """Print records as ``csv`` or ``json``, an array with an object for each."""
    text = to_csv(records) if as_format == "csv" else to_json(records, indent=2) + "\n"
    console.file.write(text)


def print_tables(tables: Sequence[TextTable], as_format: str, console: Console) -> None:
    """Print tables as ``markdown`` or as aligned text.

    Lines are never cut or folded: a path must survive whole, and a terminal wraps them itself.
    """
    if as_format == "markdown":
        console.file.write(to_markdown(tables))
        return
    text = Text("\n").join(_as_text(table) for table in tables)
    if console.is_terminal:
        console.print(text, soft_wrap=True, end="")
    else:
        console.file.write(text.plain)


def shown(text: str) -> str:
    """Spell out what would move the cursor or break a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_whole(renderable: RenderableType, console: Console) -> None:
    """Print, and in a pipe or a file neither wrap lines nor fill them up with spaces."""
    if console.is_terminal:
        console.print(renderable)
        return
    wide = Console(
        file=io.StringIO(),
        width=_PIPED_WIDTH,
        highlight=False,
        # Whatever a notebook or the environment asks for.
        color_system=None,
        force_jupyter=False,
    )
    with wide.capture() as captured:
        wide.print(renderable)
    lines = (line.rstrip() for line in captured.get().splitlines())
    console.file.write("".join(f"{line}\n" for line in lines))


def _as_text(table: TextTable) -> Text:
    header, *rows = _aligned(table)
    text = Text()
    if table.title:
        text.append(f"{shown(table.title)}\n", style="bold")
    text.append(f"{header}\n", style="dim")
    for line in (*rows, *map(shown, table.notes)):
        text.append(f"{line}\n")
    return text


def _aligned(table: TextTable) -> list[str]:
    """Lines of the table, the header first; rich would take a second for a thousand rows."""
    lines = [[shown(cell) for cell in line] for line in (table.header, *table.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]


def _csv_line(cells: Sequence[str]) -> str:
    # The dialect's own line ending makes it quote a lone carriage return too.
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow(cells)
    return stream.getvalue().removesuffix("\r\n") + "\n"


def _csv_cell(value: object) -> str:
    value = plain(value)
    return value if isinstance(value, str) else "" if value is None else to_json(value)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    return shown(text).replace("\\", "\\\\").replace("|", "\\|")
