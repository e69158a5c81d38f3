"""Run directories and sweeps below folders, as the person at the keyboard names them."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RequestError
from runner.results.run_directory import RunDirectory

_RUN_FILES = {".hydra", "result.json", "state.json"}
_SWEEP_FILES = {"multirun.yaml", "sweep.json"}


@dataclass(frozen=True)
class Found:
    """A run, or a sweep with its jobs in order."""

    path: Path
    jobs: tuple[RunDirectory, ...]
    is_sweep: bool


def find(names: Iterable[str]) -> tuple[list[Found], list[RequestError]]:
    """Find all runs and sweeps in and below folders; each once, however often it is named.

    Parameters
    ----------
    names
        Folders, globs that the shell left alone, or paths of ``result.json``. Other files are
        passed over: a shell's glob of a sweep's folder names them too.

    Returns
    -------
    found, problems
        What can't be found is told beside what can.
    """
    found: list[Found] = []
    problems: list[RequestError] = []
    seen: set[str] = set()
    for name in names:
        folders = _folders(name)
        if not folders and not os.path.isfile(name):
            problems.append(RequestError(None, f"there is no folder '{name}'"))
        for folder in folders:
            below = list(_walk(folder, (), problems))
            if not below:
                problems.append(RequestError(None, f"there is no run in '{folder}'"))
            for item in below:
                new = tuple(job for job in item.jobs if os.path.realpath(job.path) not in seen)
                seen.update(os.path.realpath(job.path) for job in new)
                if new:
                    found.append(Found(item.path, new, item.is_sweep))
    return found, problems


def find_one(name: str) -> RunDirectory:
    """Find the only run in a folder.

    Raises
    ------
    RequestError
        When there is none, or there are several.
    """
    found, problems = find([name])
    if problems and not found:
        raise problems[0]
    if not found:
        raise RequestError(None, f"there is no run in '{name}'")
    jobs = [job for item in found for job in item.jobs]
    if found[0].is_sweep:
        raise RequestError(
            None, f"'{name}' is a sweep of {len(jobs)} jobs; name one, as in '{jobs[0].path}'"
        )
    if len(jobs) > 1:
        raise RequestError(None, f"there are {len(jobs)} runs in '{name}'; runner ls lists them")
    return jobs[0]


def find_jobs(sweep: Path) -> list[RunDirectory]:
    """The run directories of a sweep's jobs, by number."""
    return [job for item in _walk(sweep, (), []) for job in item.jobs]


def _folders(name: str) -> list[Path]:
    """The folders that a name stands for; none when there are none."""
    path = Path(name)
    if path.is_dir():
        return [path]
    if path.is_file():
        return [path.parent] if path.name == "result.json" else []
    matches = sorted(glob.glob(name, recursive=True), key=_natural)
    return [folder for match in matches for folder in _folders(match)]


def _walk(folder: Path, parents: tuple[str, ...], problems: list[RequestError]) -> Iterator[Found]:
    real = os.path.realpath(folder)
    if real in parents:
        return  # a link that leads back
    try:
        with os.scandir(folder) as entries:
            inside = {entry.name: entry.is_dir() for entry in entries}
    except OSError as error:
        problems.append(RequestError(None, f"'{folder}' can't be read: {error.strerror}"))
        return
    if _RUN_FILES & inside.keys():
        yield Found(folder, (RunDirectory(folder),), is_sweep=False)
        return
    names = [name for name, is_dir in inside.items() if is_dir and not name.startswith(".")]
    below = [
        item
        for name in sorted(names, key=_natural)
        for item in _walk(folder / name, (*parents, real), problems)
    ]
    is_job = [item.path.parent == folder and item.path.name.isdecimal() for item in below]
    if below and (_SWEEP_FILES & inside.keys() or any(is_job)):
        yield Found(folder, tuple(job for item in below for job in item.jobs), is_sweep=True)
    else:
        yield from below


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key by which ``10`` comes after ``9``."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]
