"""``runner options [GROUP…]``: what there is to choose, your own conf/ included."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from runner.config.options import GROUPS, Option, list_options
from runner.errors import RequestError, did_you_mean, listing
from runner.results.comparison.tables import TextTable, print_records, print_tables
from runner.verbs.arguments import DONE, Parser

_ABOUT = """\
List the options of config groups with a line about each, of all groups or of those named. Options
in the current folder's conf/ are among them. Choose one with GROUP=OPTION.

examples:
  runner options
  runner options model space
  runner options data --format json"""


def options(arguments: Sequence[str]) -> int:
    """Print the options of config groups.

    Raises
    ------
    RequestError
        For a group that does not exist.
    """
    parser = Parser("options", _ABOUT)
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    parser.add_format()
    asked = parser.parse(arguments)
    known = list_options()
    for name in asked.groups:
        if name not in known:
            near = did_you_mean(name, known) or f"; groups: {listing(known, 20)}"
            raise RequestError(None, f"there is no group '{name}'{near}")
    chosen = [known[name] for name in asked.groups or known]
    console = Console(highlight=False)
    if asked.format in ("csv", "json"):
        records = [_record(option) for group in chosen for option in group]
        print_records(records, asked.format, console)
    else:
        print_tables([_table(group) for group in chosen], asked.format, console)
    return DONE


def _record(option: Option) -> dict[str, object]:
    return {
        "group": option.group,
        "option": option.name,
        "description": option.description,
        "default": option.is_default,
        "file": str(option.path),
    }


def _table(group: Sequence[Option]) -> TextTable:
    name = group[0].group
    about = f": {GROUPS[name]}" if name in GROUPS else ""
    default = next((f" (default: {o.name})" for o in group if o.is_default), "")
    rows = [[f"{name}={option.name}", option.description] for option in group]
    return TextTable(f"{name}{about}{default}", ["option", "what it is"], rows)
