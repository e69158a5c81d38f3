"""What every launcher does: hand on the jobs that are not finished, and see how each one ends."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import stat
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, flag_override, open_dict

from runner.compute import n_cores
from runner.config.targets import check_arguments
from runner.errors import ExperimentError, RequestError
from runner.job import finished_job, set_log_level
from runner.results.comparison.leaderboard import write_leaderboard
from runner.results.run_directory import RunDirectory
from runner.results.schema import Result
from runner.results.state import note_death
from runner.sweeps.job import record_failure, say
from runner.sweeps.objectives import job_value, read_objectives
from runner.sweeps.progress import job_progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """A job's process has ended; ``cause`` says why where it can't have said so itself."""

    number: int
    cause: str = ""


class JobLauncher(Launcher):
    """Runs the unfinished jobs of a sweep somewhere; those that are finished answer at once.

    What a job came to is read from its run directory, whatever ran it and on whatever host. A job
    that ends without leaving a record there is given one, and the others go on.

    A subclass is a place where jobs can run; its constructor's arguments are ``hydra.launcher``,
    and their annotations say what is allowed.
    """

    option: ClassVar[str]
    """Its name, as in ``hydra/launcher=joblib``."""
    package: ClassVar[str | None] = None
    """What must be installed; this project has an extra of that name."""
    shares_terminal: ClassVar[bool] = False
    """Whether what its jobs log appears on this process's terminal."""

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    @classmethod
    def check(cls, config: DictConfig) -> None:
        """Refuse what it can't run, before anything starts.

        Parameters
        ----------
        config
            The sweep's, Hydra's part included.

        Raises
        ------
        RequestError
            For a package or program that is missing, and settings that it does not take.
        """
        if cls.package is not None and importlib.util.find_spec(cls.package) is None:
            raise RequestError(
                "hydra/launcher",
                f"{cls.option} needs {cls.package}: pip install 'runner[{cls.package}]'",
            )
        check_arguments("hydra.launcher", cls, settings_of(config))

    @property
    @abstractmethod
    def at_once(self) -> int:
        """How many jobs may run side by side."""

    @abstractmethod
    def run(self, jobs: Mapping[int, DictConfig]) -> Iterator[Ended]:
        """Run jobs, given by number, and tell of each when its process has ended."""

    @abstractmethod
    def stop(self) -> None:
        """End the jobs that are under way, within a second or so; they note it themselves."""

    def wait_for_earlier(self) -> None:
        """Wait for jobs of this sweep that a process which is gone left at work."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run a job for each of the lists of overrides, the first with number `initial_job_idx`."""
        setup_globals()
        jobs = {
            number: self._compose(number, overrides)
            for number, overrides in enumerate(job_overrides, start=initial_job_idx)
        }
        try:
            with job_progress(len(jobs)) as advance:
                self._log_to_terminal()
                self.wait_for_earlier()
                unfinished = {n: job for n, job in jobs.items() if not _is_finished(job)}
                n_finished = len(jobs) - len(unfinished)
                if n_finished:
                    logger.info("%d of %d jobs are finished already", n_finished, len(jobs))
                for _ in range(n_finished):
                    advance()
                self._run_unfinished(unfinished, advance)
        except KeyboardInterrupt:
            self.stop()
            raise
        self._log_to_terminal()
        return [_answer(job) for job in jobs.values()]

    @property
    def folder(self) -> Path:
        """The sweep's."""
        assert self.config is not None
        return Path(self.config.hydra.sweep.dir).absolute()

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        assert self.config is not None
        assert self.hydra_context is not None
        config: DictConfig = self.hydra_context.config_loader.load_sweep_config(
            self.config, list(overrides)
        )
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
            # The terminal belongs to this process; run.log says all the same.
            if config.log_level == "info":
                config.log_level = "warning"
        return config

    def _log_to_terminal(self) -> None:
        assert self.config is not None
        assert self.hydra_context is not None
        configure_log(
            self.config.hydra.hydra_logging,
            self.config.hydra.verbose,
            execution_whitelist=self.hydra_context.execution_whitelist,
        )
        set_log_level(self.config.log_level)

    def _run_unfinished(self, jobs: Mapping[int, DictConfig], advance: Any) -> None:
        for job in jobs.values():
            # What an earlier attempt said must not pass for what this one says.
            directory_of(job).result.unlink(missing_ok=True)
        if jobs:
            for ended in self.run(jobs):
                self._settle(ended, jobs[ended.number])
                advance()

    def _settle(self, ended: Ended, job: DictConfig) -> None:
        """Say how a job ended, and record it where its process could not."""
        directory = directory_of(job)
        look_afresh(directory.path)
        status = status_of(directory)
        says_so_itself = status in ("completed", "failed")
        if not says_so_itself:
            directory.path.mkdir(parents=True, exist_ok=True)
            rest = "was interrupted" if status else "its process ended and left no record"
            record_failure(directory, job.seed, job.hydra, ExperimentError(ended.cause or rest))
        if status == "completed":
            say(ended.number, directory)
            return
        note_death(directory)
        if not (says_so_itself and self.shares_terminal):
            error = directory.read_result().error or {}
            logger.error("job %d failed: %s", ended.number, error.get("message"))
        assert self.config is not None
        objectives = read_objectives(self.config.sweep, self.config.hydra.sweeper)
        write_leaderboard(self.folder, "running", objectives)


def settings_of(config: DictConfig) -> dict[str, Any]:
    """``hydra.launcher`` as plain values, without its ``_target_``."""
    settings = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items() if key != "_target_"}


def cores_of_job(compute: DictConfig, asked: int | str = "auto") -> int:
    """Cores that a job is to have: as asked, or as many as its processes and threads need.

    Parameters
    ----------
    compute
        The config's; ``n_jobs=auto`` counts as one process.
    """
    if asked != "auto":
        return int(asked)
    is_here = compute.backend == "local" and type(compute.n_jobs) is int
    processes = compute.n_jobs if is_here and compute.n_jobs > 0 else 1
    return int(processes * compute.threads)


def check_fits_here(path: str, cores: int) -> None:
    """Refuse more cores for each job than this machine has.

    Raises
    ------
    RequestError
        Naming the config path that asks for them.
    """
    if cores > n_cores():
        raise RequestError(path, f"asks for {cores} cores for each job, and there are {n_cores()}")


def directory_of(job: DictConfig) -> RunDirectory:
    """The run directory of a composed job, by its number."""
    return RunDirectory(Path(job.hydra.sweep.dir).absolute() / str(job.hydra.job.num))


def look_afresh(folder: Path) -> None:
    """Have this host forget what it remembers of a folder of a shared file system.

    NFS may say for half a minute that a file is not there after another host has written it;
    changing the folder's mode, to what it is, makes it ask again.
    """
    with contextlib.suppress(OSError):
        os.chmod(folder, stat.S_IMODE(folder.stat().st_mode))


def status_of(directory: RunDirectory) -> str | None:
    """What a job's record says of how it ended; None without one."""
    try:
        return directory.read_result().status
    except RequestError:
        return None


def _is_finished(job: DictConfig) -> bool:
    with _as_running(job):
        try:
            return finished_job(job, directory_of(job)) is not None
        except RequestError:
            return False  # the job will say why


@contextlib.contextmanager
def _as_running(job: DictConfig) -> Iterator[None]:
    """Have the config refer to Hydra's own part as it does while the job runs."""
    before = HydraConfig.instance().cfg
    with flag_override(job, ["readonly", "struct"], False):
        job.hydra.runtime.output_dir = str(directory_of(job).path)
    HydraConfig.instance().cfg = cast(Any, job)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def _answer(job: DictConfig) -> JobReturn:
    """What a job's sweeper is told, from its record."""
    result: Result | None = None
    with contextlib.suppress(RequestError):
        result = directory_of(job).read_result()
    if result is not None and result.status != "completed":
        result = None
    value = job_value(result, read_objectives(job.sweep, job.hydra.sweeper))
    return JobReturn(status=JobStatus.COMPLETED, _return_value=value)
