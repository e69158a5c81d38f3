"""Clusters of dask: a scheduler that runs already, or one in this process with workers here."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Client, KilledWorker, LocalCluster
from distributed.versions import VersionMismatchWarning

from runner.clusters.cluster import CONNECT_S, PATIENCE_S, ClusterLostError, WorkerLostError
from runner.clusters.devices import Device, gpus
from runner.errors import RequestError
from runner.logs import silence

_POLL_S = 0.1
_SETTINGS = {
    "distributed.comm.timeouts.connect": f"{CONNECT_S:g}s",
    "distributed.admin.large-graph-warning-threshold": "1TB",
}
_OWN_SETTINGS = {
    # A fit that kills its worker is for the run to repeat, or to give up.
    "distributed.scheduler.allowed-failures": 0,
    # Data that all workers will need again are not to be dropped in between.
    "distributed.scheduler.active-memory-manager.start": False,
}
# What `-m` would do, but with this process's own search path.
_START = """\
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from runner.clusters.dask_worker import main
main(sys.argv[1])
"""


class DaskCluster:
    """See `Cluster`; each worker process does one fit at a time.

    Parameters
    ----------
    address
        Of a scheduler that runs already; None starts one, whose workers are started when it is
        known how many are needed.
    """

    def __init__(self, address: str | None) -> None:
        silence("distributed", "tornado", "bokeh")
        dask.config.set(_SETTINGS)
        self._address = address
        self._own: _Own | None = None
        if address is None:
            dask.config.set(_OWN_SETTINGS)
            self._own = _Own()
        self._under_way: set[Any] = set()
        self._client = self._connect()

    def _connect(self) -> Client:
        address = self._address if self._own is None else self._own.address
        try:
            with warnings.catch_warnings():
                # What workers must have in common is compared later, and told in one line.
                warnings.simplefilter("ignore", VersionMismatchWarning)
                return Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RequestError(
                "compute.address", f"there is no dask scheduler at {address}: {problem}"
            ) from None

    def need_workers(self, count: int, device: Device) -> None:
        if self._own is not None:
            self._wait_for_workers(max(count, self._own.count))

    def n_workers(self, threads: int) -> int:
        return len(self._client.nthreads())

    def n_gpus(self) -> int:
        by_machine: dict[str, int] = {}
        for name, found in self._client.run(gpus).items():
            by_machine.setdefault(str(urlsplit(name).hostname), len(found))
        counts = by_machine.values()
        return sum(counts) if all(counts) else 0

    def ask_workers(self, question: Callable[[Any], Any], about: Any) -> dict[str, Any]:
        with contextlib.suppress(ClusterLostError):
            self._wait_for_workers(1, CONNECT_S)
        for name, threads in self._client.nthreads().items():
            if threads > 1:
                raise RequestError(
                    "compute.address",
                    f"worker {name} does {threads} tasks at once in one process, which TensorFlow "
                    f"can't; start it with --nthreads 1 --nworkers {threads}",
                )
        try:
            # Tasks pass through its hands.
            self._client.run_on_scheduler(_nothing)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from that
            raise RequestError(
                "compute.address",
                f"the scheduler at {self._address} can't read this runner's tasks: "
                f"{type(error).__name__}: {error}; start it in the environment of this process",
            ) from None
        answers: dict[str, Any] = self._client.run(question, about, on_error="return")
        return answers

    def share(self, value: Any) -> Any:
        try:
            return self._client.scatter(value, broadcast=True, hash=False)
        except Exception as error:
            raise WorkerLostError(f"no worker takes the data: {error}") from error

    def is_shared(self, handle: Any) -> bool:
        return handle.client is self._client and handle.status == "finished"

    def run(self, task: Callable[..., Any], *handles: Any) -> Any:
        sealed = _Sealed(task)
        try:
            future = self._client.submit(_run, sealed, *handles, pure=False)
        except Exception as error:
            raise WorkerLostError(f"{type(error).__name__}: {error}") from error
        self._under_way.add(future)
        try:
            return future.result()
        except Exception as error:
            raise WorkerLostError(_reason(error)) from error
        finally:
            self._under_way.discard(future)

    def cancel(self) -> None:
        with contextlib.suppress(Exception):
            self._client.cancel([*self._under_way], force=True)

    def recover(self) -> None:
        self._wait_for_workers(1 if self._own is None else self._own.count)

    def _wait_for_workers(self, count: int, seconds: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + seconds
        while not self._has_workers(count):
            if time.monotonic() > deadline:
                where = f" at {self._address}" if self._address else ""
                gone = self._client.status != "running"
                raise ClusterLostError(
                    f"the dask scheduler{where} "
                    f"{'was lost' if gone else 'has no workers'} for {seconds:g} s"
                )
            time.sleep(_POLL_S)

    def _has_workers(self, count: int) -> bool:
        if self._own is not None:
            self._own.start_workers(count)
        if self._client.status == "closed":
            with contextlib.suppress(RequestError):
                self._client = self._connect()
        # It is asked over a connection that may break any moment.
        with contextlib.suppress(Exception):
            return self._client.status == "running" and len(self._client.nthreads()) >= count
        return False

    def close(self) -> None:
        if self._own is not None:
            self._own.end_workers()
        self.cancel()
        with contextlib.suppress(Exception):
            self._client.close(timeout=1)
        if self._own is not None:
            self._own.close()


class _Own:
    """A scheduler in this process, and worker processes on this machine."""

    def __init__(self) -> None:
        self._cluster = LocalCluster(
            n_workers=0,
            processes=True,
            threads_per_worker=1,
            host="127.0.0.1",
            # Not the usual port, which another dask on this machine may have.
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return str(self._cluster.scheduler_address)

    @property
    def count(self) -> int:
        return len(self._workers)

    def start_workers(self, count: int) -> None:
        """Have so many, those that died replaced."""
        living = [worker for worker in self._workers if worker.poll() is None]
        n_missing = max(count, len(self._workers)) - len(living)
        command = [sys.executable, "-c", _START, self.address, json.dumps(sys.path)]
        # In a session of their own, out of reach of a terminal's Ctrl-C.
        new = [subprocess.Popen(command, start_new_session=True) for _ in range(n_missing)]
        self._workers = living + new

    def end_workers(self) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self._cluster.close(timeout=1)


def _nothing() -> None:
    """Asked of a scheduler to see whether it can import this module."""


class _Sealed:
    """A task that the scheduler passes on without reading it."""

    def __init__(self, task: Callable[..., Any]) -> None:
        import cloudpickle

        self.content = cloudpickle.dumps(task)


def _run(sealed: _Sealed, *values: Any) -> Any:
    """Do a task in a worker, and end it when it is cancelled."""
    import pickle

    from runner.clusters.dask_worker import ended_when_cancelled

    task = pickle.loads(sealed.content)
    with ended_when_cancelled():
        return task(*values)


def _reason(error: Exception) -> str:
    if isinstance(error, KilledWorker):
        return f"{error.last_worker.address} is gone"
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
