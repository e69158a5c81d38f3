"""``runner show RUN``: all that is worth saying of one run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from runner.results.comparison.entry import Entry, read_entry, read_yaml
from runner.results.comparison.find import find_one
from runner.results.comparison.listing import Line, count_fits, when
from runner.results.comparison.tables import print_whole, shown
from runner.results.state import read_state
from runner.results.summary import render_summary
from runner.results.verdict import duration
from runner.verbs.arguments import DONE, Parser

_ABOUT = """\
Show one run: how it ended, its scores and best parameters, where its files are, how to run it
again, and how to go on with it when it is unfinished.

examples:
  runner show outputs/runs/2026-11-25/16-52-32-digits-mlp-afd17d
  runner show outputs/sweeps/2026-11-25/18-58-52-601457/3"""


def show(arguments: Sequence[str]) -> int:
    """Print one run.

    Raises
    ------
    RequestError
        When the folder isn't that of one run, or its record is damaged.
    """
    parser = Parser("show", _ABOUT)
    parser.add_argument("run", metavar="RUN")
    directory = find_one(parser.parse(arguments).run)
    entry = read_entry(directory)
    commands = [f"{label:<12}{shown(command)}" for label, command in _commands(entry)]
    parts = [
        *(Text(shown(_heading(entry))), Text(), _outcome(entry), Text()),
        *(Text(command, overflow="fold") for command in commands),
    ]
    print_whole(Group(*parts), Console(highlight=False))
    return DONE


def _heading(entry: Entry) -> str:
    names = [entry.data, entry.model, entry.search and f"search {entry.search}"]
    seed = None if entry.seed is None else f"seed {entry.seed}"
    began = None if entry.started is None else f"started {when(entry.started)}"
    return ", ".join(part for part in (*names, seed, entry.status, began) if part)


def _outcome(entry: Entry) -> RenderableType:
    directory = entry.directory
    if entry.status != "running" and directory.result.exists():
        return render_summary(directory.read_result(), directory.path)
    n_fits = count_fits(directory)
    if entry.error:
        progress = f"The run failed: {entry.error}"
    elif entry.status == "running":
        took = duration(Line(entry.path, (entry,), is_sweep=False).total_s)
        progress = f"{n_fits} fits done in {took}"
    else:
        progress = f"{n_fits} fits done"
    lines = [progress, f"Files  {directory.path}", f"Log    {directory.log}"]
    return Text("\n".join(map(shown, lines)), overflow="fold")


def _commands(entry: Entry) -> list[tuple[str, str]]:
    """What can be done with the run: labels and commands."""
    path = shlex.quote(str(entry.path))
    again = _again(entry)
    commands = [("Run again", again)]
    if entry.params:
        best = shlex.quote(str(entry.directory.best_overrides.absolute()))
        commands.append(("Its winner", f"{again} $(cat {best}) search=none"))
    if entry.status in ("interrupted", "failed") and read_state(entry.directory) is not None:
        commands.append(("Go on", f"runner resume {path}"))
    return commands


def _again(entry: Entry) -> str:
    settings = read_yaml(entry.directory.hydra / "hydra.yaml")
    try:
        cwd = settings["hydra"]["runtime"]["cwd"]
        config_name = settings["hydra"]["job"]["config_name"]
    except (KeyError, TypeError):
        cwd, config_name = os.getcwd(), "runner"
    name = [] if config_name == "runner" else ["--config-name", config_name]
    command = shlex.join(["runner", *name, *entry.overrides])
    return command if Path(cwd) == Path.cwd() else f"cd {shlex.quote(cwd)} && {command}"
