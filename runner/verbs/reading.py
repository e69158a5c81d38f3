"""Reading what was found, with a line for what can't be read."""

from __future__ import annotations

from collections.abc import Sequence

from runner.errors import RequestError
from runner.results.comparison.entry import Entry, read_entry
from runner.results.comparison.find import Found, find
from runner.verbs.arguments import tell


def read_runs(names: Sequence[str]) -> list[tuple[Found, list[Entry]]]:
    """Read all runs below folders; say what is damaged or missing, and go on."""
    found, problems = find(names)
    runs = []
    for item in found:
        entries = []
        for job in item.jobs:
            try:
                entries.append(read_entry(job))
            except RequestError as error:
                problems.append(error)
        if entries:
            runs.append((item, entries))
    tell(problems)
    return runs
