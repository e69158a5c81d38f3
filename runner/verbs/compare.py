"""``runner compare DIR…``: runs beside each other, ranked where they can be."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from runner.errors import RequestError
from runner.results.comparison.board import (
    DEFAULT_BY,
    board_records,
    make_boards,
)
from runner.results.comparison.board_tables import board_tables
from runner.results.comparison.keys import check_key, filtered, parse_filter
from runner.results.comparison.tables import print_records, print_tables
from runner.verbs.arguments import DONE, REFUSED, Parser, one_of
from runner.verbs.reading import read_runs

_ABOUT = """\
Rank runs by their cross-validated score. DIR is a run, a sweep, or a folder with many of them.
Runs of different data or scoring get tables of their own. Whether the first is ahead of the
second by more than noise is tested where both were scored on the same folds.

examples:
  runner compare outputs
  runner compare outputs/sweeps/2026-11-25/* --filter model=mlp --filter status!=failed
  runner compare outputs --group seed
  runner compare outputs --by total_s --top 10
  runner compare outputs --format csv > runs.csv"""


def compare(arguments: Sequence[str]) -> int:
    """Print leaderboards; return 0 when there was something to show, 2 otherwise.

    Raises
    ------
    RequestError
        For an unknown column, key, format or flag, or filters that no run passes.
    """
    options = _parser().parse(arguments)
    entries = [entry for _, entries in read_runs(options.dirs) for entry in entries]
    if not entries:
        return REFUSED
    check_key("--by", options.by, entries)
    chosen = filtered(entries, options.filter)
    if not chosen:
        raise RequestError("--filter", f"none of {len(entries)} runs fits")
    by_seed = options.group == "seed"
    boards = make_boards(chosen, by=options.by, by_seed=by_seed, top=options.top)
    console = Console(highlight=False)
    if options.format in ("csv", "json"):
        print_records(board_records(boards, by_seed), options.format, console)
        return DONE
    tables = board_tables(boards, by=options.by, by_seed=by_seed, short=console.is_terminal)
    print_tables(tables, options.format, console)
    return DONE


def _parser() -> Parser:
    parser = Parser("compare", _ABOUT)
    parser.add_argument("dirs", nargs="+", metavar="DIR")
    parser.add_argument(
        "--by",
        default=DEFAULT_BY,
        metavar="COLUMN",
        help="sort by a column, an override or a best parameter (default: %(default)s)",
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        type=parse_filter,
        metavar="KEY=VALUE",
        help="only such runs, or with != all others; may be given more than once",
    )
    parser.add_argument(
        "--group",
        type=one_of("--group", ["seed"]),
        metavar="seed",
        help="one row for runs that differ only in seed: mean ± standard deviation over seeds",
    )
    parser.add_argument("--top", type=_count, metavar="N", help="only the first N of each table")
    parser.add_format()
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise RequestError("--top", f"'{text}' must be a whole number, at least 1")
    return int(text)
