"""``hydra/launcher=ray``: jobs of a sweep as tasks of Ray, on this machine or on a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import Field, ValidationError

from runner.compute import n_cores
from runner.config.schema import PositiveInt, Section, explain
from runner.errors import RequestError
from runner.sweeps.launchers.base import (
    Ended,
    JobLauncher,
    check_fits_here,
    cores_of_job,
    settings_of,
)
from runner.sweeps.launchers.process import JobProcess, Limits

logger = logging.getLogger(__name__)

_POLL_S = 1.0
_GOODBYE_S = 1.0
_GB = 1e9


class _Init(Section):
    num_cpus: PositiveInt | Literal["auto"] = "auto"


class _Ray(Section):
    """What is Ray's own; all of ``ray.init`` would let a config run code."""

    init: _Init = _Init()


class RayLauncher(JobLauncher):
    """Run jobs as Ray's tasks, each in a worker process that is kept for the next.

    Ray is started on this machine for the sweep; where the environment names a cluster
    (``RAY_ADDRESS``), jobs run there, in the same folders.

    Parameters
    ----------
    cpus_per_task
        Cores of each job, ``auto`` for what its processes and threads need; Ray runs as many jobs
        at once as it has cores for.
    mem_gb, timeout_min
        Gigabytes and minutes after which a job counts as failed.
    ray
        ``init.num_cpus`` is how many cores Ray has, where it is started here; ``auto`` for all.
    """

    option = "ray"
    package = "ray"

    def __init__(
        self,
        cpus_per_task: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto",
        mem_gb: Annotated[float, Field(gt=0)] | None = None,
        timeout_min: Annotated[float, Field(gt=0)] | None = None,
        ray: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.cpus_per_task = cpus_per_task
        self.limits = Limits(timeout_min, mem_gb)
        asked = _read_ray(ray or {}).init.num_cpus
        self.num_cpus = n_cores() if asked == "auto" else asked
        self._running: dict[Any, int] = {}

    @classmethod
    def check(cls, config: DictConfig) -> None:
        super().check(config)
        launcher = cls(**settings_of(config))
        cores = cores_of_job(config.compute, launcher.cpus_per_task)
        if _on_cluster():
            return
        check_fits_here("hydra.launcher.cpus_per_task", cores)
        if cores > launcher.num_cpus:
            raise RequestError(
                "hydra.launcher.ray.init.num_cpus",
                f"must be at least the {cores} cores of a job, got {launcher.num_cpus}",
            )

    @property
    def cores(self) -> int:
        assert self.config is not None
        return cores_of_job(self.config.compute, self.cpus_per_task)

    @property
    def at_once(self) -> int:
        n_cpus = self.num_cpus
        if _on_cluster():
            n_cpus = int(_started(self.num_cpus).cluster_resources().get("CPU", 1))
        return max(1, n_cpus // self.cores)

    def run(self, jobs: Mapping[int, DictConfig]) -> Iterator[Ended]:
        ray = _started(self.num_cpus)
        remote = ray.remote(num_cpus=self.cores, memory=self._reserved_bytes(), max_retries=0)
        task, process = remote(_run_job), ray.put(self._process())
        self._running = {task.remote(process, job): number for number, job in jobs.items()}
        while self._running:
            ended, _ = ray.wait(list(self._running), timeout=_POLL_S)
            for reference in ended:
                number = self._running.pop(reference)
                try:
                    ray.get(reference)
                    yield Ended(number)
                except ray.exceptions.RayError as error:
                    logger.debug("", exc_info=True)
                    yield Ended(number, _cause(error))

    def stop(self) -> None:
        if not self._running:
            return
        import ray

        for reference in self._running:
            ray.cancel(reference)
        left = list(self._running)
        ray.wait(left, num_returns=len(left), timeout=_GOODBYE_S)
        ray.shutdown()

    def _process(self) -> JobProcess:
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        name = self.config.hydra.job.name
        return JobProcess(self.hydra_context, self.task_function, name, self.cores, self.limits)

    def _reserved_bytes(self) -> float | None:
        """What Ray is to count on; of this machine it would count only a part as memory."""
        return None if self.limits.mem_gb is None or not _on_cluster() else self.limits.mem_gb * _GB


def _run_job(process: JobProcess, job: DictConfig) -> None:
    process(job)


def _on_cluster() -> bool:
    # Not from the config: whoever answers there decides what runs here.
    return bool(os.environ.get("RAY_ADDRESS"))


def _started(num_cpus: int) -> Any:
    """Ray, connected to the cluster that the environment names, or started here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Only now: no sweep with another launcher needs it.
    import ray

    if not ray.is_initialized():
        here = {} if _on_cluster() else {"address": "local", "num_cpus": num_cpus}
        ray.init(**here, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        where = os.environ["RAY_ADDRESS"] if _on_cluster() else f"{num_cpus} cores of this machine"
        logger.info("jobs run on Ray (%s)", where)
    return ray


def _read_ray(settings: Mapping[str, Any]) -> _Ray:
    plain = OmegaConf.to_container(settings) if isinstance(settings, DictConfig) else settings
    try:
        return _Ray.model_validate(plain)
    except ValidationError as error:
        problem = explain(error, schema=_Ray)
        raise RequestError(f"hydra.launcher.ray.{problem.path}", problem.problem) from None


def _cause(error: Exception) -> str:
    kinds = {
        "OutOfMemoryError": "its machine ran out of memory, and Ray ended it",
        "WorkerCrashedError": "its process died; out of memory?",
        "NodeDiedError": "the machine that it ran on is gone",
        "TaskCancelledError": "was cancelled",
    }
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return kinds.get(type(error).__name__) or (lines[-1] if lines else type(error).__name__)
