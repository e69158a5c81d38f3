"""joblib's way to a cluster: a backend whose tasks are done there.

joblib's own for dask gives a forest within a fit all of the cluster to grow its trees on, and takes
no notice of ``n_jobs``; ray's makes a new pool for each search, which starts TensorFlow again, and
does everything here when ``n_jobs`` is 1. With both, the death of one worker ends the whole search.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from joblib import parallel_config
from joblib.parallel import ParallelBackendBase

from runner.clusters.cluster import Cluster, ClusterLostError, WorkerLostError
from runner.clusters.worker import Outcome, Shared, Task, Terms
from runner.errors import ExperimentError

logger = logging.getLogger(__name__)


class Station:
    """Sends tasks to a cluster's workers, and sends one again when its worker dies.

    Values that are shared reach the workers once, for as long as the station is there.
    """

    def __init__(self, cluster: Cluster, terms: Terms) -> None:
        self.cluster = cluster
        self._terms = terms
        # With the values themselves: an id means nothing once its object is gone.
        self._shared: dict[int, tuple[Any, Any]] = {}
        self._lock = threading.Lock()
        self._recovering = threading.Lock()
        self._lost: ClusterLostError | None = None

    def recover(self) -> None:
        """Wait until there are workers, once for all who ask at the same time.

        Raises
        ------
        ClusterLostError
            When there are none any more.
        """
        with self._recovering:
            if self._lost is not None:
                raise self._lost
            try:
                self.cluster.recover()
            except ClusterLostError as error:
                self._lost = error
                raise

    def share(self, values: Sequence[Any]) -> list[Any]:
        """Bring values to the workers, unless they are there; return their handles."""
        with self._lock:
            for value in values:
                known = self._shared.get(id(value))
                if known is None or not self.cluster.is_shared(known[1]):
                    self._shared[id(value)] = (value, self.cluster.share(value))
            return [self._shared[id(value)][1] for value in values]

    def do(
        self, calls: Any, shared: Sequence[Any], retries: int, stopped: threading.Event
    ) -> list[Any]:
        """Do joblib's `calls` in a worker, where values that are `shared` stand for themselves.

        Parameters
        ----------
        stopped
            Set when nobody waits for them any more.

        Raises
        ------
        WorkerLostError
            When the worker died, and `retries` more after it.
        """
        task = self._packed(calls, shared)
        for left in range(retries, -1, -1):
            if self._lost is not None:
                raise self._lost
            try:
                return _result(self.cluster.run(task, *self.share(shared)))
            except WorkerLostError as death:
                if left == 0 or stopped.is_set():
                    raise
                logger.warning("a worker died, its fit is done again: %s", death)
                self.recover()
        raise AssertionError

    def _packed(self, calls: Any, shared: Sequence[Any]) -> Task:
        places = {id(value): Shared(index) for index, value in enumerate(shared)}
        calls.items = [
            (
                function,
                [places.get(id(value), value) for value in given],
                {name: places.get(id(value), value) for name, value in named.items()},
            )
            for function, given, named in calls.items
        ]
        return Task(self._terms, calls)


def _result(outcome: Outcome) -> list[Any]:
    if outcome.refusal:
        raise ExperimentError(f"a worker {outcome.refusal}")
    if outcome.error is not None:
        raise outcome.error
    values: list[Any] = outcome.values
    return values


class _Backend(ParallelBackendBase):
    """As many tasks at once as there are threads here that wait for them."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, station: Station, shared: Sequence[Any], n_jobs: int, retries: int) -> None:
        super().__init__(nesting_level=0)
        self._station = station
        self._shared, self._n_jobs, self._retries = shared, n_jobs, retries
        self._begin()

    def _begin(self) -> None:
        self._threads = ThreadPoolExecutor(self._n_jobs, thread_name_prefix="fits")
        self._stopped = threading.Event()

    def effective_n_jobs(self, n_jobs: int) -> int:
        # With one, joblib would do the work here.
        return max(2, self._n_jobs)

    def submit(self, func: Any, callback: Any = None) -> Future[list[Any]]:
        future = self._threads.submit(
            self._station.do, func, self._shared, self._retries, self._stopped
        )
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[list[Any]]) -> list[Any]:
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self.stop()
        self._station.cluster.cancel()
        self._begin()

    def stop(self) -> None:
        """Begin no more tasks."""
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def fits_on(station: Station, shared: Sequence[Any], n_jobs: int, retries: int) -> Iterator[None]:
    """A context in which joblib's tasks are done by `n_jobs` workers of a cluster at once."""
    backend = _Backend(station, shared, n_jobs, retries)
    try:
        with parallel_config(backend=backend):
            yield
    except BaseException:
        backend.abort_everything()
        raise
    finally:
        backend.stop()
