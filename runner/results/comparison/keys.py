"""What runs can be filtered and sorted by: facts, overrides, best parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runner.errors import RequestError, did_you_mean, listing
from runner.results.comparison.entry import Entry
from runner.results.comparison.ranking import Row

NAMES = ("data", "model", "search", "seed")
"""What identifies a run before its overrides do."""

_FACTS: dict[str, Callable[[Row], Any]] = {
    "rank": lambda row: row.rank,
    "status": lambda row: row.first.status,
    "data": lambda row: row.first.data,
    "model": lambda row: row.first.model,
    "search": lambda row: row.first.search,
    "seed": lambda row: row.first.seed if len(row.entries) == 1 else None,
    "scoring": lambda row: row.first.scoring,
    "cv_mean": lambda row: row.cv_mean,
    "cv_std": lambda row: row.first.cv_std,
    "cv_spread": lambda row: row.cv_spread,
    "test": lambda row: row.test,
    "test_spread": lambda row: row.test_spread,
    "test_low": lambda row: row.first.test_ci95[0] if row.first.test_ci95 else None,
    "test_high": lambda row: row.first.test_ci95[1] if row.first.test_ci95 else None,
    "total_s": lambda row: row.total_s,
    "took": lambda row: row.total_s,  # as the tables call it
    "error": lambda row: row.first.error,
    "path": lambda row: str(row.first.path),
}
_BEST_FIRST = ("cv_mean", "test")


@dataclass(frozen=True)
class Filter:
    """``key=value`` or ``key!=value``; numbers are compared as numbers."""

    key: str
    value: str
    is_negated: bool

    def admits(self, entry: Entry) -> bool:
        found = value_of(Row((entry,)), self.key)
        is_given = found is not None or self.key in entry.overridden or self.key in entry.params
        return (is_given and _same(found, self.value)) != self.is_negated


def parse_filter(text: str) -> Filter:
    """Read a filter.

    Raises
    ------
    RequestError
        When it isn't written ``key=value`` or ``key!=value``.
    """
    key, sign, value = text.partition("=")
    is_negated = key.endswith("!")
    key = key.removesuffix("!").strip()
    if not sign or not key:
        raise RequestError("--filter", f"'{text}' must be written key=value or key!=value")
    return Filter(key, value.strip(), is_negated)


def filtered(entries: Sequence[Entry], filters: Iterable[Filter]) -> list[Entry]:
    """The runs that pass all filters.

    Raises
    ------
    RequestError
        For a key that no run has.
    """
    filters = list(filters)
    for wanted in filters:
        check_key("--filter", wanted.key, entries)
    return [entry for entry in entries if all(wanted.admits(entry) for wanted in filters)]


def check_key(option: str, key: str, entries: Sequence[Entry]) -> None:
    """Refuse a key that no run has, naming the nearest."""
    known = dict.fromkeys(_FACTS)
    for entry in entries:
        known |= dict.fromkeys((*entry.overridden, *entry.params))
    if key not in known:
        near = did_you_mean(key, known) or f"; there are {listing(known, 30)}"
        raise RequestError(option, f"no run has '{key}'{near}")


def sorted_by(rows: Iterable[Row], key: str) -> list[Row]:
    """Sort rows by a key: scores with the best first, all else ascending, what lacks it last."""
    rows = list(rows)
    has = [row for row in rows if value_of(row, key) is not None]
    lacks = [row for row in rows if value_of(row, key) is None]
    has.sort(key=lambda row: _order(value_of(row, key)), reverse=key in _BEST_FIRST)
    return has + lacks


def value_of(row: Row, key: str) -> Any:
    """The value of a fact, an override or a best parameter; None where the row has none.

    An override is read as JSON where it is JSON (a number, ``true``, ``null``), else it is text.
    """
    if key in _FACTS:
        return _FACTS[key](row)
    if key in row.first.overridden:
        return _decode(row.first.overridden[key])
    return row.first.params.get(key)


def differing_overrides(rows: Sequence[Row]) -> list[str]:
    """Overrides that not all rows have alike, in the order in which they were written.

    Names that are columns anyway, and Hydra's own settings, are left out.
    """
    keys = dict.fromkeys(key for row in rows for key in row.first.overridden)
    return [
        key
        for key in keys
        if key not in _FACTS
        and not key.startswith(("hydra.", "hydra/"))
        and len({row.first.overridden.get(key) for row in rows}) > 1
    ]


def differing_names(rows: Sequence[Row], by_seed: bool = False) -> list[str]:
    """Which of data, model, search and seed not all rows have alike; the model if all agree."""
    names = NAMES[:-1] if by_seed else NAMES
    return [name for name in names if len({value_of(row, name) for row in rows}) > 1] or ["model"]


def _decode(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _same(found: Any, text: str) -> bool:
    return found == _decode(text) or str(found) == text


def _order(value: Any) -> tuple[bool, Any]:
    """Numbers before text."""
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else str(value)
