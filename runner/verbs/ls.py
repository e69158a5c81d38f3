"""``runner ls [DIR]``: what was run, and how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from runner.results.comparison.entry import Entry
from runner.results.comparison.find import Found
from runner.results.comparison.listing import Line, listing_records, listing_table
from runner.results.comparison.tables import print_records, print_tables
from runner.verbs.arguments import DONE, REFUSED, Parser
from runner.verbs.reading import read_runs

_ABOUT = """\
List runs and sweeps, the newest first. A sweep is one line, with the scores of its best job; of a
sweep's own folder the jobs are listed. A run is running, completed, interrupted (also when it was
killed) or failed.

examples:
  runner ls
  runner ls outputs/sweeps
  runner ls outputs --format json"""


def ls(arguments: Sequence[str]) -> int:
    """Print what is in folders; return 0 when there was something to show, 2 otherwise."""
    parser = Parser("ls", _ABOUT)
    parser.add_argument("dirs", nargs="*", default=["outputs"], metavar="DIR")
    parser.add_format()
    options = parser.parse(arguments)
    named = {Path(name) for name in options.dirs}
    runs = read_runs(options.dirs)
    if not runs:
        return REFUSED
    lines = [line for item, entries in runs for line in _lines(item, entries, named)]
    lines.sort(key=lambda line: line.started, reverse=True)
    console = Console(highlight=False)
    if options.format in ("csv", "json"):
        print_records(listing_records(lines), options.format, console)
    else:
        print_tables([listing_table(lines)], options.format, console)
    return DONE


def _lines(item: Found, entries: list[Entry], named: set[Path]) -> list[Line]:
    if item.is_sweep and item.path not in named:
        return [Line(item.path, tuple(entries), is_sweep=True)]
    return [Line(entry.path, (entry,), is_sweep=False) for entry in entries]
