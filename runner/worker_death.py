"""Searching on when a worker process dies: its fit is repeated, and no other is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from runner.clusters.backend import Backend
from runner.errors import ExperimentError
from runner.search.record import FitEntry, FitRecord

logger = logging.getLogger(__name__)

# Deaths in a row that no fit can be blamed for, such as workers that can't even start.
_MOST_UNEXPLAINED = 3


class WorkerDiedError(RuntimeError):
    """The worker process of a fit died, again and again."""


def survive_deaths(
    search: Callable[[], Any],
    repeat: Callable[[FitEntry], Any],
    record: FitRecord,
    retries: int,
    backend: Backend,
) -> Any:
    """Run `search`, and run it again when a worker process dies, until it ends.

    A search answers finished fits from the record, so running it again continues it. When a worker
    dies and the search with it, every fit that was under way is repeated alone first, so that the
    one at fault is known by its next death.

    Parameters
    ----------
    search
        Fits the search and returns it.
    repeat
        Does one recorded fit once more, in a worker process.
    record
        Where the search's fits are noted.
    retries
        How often a fit is repeated before it counts as failed.
    backend
        Where the fits are done.

    Raises
    ------
    ExperimentError
        When workers die before they begin a fit, or there are none any more.
    """
    unexplained = 0
    while True:
        try:
            return search()
        except backend.deaths as error:
            backend.recover()
            suspects = record.unfinished()
            logger.warning(
                "a worker process died; %d fits that were under way are repeated, one at a time",
                len(suspects),
            )
            for entry in suspects:
                if not any(_settles(repeat, entry, record, backend) for _ in range(retries)):
                    _note_death(record, entry, backend.n_deaths(retries) + retries)
            explained = len(record.unfinished()) < len(suspects)
            unexplained = 0 if explained else unexplained + 1
            if unexplained == _MOST_UNEXPLAINED:
                raise ExperimentError(
                    f"worker processes die before they begin a fit: {_first_line(error)}"
                ) from error


def _note_death(record: FitRecord, entry: FitEntry, n_deaths: int) -> None:
    error = WorkerDiedError(f"its worker process died {n_deaths} times; out of memory?")
    record.append(FitEntry.failed(entry.candidate, entry.params, entry.fold, error))


def _settles(
    repeat: Callable[[FitEntry], Any], entry: FitEntry, record: FitRecord, backend: Backend
) -> bool:
    """Do a fit once more, alone; return whether the record now says how it ended."""
    try:
        repeat(entry)
    except backend.deaths:
        backend.recover()
        # A fit that takes too long notes that before it ends its process.
        return record.find(entry.candidate, entry.fold) is not None
    return True


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
