"""When a number of processes would be done with a number of fits."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One fit with its scoring, in seconds; ``compile_s`` once in each process."""

    seconds: float
    architecture: Hashable = None
    compile_s: float = 0.0


class Processes:
    """Processes that each take the next task when they are free, as joblib's workers do.

    Parameters
    ----------
    count
        How many.
    start_s
        Seconds before the first task.
    """

    def __init__(self, count: int, start_s: float = 0.0) -> None:
        self._free_at = [start_s] * count
        self._compiled: list[set[Hashable]] = [set() for _ in range(count)]

    @property
    def now_s(self) -> float:
        """Seconds at which all are free."""
        return max(self._free_at)

    def run(self, tasks: Iterable[Task]) -> float:
        """Do all tasks, and return how many seconds that took."""
        began = self.now_s
        for task in tasks:
            process = self._free_at.index(min(self._free_at))
            is_new = task.architecture not in self._compiled[process]
            self._compiled[process].add(task.architecture)
            self._free_at[process] += task.seconds + (task.compile_s if is_new else 0.0)
        self._free_at = [self.now_s] * len(self._free_at)
        return self.now_s - began
