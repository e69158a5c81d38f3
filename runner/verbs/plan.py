"""``runner plan [key=value …]``: what would be run, how long it takes, and what to mind."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from rich.console import Console

from runner.app import check_request
from runner.command_line import parse_arguments
from runner.errors import RequestError
from runner.interrupts import INTERRUPTED, exit_at_once
from runner.results.comparison.tables import TextTable, print_tables
from runner.results.jsonable import to_json
from runner.sweeps.sweep import Sweep
from runner.verbs.arguments import DONE, Parser

if TYPE_CHECKING:
    from runner.preparation import Experiment

_ABOUT = """\
Say what a command line would run, without running it: candidates and folds, how long and how much
memory it takes, where its files go. A few steps are timed for that, and nothing is written. A
mistake is refused as the run would refuse it.

examples:
  runner plan data=wine model=random_forest
  runner plan experiment=article data.path=mnist.npz --format json
  runner plan -m model=mlp,cnn seed=1,2,3"""
_FORMATS = ("table", "json")


def plan(arguments: Sequence[str]) -> int:
    """Print the plan of a run or a sweep.

    Raises
    ------
    RequestError
        For what the run would refuse, and for flags that run nothing.
    """
    parser = Parser("plan", _ABOUT)
    parser.usage = "runner plan [-m] [--format table|json] [key=value …]"
    parser.add_format(_FORMATS)
    options, words = parser.parse_known_args(arguments)
    console = Console(highlight=False)
    try:
        with _said() as notes:
            request = parse_arguments(words)
            checked = check_request(request)
        if checked is None:
            raise RequestError(None, f"plan is for runs and sweeps, not for {request.flags[0]}")
        if isinstance(checked, Sweep):
            record, tables = _of_sweep(checked)
        else:
            record, tables = _of_run(checked, notes)
    except KeyboardInterrupt:
        exit_at_once(INTERRUPTED)
    if options.format == "json":
        console.file.write(to_json(record, indent=2) + "\n")
    else:
        print_tables(tables, "table", console)
    return DONE


def _of_run(experiment: Experiment, notes: list[str]) -> tuple[object, list[TextTable]]:
    # Only now: it imports scikit-learn, and TensorFlow where a network is timed.
    from runner.planning.plan import make_plan
    from runner.planning.text import plan_tables

    with _said() as said_while_timing:
        made = make_plan(experiment, os.path.relpath(HydraConfig.get().run.dir), notes)
    made = replace(made, notes=[*made.notes, *said_while_timing])
    return made, plan_tables(made)


def _of_sweep(sweep: Sweep) -> tuple[object, list[TextTable]]:
    """The number of jobs, and their overrides where those are known before any job has run."""
    jobs = None if sweep.sampler else [list(job) for job in sweep.jobs]
    outputs = os.path.relpath(sweep.folder)
    record = {
        "n_jobs": sweep.n_jobs,
        "sampler": sweep.sampler,
        "jobs": jobs,
        "outputs": outputs,
    }
    title = f"{sweep.n_jobs} jobs, each a run in a folder of {outputs}"
    rows = [[str(number), " ".join(job)] for number, job in enumerate(jobs or ())]
    if jobs is None:
        rows = [["all", f"{' '.join(sweep.command.overrides)}, as {sweep.sampler} proposes"]]
    return record, [TextTable(title, ("job", "overrides"), rows)]


@contextlib.contextmanager
def _said() -> Iterator[list[str]]:
    """Collect what the runner logs during the block, instead of showing it."""
    logger, said = logging.getLogger("runner"), _Collector()
    level = logger.level
    logger.addHandler(said)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield said.messages
    finally:
        logger.propagate = True
        logger.setLevel(level)
        logger.removeHandler(said)


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
