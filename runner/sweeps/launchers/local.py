"""``hydra/launcher=submitit_local``: each job a process of its own on this machine, with limits."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from runner.clusters.devices import gpus
from runner.compute import n_cores
from runner.sweeps.launchers.base import (
    Ended,
    JobLauncher,
    check_fits_here,
    cores_of_job,
    settings_of,
)
from runner.sweeps.launchers.process import (
    JobProcess,
    Limits,
    passed_on,
    python_command,
    thread_limits,
)
from runner.sweeps.launchers.submission import folder_of, has_returned, last_words, submit

_POLL_S = 0.2
_GOODBYE_S = 1.0
# The job itself keeps to its time; submitit's own limit is for one that can't.
_MORE_TIME_MIN = 1.0


class LocalLauncher(JobLauncher):
    """Run each job in a process of its own by way of submitit, as SLURM would on a cluster.

    Parameters
    ----------
    cpus_per_task
        Cores of each job, ``auto`` for what its processes and threads need; as many jobs run at
        once as there are cores for.
    mem_gb, timeout_min
        Gigabytes and minutes after which a job counts as failed.
    """

    option = "submitit_local"
    package = "submitit"

    def __init__(
        self,
        cpus_per_task: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto",
        mem_gb: Annotated[float, Field(gt=0)] | None = None,
        timeout_min: Annotated[float, Field(gt=0)] = 1440,
    ) -> None:
        super().__init__()
        self.cpus_per_task = cpus_per_task
        self.limits = Limits(timeout_min, mem_gb)
        self._at_work: dict[int, Any] = {}

    @classmethod
    def check(cls, config: DictConfig) -> None:
        super().check(config)
        asked = settings_of(config)["cpus_per_task"]
        check_fits_here("hydra.launcher.cpus_per_task", cores_of_job(config.compute, asked))

    @property
    def cores(self) -> int:
        assert self.config is not None
        return cores_of_job(self.config.compute, self.cpus_per_task)

    @property
    def at_once(self) -> int:
        return max(1, n_cores() // self.cores)

    def run(self, jobs: Mapping[int, DictConfig]) -> Iterator[Ended]:
        executor, process = self._executor(), self._process()
        left = iter(jobs.items())
        while True:
            batch = dict(islice(left, self.at_once - len(self._at_work)))
            if batch:
                self._at_work |= submit(executor, process, batch, thread_limits(self.cores))
            if not self._at_work:
                return
            time.sleep(_POLL_S)
            for number, submitted in list(self._at_work.items()):
                if submitted.done():
                    del self._at_work[number]
                    yield Ended(number, "" if has_returned(submitted) else _cause(submitted))

    def stop(self) -> None:
        for submitted in self._at_work.values():
            # The process that looks after the job passes it on; an interrupt it would complain of.
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(submitted.job_id), signal.SIGTERM)
        deadline = time.monotonic() + _GOODBYE_S
        while time.monotonic() < deadline and not all(s.done() for s in self._at_work.values()):
            time.sleep(_POLL_S / 10)

    def _process(self) -> JobProcess:
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        return JobProcess(
            self.hydra_context,
            self.task_function,
            self.config.hydra.job.name,
            self.cores,
            self.limits,
            ends_with=os.getpid(),
            # Submitit hides GPUs that it was not told to hand out; jobs share them out themselves.
            environment={**passed_on(), "CUDA_VISIBLE_DEVICES": ",".join(gpus())},
        )

    def _executor(self) -> Any:
        # Only now: no sweep with another launcher needs it.
        import submitit

        executor = submitit.LocalExecutor(
            folder_of(self.folder) / "%j", max_num_timeout=0, python=python_command()
        )
        assert self.limits.timeout_min is not None
        # Without a delay there is no warning signal, which a job would take for its end.
        executor.update_parameters(
            timeout_min=self.limits.timeout_min + _MORE_TIME_MIN, signal_delay_s=0
        )
        return executor


def _cause(submitted: Any) -> str:
    return last_words(submitted) or "its process died; out of memory?"
