"""Clusters of ray: one that runs already, or one of this run's own on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from typing import Any

# Before ray is imported, which reads them.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import GetTimeoutError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from runner.clusters.cluster import PATIENCE_S, ClusterLostError, WorkerLostError
from runner.clusters.devices import Device
from runner.errors import RequestError
from runner.logs import silence

_ASK_S = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RayCluster:
    """See `Cluster`; each fit is done by an actor, which keeps its process for the next.

    Parameters
    ----------
    address
        Of a client server (``ray://…``); None starts a cluster here.
    threads
        Cores that a fit takes up.
    """

    def __init__(self, address: str | None, threads: int) -> None:
        self._address, self._threads = address, threads
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._busy: set[Any] = set()
        self._n_cores = 0
        self._gpus_each = 0.0
        self._folder: str | None = None
        silence("ray")
        # What it has to say of a worker that died is said in our own words.
        ray._private.worker.print_to_stdstream = _ignore
        if address is not None:
            self._start(address)

    def _start(self, address: str, **settings: Any) -> None:
        # ray takes SIGTERM for itself.
        kept = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **settings)
        except Exception as error:  # noqa: BLE001 - ray raises what it likes
            text = str(error).strip()
            raise RequestError(
                "compute" if self._address is None else "compute.address",
                f"there is no ray at {address}: {text.splitlines()[0] if text else repr(error)}",
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in kept.items():
                    signal.signal(number, handler)

    def need_workers(self, count: int, device: Device) -> None:
        n_cores = count * self._threads
        if self._address is None and n_cores > self._n_cores:
            self.close()
            self._n_cores = n_cores
            # Short, since sockets are in it.
            self._folder = tempfile.mkdtemp(prefix="runner-ray-", dir="/tmp")
            self._start(
                "local",
                num_cpus=n_cores,
                include_dashboard=False,
                configure_logging=False,
                _temp_dir=self._folder,
                _system_config={"prestart_worker_first_driver": False},
            )
        self._gpus_each = min(1.0, self.n_gpus() / count) if device == "gpu" else 0.0

    def n_workers(self, threads: int) -> int:
        return int(ray.cluster_resources().get("CPU", 0)) // threads

    def n_gpus(self) -> int:
        return int(ray.cluster_resources().get("GPU", 0))

    def ask_workers(self, question: Callable[[Any], Any], about: Any) -> dict[str, Any]:
        asked = {
            f"on {node['NodeManagerAddress']}": self._ask(node["NodeID"], question, about)
            for node in ray.nodes()
            if node["Alive"]
        }
        answers: dict[str, Any] = {}
        for name, reference in asked.items():
            try:
                answers[name] = ray.get(reference, timeout=_ASK_S)
            except Exception as error:  # noqa: BLE001 - it is the answer
                answers[name] = getattr(error, "cause", None) or error
        return answers

    def _ask(self, node: str, question: Callable[[Any], Any], about: Any) -> Any:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
        return ray.remote(question).options(**options).remote(about)

    def share(self, value: Any) -> Any:
        try:
            return ray.put(value)
        except Exception as error:
            raise WorkerLostError(f"the object store takes no data: {error}") from error

    def is_shared(self, handle: Any) -> bool:
        return True

    def run(self, task: Callable[..., Any], *handles: Any) -> Any:
        actor = self._an_actor()
        self._busy.add(actor)
        try:
            outcome = ray.get(actor.run.remote(task, *handles))
        except Exception as error:
            with contextlib.suppress(Exception):
                ray.kill(actor)
            raise WorkerLostError(_first_line(error)) from error
        finally:
            self._busy.discard(actor)
        self._idle.put(actor)
        return outcome

    def _an_actor(self) -> Any:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        try:
            kind = ray.remote(_Actor).options(num_cpus=self._threads, num_gpus=self._gpus_each)
            actor = kind.remote()
            ray.get(actor.is_there.remote(), timeout=PATIENCE_S)
        except GetTimeoutError:
            ray.kill(actor)
            raise ClusterLostError(f"ray found no room for a worker in {PATIENCE_S:g} s") from None
        except Exception as error:
            self.recover()
            raise WorkerLostError(_first_line(error)) from error
        return actor

    def cancel(self) -> None:
        for actor in [*self._busy]:
            with contextlib.suppress(Exception):
                ray.kill(actor)

    def recover(self) -> None:
        try:
            ray.nodes()
        except Exception as error:  # noqa: BLE001 - ray raises what it likes
            where = f" at {self._address}" if self._address else ""
            raise ClusterLostError(
                f"ray{where} can't be reached any more: {_first_line(error)}"
            ) from None

    def close(self) -> None:
        if not ray.is_initialized():
            # Whatever else it is asked for, it would start a cluster for that.
            return
        self.cancel()
        while not self._idle.empty():
            with contextlib.suppress(Exception):
                ray.kill(self._idle.get_nowait())
        with contextlib.suppress(Exception):
            ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._n_cores = 0


class _Actor:
    """A worker process that is kept from fit to fit."""

    def is_there(self) -> bool:
        return True

    def run(self, task: Callable[..., Any], *values: Any) -> Any:
        return task(*values)


def _ignore(*args: Any, **kwargs: Any) -> None:
    pass


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
