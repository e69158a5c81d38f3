"""A sweep as a whole: checked before its first job starts, resumable, and with an answer."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from runner import __version__
from runner.clusters.connections import check_compute
from runner.command_line import CommandLine
from runner.config.compose import (
    compose_config,
    expand_globs,
    hydra_for,
    note_secrets,
    parse_config,
)
from runner.config.overrides import parse_override, sweep_points, to_override
from runner.config.schema import Compute, Tracking
from runner.config.trust import check_hydra
from runner.errors import RequestError
from runner.interrupts import INTERRUPTED, exit_at_once, stops_in_time
from runner.results.atomic import write_text
from runner.results.comparison.board import Board, make_boards
from runner.results.comparison.board_tables import board_tables
from runner.results.comparison.entry import read_entry
from runner.results.comparison.find import find_jobs
from runner.results.comparison.leaderboard import CSV, write_leaderboard
from runner.results.comparison.pareto import Objective, front_table
from runner.results.comparison.tables import print_tables
from runner.results.jsonable import to_json
from runner.results.locks import check_locks, locked
from runner.sweeps.jobs import Job, enumerate_jobs
from runner.sweeps.objectives import read_objectives
from runner.sweeps.plugins import check_launcher
from runner.tracking.session import tracked_sweep
from runner.tracking.settings import read_tracking

logger = logging.getLogger(__name__)

REQUEST, STUDY = "request.json", "study.db"
_FLAGS = ("--multirun", "--config-name", "--config-dir")
_OWN_SWEEPER = "runner.sweeps.sweeper.JobSweeper"
_OWN_LAUNCHERS = "runner.sweeps.launchers."


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep was asked for, as its folder keeps it, so that it can be asked for again."""

    cwd: str
    arguments: list[str]
    version: str = __version__


@dataclass(frozen=True)
class Sweep:
    """A checked sweep and its folder.

    Parameters
    ----------
    jobs
        Those known beforehand; where a sampler proposes them, points that stand for all.
    n_jobs
        How many there will be; None where only the sweeper knows.
    sampler
        What proposes the jobs as results come in; None where they are all known.
    """

    folder: Path
    command: CommandLine
    jobs: Sequence[Job]
    n_jobs: int | None
    sampler: str | None
    objectives: tuple[Objective, ...]
    tracking: Tracking

    def run(self, launch: Callable[[], None]) -> int:
        """Run the jobs by way of `launch`, and say who won; return the exit code.

        Raises
        ------
        RequestError
            When another process is at work in the folder, or its file system's locks don't work.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder):
            check_locks(self.folder)
            request = SweepRequest(os.getcwd(), ["--multirun", *self.command.as_given()])
            write_text(self.folder / REQUEST, to_json(asdict(request), indent=2) + "\n")
            # A study is told everything again, by jobs that answer from their records.
            (self.folder / STUDY).unlink(missing_ok=True)
            with tracked_sweep(self.tracking, self.folder) as log:
                try:
                    # Jobs have their own; this is for what is between them, and for jobs side by
                    # side.
                    with stops_in_time(self._say_how_to_go_on):
                        launch()
                except KeyboardInterrupt:
                    self._say_how_to_go_on()
                    write_leaderboard(self.folder, "interrupted", self.objectives)
                    log(False)
                    exit_at_once(INTERRUPTED)
                boards = write_leaderboard(self.folder, objectives=self.objectives)
                _write_report(self.folder, boards, request)
                log(True)
            return self._conclude()

    def _say_how_to_go_on(self) -> None:
        shown = shlex.quote(os.path.relpath(self.folder))
        print(f"interrupted; go on with: python -m runner resume {shown}", file=sys.stderr)  # noqa: T201

    def _conclude(self) -> int:
        entries = [read_entry(job) for job in find_jobs(self.folder)]
        by_seed = len({entry.seed for entry in entries}) > 1
        console = Console()
        tables = board_tables(make_boards(entries, by_seed=by_seed), by_seed=by_seed, short=True)
        if len(self.objectives) > 1:
            boards = make_boards(entries)
            tables += [front_table(board, self.objectives, self.folder) for board in boards]
        print_tables(tables, "table", console)
        console.file.write(f"leaderboard  {os.path.relpath(self.folder / CSV)}\n")
        failed = [entry for entry in entries if entry.status == "failed"]
        for entry in failed:
            print(f"job {entry.number} failed: {entry.error}", file=sys.stderr)  # noqa: T201
        return 1 if failed or not entries else 0


def prepare_sweep(request: CommandLine, composed: DictConfig, resumes: Path | None) -> Sweep:
    """Check every job of a sweep that can be known beforehand.

    Parameters
    ----------
    composed
        The config of its first job, Hydra's part included.
    resumes
        The folder to continue in.

    Raises
    ------
    RequestError
        For jobs that can't be composed; when none of those that are known beforehand can be run,
        or, with ``sweep.on_error=stop``, not all. Otherwise those are told, and fail in their turn.
    """
    objectives = read_objectives(composed.sweep, composed.hydra.sweeper)
    is_adaptive = composed.hydra.sweeper._target_ != _OWN_SWEEPER
    if is_adaptive:
        request = _for_study(request, composed, objectives)
    HydraConfig.instance().set_config(composed)
    check_launcher(composed)
    folder = Path(composed.hydra.sweep.dir).absolute() if resumes is None else resumes
    if resumes is None and folder.is_dir() and any(folder.iterdir()):
        raise RequestError("hydra.sweep.dir", f"'{folder}' exists and is not empty")
    if is_adaptive:
        _check_study(composed)
    jobs = _jobs(request, composed)
    problems = _problems(request, jobs, folder)
    names = _names(jobs)
    none_runs = resumes is None and not is_adaptive and len(problems) == len(jobs)
    if problems and (none_runs or composed.sweep.on_error == "stop"):
        number, problem = next(iter(problems.items()))
        raise RequestError(None, f"{names[number]}: {problem}")
    for number, problem in problems.items():
        print(f"{names[number]} will fail: {problem}", file=sys.stderr)  # noqa: T201
    tracking = read_tracking(composed)
    if not is_adaptive:
        return Sweep(folder, request, jobs, len(jobs), None, objectives, tracking)
    n_trials = OmegaConf.select(composed, "hydra.sweeper.n_trials")
    sampler = composed.hydra.runtime.choices.get("hydra/sweeper/sampler") or "the sweeper"
    return Sweep(folder, request, jobs, n_trials, sampler, objectives, tracking)


def read_request(folder: Path) -> SweepRequest:
    """Read what a sweep was asked for.

    Raises
    ------
    RequestError
        When `folder` is no sweep's.
    """
    try:
        request = SweepRequest(**json.loads((folder / REQUEST).read_text(encoding="utf-8")))
        texts = [request.cwd, request.version, *request.arguments]
        if not all((isinstance(text, str) and text[:1] != "-") or text in _FLAGS for text in texts):
            raise TypeError
    except (OSError, ValueError, TypeError):
        raise RequestError(str(folder), "is no folder of a sweep") from None
    return request


def _check_compute(compute: Compute, launcher: str, folder: Path) -> None:
    check_compute(compute, folder)
    if (
        compute.backend != "local"
        and compute.address is None
        and launcher.startswith(_OWN_LAUNCHERS)
    ):
        raise RequestError(
            "compute.address",
            f"jobs side by side would start a {compute.backend} cluster each; name one for all, "
            "or leave out hydra/launcher",
        )


def _write_report(folder: Path, boards: Sequence[Board], request: SweepRequest) -> None:
    # Only now: it imports Plotly.
    from runner.results.report.sweep import write_sweep_report

    command = shlex.join(["python", "-m", "runner", *request.arguments])
    try:
        write_sweep_report(folder, boards, command)
    except Exception as error:
        logger.warning("the sweep's report could not be written: %s", error)
        logger.debug("", exc_info=True)


def _check_study(composed: DictConfig) -> None:
    """Refuse to keep a sweep's study elsewhere: resuming, it is told everything again."""
    storage = OmegaConf.select(composed, "hydra.sweeper.storage")
    own = f"sqlite:///{composed.hydra.sweep.dir}/{STUDY}"
    if storage not in (None, own):
        raise RequestError(
            "hydra.sweeper.storage",
            "a sweep's study is its own, in its folder; runs share one by search=optuna and "
            "search.storage",
        )


def _for_study(
    request: CommandLine, composed: DictConfig, objectives: Sequence[Objective]
) -> CommandLine:
    """Make each job one cross-validated config, judged as asked; a grid is given its values."""
    import optuna

    from runner.preparation import prepare

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not any(parse_override(text).key_or_group == "search" for text in request.overrides):
        request = replace(request, overrides=[*request.overrides, "search=none"])
    if objectives:
        directions = [objective.direction for objective in objectives]
        value = directions if len(directions) > 1 else directions[0]
        text = to_override("hydra.sweeper.direction", value)
        request = replace(request, overrides=[*request.overrides, text])
    sampler = composed.hydra.sweeper.sampler._target_
    if len(objectives) > 1 and sampler.endswith(".CmaEsSampler"):
        raise RequestError(
            "hydra/sweeper/sampler", "cmaes takes one objective; tpe and nsgaii more"
        )
    if sampler.endswith(".GridSampler"):
        first = next(sweep_points(request.overrides))
        config = parse_config(compose_config(first, request.config_name, request.config_dir))
        branches = prepare(config).space.grid()
        if len(branches) > 1:
            raise RequestError("space", "a grid of a sweep can't have conditions; use search=grid")
        swept = [
            f"{path}={','.join(to_override('', value)[1:] for value in values)}"
            for path, values in branches[0].items()
        ]
        request = replace(request, overrides=[*request.overrides, *swept])
    return request


def _jobs(request: CommandLine, composed: DictConfig) -> Sequence[Job]:
    """All jobs; of an adaptive sweep, where they follow from results, points to stand for them."""
    params = OmegaConf.select(composed, "hydra.sweeper.params") or {}
    written = [f"{path}={value}" for path, value in params.items()]
    arguments = [*expand_globs(written, request.config_dir), *request.overrides]
    if composed.hydra.sweeper._target_ != _OWN_SWEEPER:
        return [tuple(point) for point in sweep_points(arguments)]
    with hydra_for(request.config_dir):
        return enumerate_jobs(
            arguments, list(composed.sweep.zip), GlobalHydra.instance().config_loader()
        )


def _names(jobs: Sequence[Job]) -> list[str]:
    """Jobs by number and by what not all of them have."""
    common = set.intersection(*map(set, jobs)) if jobs else set()
    own = (" ".join(text for text in job if text not in common) for job in jobs)
    return [f"job {number} ({text})".removesuffix(" ()") for number, text in enumerate(own)]


def _problems(request: CommandLine, jobs: Sequence[Job], folder: Path) -> dict[int, RequestError]:
    """Why jobs can't be run, by their number.

    Raises
    ------
    RequestError
        When there is a cluster that can't be used: all would wait for it in vain.
    """
    # Only now: it imports scikit-learn.
    from runner.preparation import prepare

    problems = {}
    silence = logging.NullHandler()
    logging.getLogger().addHandler(silence)
    try:
        for number, job in enumerate(jobs):
            composed = compose_config(job, request.config_name, request.config_dir)
            check_hydra(composed)
            note_secrets(composed)
            try:
                config = parse_config(composed)
            except RequestError as problem:
                problems[number] = problem
                continue
            _check_compute(config.compute, composed.hydra.launcher._target_, folder)
            try:
                prepare(config)
            except RequestError as problem:
                problems[number] = problem
    finally:
        logging.getLogger().removeHandler(silence)
    return problems
