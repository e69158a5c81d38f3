"""What submitit leaves in a sweep's folder, shared by the launchers that use it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from runner.sweeps.launchers.base import look_afresh
from runner.sweeps.launchers.process import JobProcess

FOLDER = ".submitit"
# What a shell, a scheduler or submitit say in passing.
_NO_REASON = ("submitit INFO", "submitit WARNING", "srun: ")
_LOG_TAIL_BYTES = 4096


def folder_of(sweep: Path) -> Path:
    """Where submitit keeps its files; a folder below it for each of its jobs, by its id."""
    folder = sweep / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def submit(
    executor: Any,
    process: JobProcess,
    jobs: Mapping[int, DictConfig],
    environment: Mapping[str, str],
) -> dict[int, Any]:
    """Submit composed jobs; returns submitit's job for each, by number.

    Parameters
    ----------
    executor
        Submitit's.
    environment
        What to add to that of the jobs' processes.
    """
    with _environment(environment):
        submitted = executor.submit_array([partial(process, job) for job in jobs.values()])
    _remove_links(Path(executor.folder).parent)
    return dict(zip(jobs, submitted, strict=True))


def has_returned(submitted: Any) -> bool:
    """Whether submitit's process for a job came to its end by itself."""
    look_afresh(submitted.paths.folder)
    return bool(submitted.paths.result_pickle.exists())


def last_words(submitted: Any) -> str:
    """What a job's process said last on standard error, if that may be a reason for its end."""
    look_afresh(submitted.paths.folder)
    try:
        with submitted.paths.stderr.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    reasons = [line.strip() for line in lines if line.strip() and not line.startswith(_NO_REASON)]
    # Of several lines SLURM's first has the reason, of a traceback the last.
    slurm = [line for line in reasons if line.startswith("slurmstepd")]
    return slurm[0] if slurm else reasons[-1] if reasons else ""


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        for name in changes:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]


def _remove_links(folder: Path) -> None:
    # Nobody needs them, and a sweep with links in its folder could not be resumed.
    for path in folder.iterdir():
        if path.is_symlink():
            path.unlink()
