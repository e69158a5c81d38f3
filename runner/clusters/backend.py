"""Where a run's fits are done by others than its own process: loky's workers here, or a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any, Protocol

from runner.clusters.cluster import WorkerLostError
from runner.clusters.connections import connection
from runner.clusters.devices import Device
from runner.clusters.parallel import Station, fits_on
from runner.clusters.worker import Terms
from runner.compute import Processes, worker_processes
from runner.config.schema import Compute


class Backend(Protocol):
    """Lets joblib's tasks be done elsewhere, and knows what it means when a worker dies."""

    deaths: tuple[type[Exception], ...]
    """What joblib raises when a worker died, and tasks were lost by that."""

    def at_work(self, shared: Sequence[Any], retries: int) -> AbstractContextManager[None]:
        """A context in which joblib's tasks are done by the workers.

        Parameters
        ----------
        shared
            Arguments of many tasks, to be brought to the workers once.
        retries
            How often a task is done again when its worker died, where others can go on meanwhile.
        """

    def n_deaths(self, retries: int) -> int:
        """How many workers have died when `deaths` are raised."""

    def recover(self) -> None:
        """Wait until there are workers again.

        Raises
        ------
        ClusterLostError
            When nobody is left.
        """


class Loky:
    """joblib's worker processes, which are all ended when one of them dies."""

    deaths: tuple[type[Exception], ...] = (BrokenProcessPool,)

    def __init__(self, device: Device) -> None:
        self._device = device

    @contextlib.contextmanager
    def at_work(self, shared: Sequence[Any], retries: int) -> Iterator[None]:
        with worker_processes(self._device):
            yield

    def n_deaths(self, retries: int) -> int:
        return 1

    def recover(self) -> None:
        """joblib starts new ones."""


class OnCluster:
    """A cluster of dask or ray, which goes on without a worker that died."""

    deaths: tuple[type[Exception], ...] = (WorkerLostError,)

    def __init__(self, compute: Compute, n_jobs: int, terms: Terms) -> None:
        self._compute, self._n_jobs, self._terms = compute, n_jobs, terms
        self._station: Station | None = None

    @contextlib.contextmanager
    def at_work(self, shared: Sequence[Any], retries: int) -> Iterator[None]:
        if self._station is None:
            cluster = connection(self._compute)
            cluster.need_workers(self._n_jobs, self._terms.device)
            self._station = Station(cluster, self._terms)
        with fits_on(self._station, shared, self._n_jobs, retries):
            yield

    def n_deaths(self, retries: int) -> int:
        return retries + 1

    def recover(self) -> None:
        if self._station is not None:
            self._station.recover()


def backend_for(compute: Compute, processes: Processes, is_network: bool) -> Backend:
    """What does the fits that `processes` leave to others."""
    if not processes.on_cluster:
        return Loky(processes.device)
    terms = Terms(compute.threads, is_network, processes.device)
    return OnCluster(compute, processes.n_jobs, terms)
