"""A process that runs jobs for another one, on this host or another: made ready, and limited."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.utils import JobRuntime, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from runner.compute import take_share
from runner.config.compose import register
from runner.errors import ExperimentError
from runner.hydra_files import write_whole
from runner.interrupts import INTERRUPTED, become_worker, end_with, exit_at_once
from runner.secrets import guard_output
from runner.sweeps.job import record_failure
from runner.sweeps.launchers.base import directory_of, status_of

logger = logging.getLogger(__name__)

# Libraries that would take every core for their own threads, outside of fits too.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# What the process that asks decides by, whatever a cluster makes of the environment.
_PASSED_ON = ("RUNNER_ALLOW", "RUNNER_MASKED", "TF_CPP_MIN_LOG_LEVEL")
_GB = 1e9
_POLL_S = 1.0


def thread_limits(cores: int) -> dict[str, str]:
    """Environment variables that keep libraries to so many threads; they read them at import."""
    return dict.fromkeys(_THREADS, str(cores))


def begin_process(cores: int, name: str) -> None:
    """Make a process ready for jobs, as Hydra's application makes the main one.

    Parameters
    ----------
    cores
        Its share, for it and its own processes.
    name
        ``hydra.job.name``.
    """
    # Only now: it names every launcher, and they use this.
    from runner.sweeps.plugins import register_plugins

    become_worker()
    write_whole()
    take_share(cores)
    setup_globals()
    register()
    register_plugins()
    JobRuntime.instance().set("name", name)


@dataclass(frozen=True)
class Limits:
    """What a job may take before it is ended and counts as failed; None for no limit.

    ``mem_gb`` is of the memory of its process and its own worker processes, in 10⁹ bytes.
    """

    timeout_min: float | None = None
    mem_gb: float | None = None

    @contextlib.contextmanager
    def on(self, job: DictConfig) -> Iterator[None]:
        """Watch this process for the length of the block."""
        ended, problems = threading.Event(), list[str]()
        watching = threading.Thread(target=self._watch, args=(job, ended, problems), daemon=True)
        watching.start()
        try:
            yield
        except KeyboardInterrupt:
            for problem in problems:
                # The job has noted no more than that it was interrupted.
                _record(job, problem)
            raise
        finally:
            ended.set()

    def _watch(self, job: DictConfig, ended: threading.Event, problems: list[str]) -> None:
        began = time.monotonic()
        while not (problems or ended.wait(_POLL_S)):
            problem = self._problem(time.monotonic() - began)
            if problem is not None:
                problems.append(problem)
                # Before the signal: code that does not hear it leaves no record.
                _record(job, problem)
                os.kill(os.getpid(), signal.SIGTERM)

    def _problem(self, time_s: float) -> str | None:
        if self.timeout_min is not None and time_s > 60 * self.timeout_min:
            return f"took longer than {self.timeout_min:g} min (hydra.launcher.timeout_min)"
        if self.mem_gb is not None and _resident_bytes() > self.mem_gb * _GB:
            return f"took more than {self.mem_gb:g} GB of memory (hydra.launcher.mem_gb)"
        return None


def run_in_process(
    context: HydraContext, task: TaskFunction, job: DictConfig, limits: Limits | None = None
) -> None:
    """Run a composed job in this process; its record says what it came to."""
    try:
        with limits.on(job) if limits else contextlib.nullcontext():
            run_job(
                hydra_context=context,
                task_function=task,
                config=job,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
    except KeyboardInterrupt:
        exit_at_once(INTERRUPTED)


def passed_on() -> dict[str, str]:
    """Environment variables of this process that its jobs have, wherever they are run."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


@dataclass(frozen=True)
class JobProcess:
    """Runs a job in a process that another one, perhaps on another host, has asked for.

    Parameters
    ----------
    cores
        The job's.
    ends_with
        The process, of the same host, without which it must not go on; None where it may.
    """

    context: HydraContext
    task: TaskFunction
    name: str
    cores: int
    limits: Limits = field(default_factory=Limits)
    ends_with: int | None = None
    folder: str = field(default_factory=os.getcwd)
    environment: dict[str, str] = field(default_factory=passed_on)

    def __call__(self, job: DictConfig) -> None:
        if self.ends_with is not None:
            end_with(self.ends_with)
        os.environ.update({**thread_limits(self.cores), **self.environment})
        os.chdir(self.folder)
        guard_output()
        begin_process(self.cores, self.name)
        logger.debug("job %s on %s", job.hydra.job.num, socket.gethostname())
        run_in_process(self.context, self.task, job, self.limits)


def python_command() -> str:
    """The shell's words for a Python that looks for modules where this one does."""
    # Started as a program, it does not import from the current folder, where anyone's files may be.
    looks_here = os.getcwd() in sys.path or "" in sys.path
    return shlex.join([sys.executable] if looks_here else [sys.executable, "-P"])


def _record(job: DictConfig, problem: str) -> None:
    directory = directory_of(job)
    if status_of(directory) != "completed":
        record_failure(directory, job.seed, job.hydra, ExperimentError(problem))


def _resident_bytes() -> int:
    """Memory of this process and its workers, where the system tells (Linux)."""
    pids = [os.getpid(), *(worker.pid for worker in multiprocessing.active_children())]
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            total += page * int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return total
