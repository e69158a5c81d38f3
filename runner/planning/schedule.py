"""When a number of processes would be done with a number of fits."""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from runner.compute import Pace


@dataclass(frozen=True)
class Task:
    """One fit with its scoring, in seconds.

    ``compile_s`` comes once in each process for each architecture; ``epochs`` of ``epoch_s`` each
    are part of ``seconds``.
    """

    seconds: float
    architecture: Hashable = None
    compile_s: float = 0.0
    epochs: int = 0
    epoch_s: float = 0.0


class Schedule:
    """Processes that each take the next task when they are free, as joblib's workers do.

    Parameters
    ----------
    count
        How many.
    start_s
        Seconds before the first task.

    Attributes
    ----------
    count, start_s
        As given.
    """

    def __init__(self, count: int, start_s: float = 0.0) -> None:
        self.count, self.start_s = count, start_s
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

    def run_until_workers_pay(self, tasks: Sequence[Task], pace: Pace) -> int | None:
        """Do tasks one by one for as long as `pace` lets this process go on alone.

        Returns
        -------
        int or None
            How many are done when workers are to take over; None when all are done without.
        """
        done: list[float] = []
        for number, task in enumerate(tasks):
            n_left = pace.n_fits - number
            if number > pace.first_compiles:
                median_low = done[(number - 1) // 2]
                if pace.workers_pay(median_low, n_left):
                    return number
            if task.epochs > 1:
                # A network's fit is judged by its second epoch, as the first compiles.
                share_left = (task.epochs - 2) / task.epochs
                if pace.workers_pay(task.epoch_s * task.epochs, n_left - 1 + share_left):
                    begun_s = task.seconds - task.epoch_s * (task.epochs - 2)
                    self.run([Task(begun_s, task.architecture, task.compile_s)])
                    return number
            insort(done, self.run([task]))
        return None
