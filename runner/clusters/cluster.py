"""What a cluster does for a run; `dask_cluster` and `ray_cluster` are those that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from runner.clusters.devices import Device
from runner.errors import ExperimentError

CONNECT_S = 5.0
"""How long a cluster may take to answer when it is asked for the first time."""
PATIENCE_S = 60.0
"""How long a run waits for a scheduler that was lost, or for a worker to take the place of one."""


class WorkerLostError(Exception):
    """The worker that had a task is gone, and with it what the task would have returned."""


class ClusterLostError(ExperimentError):
    """The cluster can't be reached any more, or nobody is left there to do the fits."""


class Cluster(Protocol):
    """Workers that do one fit at a time, each in a process of its own."""

    def need_workers(self, count: int, device: Device) -> None:
        """Have at least so many workers, where they are this run's own, with `device` for each."""

    def n_workers(self, threads: int) -> int:
        """How many fits of so many threads the workers that are there do at once."""

    def n_gpus(self) -> int:
        """How many GPUs all workers have together; 0 where one of them has none."""

    def ask_workers(self, question: Callable[[Any], Any], about: Any) -> dict[str, Any]:
        """Call ``question(about)`` in every process that may do fits, or on every machine.

        Returns
        -------
        dict
            Answers, or the exceptions in their place, by the worker's name.
        """

    def share(self, value: Any) -> Any:
        """Bring `value` to the workers; return the handle by which tasks get it."""

    def is_shared(self, handle: Any) -> bool:
        """Whether tasks can still get what `handle` stands for."""

    def run(self, task: Callable[..., Any], *handles: Any) -> Any:
        """Call ``task(*values)`` in a worker, with the values that the handles stand for.

        Blocks, and may be called from several threads. What the task raises counts as its worker's
        failure: a task is to return the errors that are its own.

        Raises
        ------
        WorkerLostError
            When the worker died or could not do it.
        """

    def cancel(self) -> None:
        """End all tasks that are under way, as far as the cluster can; their `run` raises."""

    def recover(self) -> None:
        """Wait until there is a worker again, after one was lost.

        Raises
        ------
        ClusterLostError
            When there is none within `PATIENCE_S` seconds, or the scheduler is gone.
        """

    def close(self) -> None:
        """Leave the cluster; end what was started for this run, and nothing else."""
