"""Which runs may be ranked against each other, and how they rank."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from runner.results.comparison.entry import Entry

T = TypeVar("T")
K = TypeVar("K")

# Where, with how many processes and how loudly: scores don't depend on it.
_WITHOUT_EFFECT = ("compute", "hydra.", "hydra/", "log_level", "plots")
_UNRANKED = ("completed", "running", "interrupted", "failed")


@dataclass(frozen=True)
class Row:
    """A line of a leaderboard: one run, or the runs that differ only in seed.

    ``rank`` is None when there is no score to rank by.
    """

    entries: tuple[Entry, ...]
    rank: int | None = None

    @property
    def ranked(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.is_ranked)

    @property
    def first(self) -> Entry:
        """The run that stands for the others in all but seed and scores."""
        return (self.ranked or self.entries)[0]

    @property
    def seeds(self) -> list[int]:
        return sorted(entry.seed for entry in self.entries if entry.seed is not None)

    @property
    def cv_mean(self) -> float | None:
        return _mean(entry.cv_mean for entry in self.entries)

    @property
    def cv_spread(self) -> float | None:
        """Standard deviation over seeds; None with fewer than two."""
        return _spread(entry.cv_mean for entry in self.entries)

    @property
    def test(self) -> float | None:
        return _mean(entry.test for entry in self.entries)

    @property
    def test_spread(self) -> float | None:
        return _spread(entry.test for entry in self.entries)

    @property
    def total_s(self) -> float | None:
        return _mean(entry.total_s for entry in self.entries)


@dataclass(frozen=True)
class Group:
    """Runs on the same data with the same scoring; ``number`` counts from 1."""

    number: int
    rows: tuple[Row, ...]


def rank_groups(entries: Sequence[Entry], by_seed: bool = False) -> list[Group]:
    """Group comparable runs and rank each group by cross-validated score, the best first.

    Equal scores share the smaller rank. Runs without a score come last, failed ones at the end.

    Parameters
    ----------
    by_seed
        One row for all runs that differ only in seed, ranked by the mean over seeds. Of two runs
        with the same seed the one that started last counts: both are the same fits.
    """
    groups = comparable(entries)
    rows = [_by_seed(group) if by_seed else [Row((entry,)) for entry in group] for group in groups]
    return [Group(number, tuple(_ranked(group))) for number, group in enumerate(rows, start=1)]


def comparable(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Part runs by the data that they were trained and tested on, and by scoring.

    The test rows are drawn with the experiment's seed, so the same data has another fingerprint
    under another seed. Runs with other seeds are taken together when all else that is known of
    their data agrees: name, sizes, ``data.*`` overrides, and each seed has its one fingerprint.

    Runs that ended before their scoring was known join those of the same data.
    """
    known = [entry for entry in entries if entry.data_summary and entry.scoring]
    cells = _grouped(known, _cell)
    label = {cell: cell for cell in cells}
    for same_source in _grouped(known, _source).values():
        pairs = {(_split_seed(entry), _cell(entry)) for entry in same_source}
        seeds, drawn = ({pair[side] for pair in pairs} for side in (0, 1))
        if len(pairs) == len(seeds) == len(drawn):
            joined = {label[_cell(entry)] for entry in same_source}
            target = label[_cell(same_source[0])]
            label |= {cell: target for cell, old in label.items() if old in joined}
    groups = list(_grouped(known, lambda entry: label[_cell(entry)]).values())
    _add_unscored(groups, [e for e in entries if not (e.data_summary and e.scoring)])
    return groups


def best_of(ranked: Iterable[Entry]) -> Entry:
    """The run with the highest cross-validated score, of runs that have one."""
    return max(ranked, key=lambda entry: entry.cv_mean or 0.0)


def sweep_status(entries: Sequence[Entry]) -> str:
    """A sweep is complete when all jobs have ended and some job has a score; one may fail."""
    statuses = {entry.status for entry in entries}
    for status in ("running", "interrupted", "completed"):
        if status in statuses:
            return status
    return "failed" if statuses else "interrupted"


def _add_unscored(groups: list[list[Entry]], entries: Sequence[Entry]) -> None:
    """Put each with the first group of its data, or of data of that name, or of its own."""
    by_data: dict[object, list[Entry]] = {}
    for group in reversed(groups):
        by_data |= {entry.data: group for entry in group}
    for group in reversed(groups):
        by_data |= {("fingerprint", entry.fingerprint): group for entry in group}
    for entry in entries:
        group = by_data.get(("fingerprint", entry.fingerprint)) or by_data.get(entry.data) or []
        if not group:
            groups.append(group)
            by_data[entry.data] = group
        group.append(entry)


def _cell(entry: Entry) -> tuple[str | None, str | None]:
    return entry.scoring, entry.fingerprint


def _source(entry: Entry) -> object:
    data = entry.data_summary
    assert data is not None
    sizes = (data.n_train, data.n_test, data.shape, data.n_classes)
    options = frozenset(
        (key, value)
        for key, value in entry.overridden.items()
        if key.startswith("data.") and key != "data.seed"
    )
    return entry.scoring, entry.data, sizes, options


def _split_seed(entry: Entry) -> str:
    return entry.overridden.get("data.seed", str(entry.seed))


def _by_seed(entries: Sequence[Entry]) -> list[Row]:
    rows = _grouped(entries, _all_but_seed).values()
    return [Row(tuple(_one_for_each_seed(repeats))) for repeats in rows]


def _all_but_seed(entry: Entry) -> object:
    named = ("data", "model", "search", "seed")
    overrides = frozenset(
        (key, value)
        for key, value in entry.overridden.items()
        if key not in named and not key.startswith(_WITHOUT_EFFECT)
    )
    return entry.model, entry.search, overrides


def _one_for_each_seed(entries: Sequence[Entry]) -> Iterable[Entry]:
    oldest_first = sorted(entries, key=lambda entry: (entry.is_ranked, entry.started or 0))
    of_seed = {entry.seed: entry for entry in oldest_first}
    return sorted(of_seed.values(), key=lambda entry: (entry.seed is None, entry.seed or 0))


def _ranked(rows: Iterable[Row]) -> list[Row]:
    ordered = sorted(rows, key=_place)
    first: dict[float, int] = {}
    for place, row in enumerate(ordered, start=1):
        if row.cv_mean is not None:
            first.setdefault(row.cv_mean, place)
    return [
        row if row.cv_mean is None else replace(row, rank=first[row.cv_mean]) for row in ordered
    ]


def _place(row: Row) -> tuple[int, float]:
    if row.cv_mean is not None:
        return 0, -row.cv_mean
    return 1 + _UNRANKED.index(row.first.status), 0.0


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _spread(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 else None


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
