"""``hydra/launcher=submitit_slurm``: each job of a sweep a job of a SLURM cluster's."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from runner.errors import RequestError, listing
from runner.results.state import holder_is_unseen
from runner.sweeps.launchers.base import (
    Ended,
    JobLauncher,
    cores_of_job,
    directory_of,
    settings_of,
)
from runner.sweeps.launchers.process import JobProcess, python_command, thread_limits
from runner.sweeps.launchers.slurm_queue import (
    GONE,
    State,
    ask_states,
    cancel,
    last_line,
    queued_from,
    refusal_of,
    without_outer_job,
)
from runner.sweeps.launchers.submission import folder_of, has_returned, last_words, submit

logger = logging.getLogger(__name__)

_MARKS = "_.,:|&()[]@%+*/=-"


def _is_word(text: str) -> str:
    """What stands in a batch script must not be able to end its line there."""
    if not text or not all((c.isascii() and c.isalnum()) or c in _MARKS for c in text):
        raise PydanticCustomError("word", f"Input should be of letters, digits and {_MARKS}")
    return text


Word = Annotated[str, AfterValidator(_is_word)]

_LOOK_S = 1.0
# How often the queue is asked: soon at first, and rarely when nothing has happened for long.
_FIRST_ASK_S, _LAST_ASK_S = 2.0, 30.0
# A cluster's usual limit on the size of an array of jobs is 1001.
_LARGEST_ARRAY = 1000


class SlurmLauncher(JobLauncher):
    """Submit jobs to SLURM by way of submitit, as one array, and wait for them.

    How a job stands is asked of ``squeue``, which every cluster has, rather than of its accounting.
    A job that SLURM requeues, after its node failed, goes on from its record. Jobs outlive this
    process where it is killed; a resumed sweep waits for them.

    Parameters
    ----------
    cpus_per_task
        Cores of each job, ``auto`` for what its processes and threads need.
    mem_gb, timeout_min
        Gigabytes and minutes after which SLURM ends a job; None for the partition's default.
    partition, account, qos, constraint, gpus_per_node
        Of each job, as ``sbatch`` has them; None for the cluster's default.
    array_parallelism
        Jobs at once, at most.
    """

    option = "submitit_slurm"
    package = "submitit"

    def __init__(
        self,
        cpus_per_task: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto",
        mem_gb: Annotated[float, Field(gt=0)] | None = None,
        timeout_min: Annotated[int, Field(ge=1)] | None = None,
        partition: Word | None = None,
        account: Word | None = None,
        qos: Word | None = None,
        constraint: Word | None = None,
        gpus_per_node: Annotated[int, Field(ge=1)] | None = None,
        array_parallelism: Annotated[int, Field(ge=1)] = 256,
    ) -> None:
        super().__init__()
        self.cpus_per_task = cpus_per_task
        self.timeout_min = timeout_min
        self.array_parallelism = array_parallelism
        self._has_submitted = False
        self.requests = {
            "time": timeout_min,
            "mem": None if mem_gb is None else f"{int(mem_gb * 1000)}M",
            "partition": partition,
            "account": account,
            "qos": qos,
            "constraint": constraint,
            "gpus_per_node": gpus_per_node,
        }

    @classmethod
    def check(cls, config: DictConfig) -> None:
        super().check(config)
        if shutil.which("sbatch") is None:
            raise RequestError(
                "hydra/launcher",
                f"{cls.option} needs SLURM, and there is no 'sbatch' on the PATH; "
                "hydra/launcher=submitit_local needs none",
            )
        _check_script(config.hydra.sweep.dir, config.hydra.job.name)
        launcher = cls(**settings_of(config))
        launcher.config = config
        flags = [
            f"--{name.replace('_', '-')}={value}"
            for name, value in {**launcher.requests, "cpus_per_task": launcher.cores}.items()
            if value is not None
        ]
        refusal = refusal_of(flags)
        if refusal is not None:
            raise RequestError("hydra.launcher", f"SLURM takes no such jobs: {refusal}")

    @property
    def at_once(self) -> int:
        return self.array_parallelism

    @property
    def cores(self) -> int:
        assert self.config is not None
        return cores_of_job(self.config.compute, self.cpus_per_task)

    def run(self, jobs: Mapping[int, DictConfig]) -> Iterator[Ended]:
        submitted: dict[int, Any] = {}
        left = iter(jobs.items())
        while batch := dict(islice(left, _LARGEST_ARRAY)):
            try:
                submitted |= self._submit(batch)
            except (RequestError, RuntimeError, OSError) as error:
                # Submitit's own are RuntimeErrors, with what sbatch said.
                for number in batch:
                    yield Ended(number, f"could not be submitted: {last_line(str(error))}")
        yield from self._endings(submitted, jobs)

    def wait_for_earlier(self) -> None:
        if self._has_submitted:
            return  # those in the queue are of this process, and have ended
        said = False
        # None means no answer, and so not that there are none.
        while (earlier := self._queued()) != []:
            if earlier and not said:
                logger.info(
                    "waiting for jobs of this sweep that are still in the queue (%s); "
                    "scancel those that are not worth it",
                    listing(earlier, most=3),
                )
                said = True
            time.sleep(_LAST_ASK_S if earlier is None else _FIRST_ASK_S)

    def stop(self) -> None:
        cancel(self._queued() or [])

    def _submit(self, jobs: Mapping[int, DictConfig]) -> dict[int, Any]:
        # Only now: no sweep with another launcher needs it.
        import submitit

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        name = str(self.config.hydra.job.name)
        _check_script(self.folder, name)
        executor = submitit.SlurmExecutor(
            folder_of(self.folder) / "%j", max_num_timeout=0, python=python_command()
        )
        executor.update_parameters(
            **self.requests,
            job_name=name,
            cpus_per_task=self.cores,
            nodes=1,
            ntasks_per_node=1,
            array_parallelism=self.array_parallelism,
            # srun no longer takes it from the batch job.
            srun_args=[f"--cpus-per-task={self.cores}"],
            # No warning signal: SIGTERM at the time limit is one, and leaves enough time.
            signal_delay_s=0,
            wckey=None,
        )
        process = JobProcess(self.hydra_context, self.task_function, name, self.cores)
        self._has_submitted = True
        with without_outer_job():
            submitted = submit(executor, process, jobs, thread_limits(self.cores))
        ids = [job.job_id for job in submitted.values()]
        shown = ids[0] if len(ids) == 1 else f"{ids[0].partition('_')[0]}, an array"
        logger.info("%d jobs submitted to SLURM (%s)", len(ids), shown)
        return submitted

    def _endings(
        self, submitted: dict[int, Any], jobs: Mapping[int, DictConfig]
    ) -> Iterator[Ended]:
        wait_s, asked = _FIRST_ASK_S, time.monotonic()
        unseen: set[int] = set()
        while submitted:
            time.sleep(_LOOK_S)
            for number in [n for n, job in submitted.items() if has_returned(job)]:
                del submitted[number]
                yield Ended(number)
            if time.monotonic() - asked < wait_s or not submitted:
                continue
            wait_s, asked = min(1.5 * wait_s, _LAST_ASK_S), time.monotonic()
            states = ask_states([job.job_id for job in submitted.values()])
            if states is None:
                continue
            unseen = self._check_locks(unseen, states, submitted, jobs)
            for number, job in list(submitted.items()):
                state = states.get(job.job_id, GONE)
                if state.never_starts:
                    cancel([job.job_id])
                if state.is_over or state.never_starts:
                    del submitted[number]
                    yield Ended(number, "" if has_returned(job) else self._cause(state, job))

    def _check_locks(
        self,
        before: set[int],
        states: Mapping[str, State],
        submitted: Mapping[int, Any],
        jobs: Mapping[int, DictConfig],
    ) -> set[int]:
        """Warn when jobs at work on other hosts hold no locks that are seen here."""
        running = [n for n, job in submitted.items() if states.get(job.job_id) == State("RUNNING")]
        unseen = {number for number in running if holder_is_unseen(directory_of(jobs[number]))}
        if unseen & before:
            logger.warning(
                "locks in %s do not reach from host to host: resume no sweep there whose jobs may "
                "still be running; see docs/shared-storage.md",
                self.folder,
            )
        return set() if unseen & before else unseen

    def _cause(self, state: State, submitted: Any) -> str:
        said = last_words(submitted)
        about = f" ({said})" if said else ""
        if state.name == "TIMEOUT":
            limit = "its time limit"
            if self.timeout_min is not None:
                limit = f"its limit of {self.timeout_min} min (hydra.launcher.timeout_min)"
            return f"took longer than {limit}"
        if state.never_starts:
            return f"SLURM never starts such a job: {state.reason}"
        if state.name == "CANCELLED":
            return f"was cancelled (SLURM job {submitted.job_id})"
        if state == GONE:
            return f"left SLURM's queue without a record (job {submitted.job_id}){about}"
        return f"SLURM says {state}, job {submitted.job_id}{about}"

    def _queued(self) -> list[str] | None:
        """Ids of this sweep's jobs that are in the queue, whoever submitted them."""
        return queued_from(folder_of(self.folder))


def _check_script(folder: Path | str, name: str) -> None:
    """Refuse what could end a comment in submitit's batch script, and begin a command.

    Raises
    ------
    RequestError
        For a folder or name with line breaks and the like.
    """
    for path, text in (("hydra.sweep.dir", str(folder)), ("hydra.job.name", str(name))):
        if not text.isprintable():
            raise RequestError(path, f"must have no line breaks or the like on SLURM, got {text!r}")
