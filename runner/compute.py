"""How many processes do a search's fits, found out while the first fits are done."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from joblib import parallel_config
from joblib.externals.loky import process_executor

from runner import fork_server
from runner.clusters.connections import connection, device_for
from runner.clusters.devices import Device, use_device
from runner.config.schema import Compute
from runner.interrupts import leave_interrupts_to_main
from runner.search.record import FitRecord

logger = logging.getLogger(__name__)

# What starting workers costs before their first fit: TensorFlow's import, or scikit-learn's.
_NETWORK_START_S = 7.0
_LEARNER_START_S = 1.5
# Forked workers have imported all; those that an earlier search of this process started are kept.
# Either way, each makes ready anew for the model.
_READY_NETWORK_START_S = 1.0
_READY_LEARNER_START_S = 0.3
# What a worker may grow by: TensorFlow, the data, and the models that are kept compiled.
_MOST_GROWTH_BYTES = 4_000_000_000
_share: int | None = None


def n_cores() -> int:
    """Cores that this process may use: its share of them, where it has one."""
    if _share is not None:
        return _share
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_processes(device: Device = "cpu") -> Any:
    """A context in which joblib works in this project's worker processes, started once."""
    return parallel_config("loky", initializer=_beginning(device))


@cache
def _beginning(device: Device) -> Callable[[], None]:
    # The same object each time: joblib starts new workers for another one.
    return partial(begin_worker, device)


def begin_worker(device: Device = "cpu") -> None:
    """Set up a worker process: interrupts are the main one's, and growing is no leak.

    Where psutil is installed, loky replaces a worker that has grown by 300 MB since its first task.
    Importing TensorFlow alone does that, when the first tasks are answered from the record.

    Parameters
    ----------
    device
        With ``gpu`` it takes one for itself.
    """
    if device == "gpu":
        use_device(device)
    leave_interrupts_to_main()
    process_executor._MAX_MEMORY_LEAK_SIZE = _MOST_GROWTH_BYTES


def start_s(is_network: bool, ready: bool) -> float:
    """Seconds before worker processes begin their first fits, which may be `ready` to."""
    if ready:
        return _READY_NETWORK_START_S if is_network else _READY_LEARNER_START_S
    return _NETWORK_START_S if is_network else _LEARNER_START_S


def take_share(cores: int) -> None:
    """Let this process and its workers use so many cores: others run beside it."""
    global _share
    _share = cores


class WorkersPayError(BaseException):
    """Worker processes would repay their start: the search is to go on in them.

    Not an Exception: scikit-learn would take it for a failed fit and go on.
    """


@dataclass(frozen=True)
class Pace:
    """Judges whether worker processes would repay their start, by fits done in this process.

    Parameters
    ----------
    n_fits
        Fits of search and baseline together.
    n_jobs
        Processes that there would be.
    start_s
        Seconds that they take to start.
    first_compiles
        Whether the first fit takes much longer than the others.
    """

    n_fits: int
    n_jobs: int
    start_s: float
    first_compiles: bool

    def fit_begins(self, record: FitRecord) -> None:
        """Judge by the fits done so far.

        Raises
        ------
        WorkersPayError
            Saying how long a fit takes.
        """
        fit_s = record.usual_fit_s(at_least=1 + self.first_compiles)
        if fit_s is not None:
            self._judge(fit_s, self._n_left(record))

    def epoch_ends(self, epoch_s: float, epochs: int, epochs_left: int, record: FitRecord) -> None:
        """Judge by an epoch of a network's fit, as `fit_begins` does."""
        self._judge(epoch_s * epochs, self._n_left(record) - 1 + epochs_left / epochs)

    def _n_left(self, record: FitRecord) -> int:
        return self.n_fits - record.n_ended()

    def workers_pay(self, fit_s: float, n_left: float) -> bool:
        """Whether workers would save more than they cost, with fits of `fit_s` seconds left."""
        return fit_s * n_left * (1 - 1 / self.n_jobs) > self.start_s

    def _judge(self, fit_s: float, n_left: float) -> None:
        if self.workers_pay(fit_s, n_left):
            raise WorkersPayError(f"fits of about {fit_s:.2g} s")


@dataclass
class Processes:
    """The processes that do fits; scores never depend on their number.

    ``n_jobs`` is 1 for this process alone, which ``pace``, if there is one, may find too few;
    unless they are workers ``on_cluster``. Networks are trained on ``device``.
    """

    n_jobs: int
    pace: Pace | None = None
    device: Device = "cpu"
    on_cluster: bool = False

    @property
    def is_this_one(self) -> bool:
        """Whether this process itself does the fits, as far as is known now."""
        return self.n_jobs == 1 and not self.on_cluster

    def start_workers(self, reason: WorkersPayError) -> None:
        """Use workers from now on."""
        assert self.pace is not None
        global _have_started
        _have_started = True
        self.n_jobs, self.pace = self.pace.n_jobs, None
        logger.info("compute.n_jobs=auto: %s: %d worker processes", reason, self.n_jobs)


_have_started = False


def can_fork_workers(compute: Compute, processes: Processes) -> bool:
    """Whether `processes` are, or may become, workers that can be forked on this machine.

    Not those that share a GPU, for which each has to start by itself.
    """
    may_be_left = processes.pace is not None or not processes.is_this_one
    is_here = not processes.on_cluster and processes.device == "cpu"
    return compute.fork and fork_server.is_supported() and may_be_left and is_here


def processes_for(
    compute: Compute, n_fits: int, is_network: bool, forked: bool = False
) -> Processes:
    """The processes for `n_fits` fits.

    With ``n_jobs=auto`` they are done in this process, until it turns out that workers would repay
    their start: nothing has to be measured beforehand, and no fit is done twice.

    Parameters
    ----------
    is_network
        Whether workers have to start TensorFlow.
    forked
        Whether worker processes are forked, with everything imported.
    """
    device, n_gpus = device_for(compute, is_network)
    room = max(1, n_cores() // compute.threads)
    if device == "gpu":
        # Fits that share a GPU take longer than one after the other, unless they are small.
        room = min(room, n_gpus) if compute.address is None else n_gpus
    if compute.backend != "local":
        return Processes(_n_on_cluster(compute, min(room, n_fits)), None, device, on_cluster=True)
    if compute.n_jobs != "auto":
        given = compute.n_jobs
        asked = max(1, n_cores() + 1 + given) if given < 0 else given
        return Processes(asked if _share is None else min(asked, room), None, device)
    most = min(room, n_fits)
    if most == 1:
        return Processes(1, None, device)
    ready = forked or _have_started
    pace = Pace(n_fits, most, start_s(is_network, ready), first_compiles=is_network)
    return Processes(1, pace, device)


def _n_on_cluster(compute: Compute, room: int) -> int:
    """Fits that a cluster does at once; one of this run's own is as large as there is `room`."""
    asked = None if compute.n_jobs == "auto" or compute.n_jobs < 0 else compute.n_jobs
    if compute.address is None:
        return room if asked is None else asked
    there = max(1, connection(compute).n_workers(compute.threads))
    return there if asked is None else min(asked, there)
