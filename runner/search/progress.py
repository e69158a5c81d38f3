"""A progress bar over candidates × folds, fed by the record that every search writes.

scikit-learn's callbacks reach only searches that support them, and carry no scores; the record is
written by every fit on every backend.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from runner.search.record import FitRecord
from runner.terminal import live_console

# With very many fits, looking at all of them takes no more than a twentieth of the time.
_REFRESH_S, _MOST_SHARE = 0.25, 0.05


@contextlib.contextmanager
def progress(record: FitRecord, n_fits: int, n_splits: int, metric: str) -> Iterator[None]:
    """Show how many of `n_fits` are in the record while the block runs, where a bar can move."""
    console = live_console()
    if console is None:
        yield
        return
    with make_bar(console, "fits") as bar:
        task = bar.add_task("searching", total=n_fits)
        done = threading.Event()

        def watch() -> None:
            wait_s = _REFRESH_S
            while not done.wait(wait_s):
                started = time.perf_counter()
                n_done, best = _state(record, n_splits, metric)
                text = "searching" if best is None else f"best {metric} {best:.4f}"
                bar.update(task, completed=n_done, description=text)
                wait_s = max(_REFRESH_S, (time.perf_counter() - started) / _MOST_SHARE)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def make_bar(console: Console, what: str) -> Progress:
    """A bar that counts `what`, and is gone when its block ends."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _state(record: FitRecord, n_splits: int, metric: str) -> tuple[int, float | None]:
    """Count the fits in the record; find the best mean of a candidate with all folds done."""
    scores: dict[str, list[float]] = defaultdict(list)
    ended = record.ended()
    for entry in ended:
        if entry.status == "completed":
            scores[entry.candidate].append(entry.scores[metric])
    means = [sum(folds) / n_splits for folds in scores.values() if len(folds) == n_splits]
    return len(ended), max(means, default=None)
