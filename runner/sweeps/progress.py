"""A progress bar over the jobs of a sweep."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console

from runner.search.progress import make_bar


@contextlib.contextmanager
def job_progress(n_jobs: int) -> Iterator[Callable[[], None]]:
    """Show how many of `n_jobs` have ended, on a terminal; yields what to call when one has.

    What is logged meanwhile to standard error, by a handler made within the block, appears above.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda: None
        return
    with make_bar(console, "jobs") as bar:
        task = bar.add_task("sweeping", total=n_jobs)
        yield lambda: bar.advance(task)
