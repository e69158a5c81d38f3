"""What SLURM's own commands are asked: whether jobs fit, how they stand, and to cancel them."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

_NOT_OVER = (
    *("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "SIGNALING", "STAGE_OUT"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
    "STOPPED",
)
# Reasons for which a job that is in the queue stays there for good.
_NEVER = ("PartitionTimeLimit", "BadConstraints")
_TIMEOUT_S = 60
# What a job that runs the runner would hand down to the jobs that it submits.
_OF_OUTER_JOB = ("SLURM_", "SLURMD_", "SRUN_", "SUBMITIT_")
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")


@dataclass(frozen=True)
class State:
    """What SLURM says of a job; ``reason`` is empty where there is none."""

    name: str
    reason: str = ""

    @property
    def is_over(self) -> bool:
        return self.name not in _NOT_OVER

    @property
    def never_starts(self) -> bool:
        return self.name == "PENDING" and self.reason in _NEVER

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


GONE = State("GONE")
"""Of a job that SLURM knows no more."""


def ask_states(ids: Sequence[str]) -> dict[str, State] | None:
    """Ask how jobs stand, those of an array one by one; None when SLURM does not answer.

    A job that is over stays known for some minutes (``MinJobAge``).
    """
    arrays = dict.fromkeys(each.partition("_")[0] for each in ids)
    command = ["squeue", "--array", "--states=all", "--noheader", "--format=%i|%T|%r"]
    said = _ask([*command, f"--jobs={','.join(arrays)}"], unless="Invalid job id")
    return None if said is None else read_states(said)


def read_states(said: str) -> dict[str, State]:
    """Read ``squeue``'s lines of id, state and reason."""
    states = {}
    for line in said.splitlines():
        job_id, name, reason = [*line.strip().split("|", 2), "", ""][:3]
        if name:
            states[job_id] = State(name, "" if reason == "None" else reason)
    return states


def queued_from(folder: Path) -> list[str] | None:
    """Ids of jobs in the queue whose batch script was in `folder`; None without an answer."""
    said = _ask(["squeue", f"--user={getpass.getuser()}", "--noheader", "--format=%A|%o"])
    if said is None:
        return None
    own = os.path.realpath(folder)
    rows = [line.strip().partition("|") for line in said.splitlines()]
    ids = [row[0] for row in rows if os.path.realpath(os.path.dirname(row[2])) == own]
    return list(dict.fromkeys(ids))


def cancel(ids: Sequence[str]) -> None:
    """End jobs: SLURM sends each SIGTERM, and after its ``KillWait`` SIGKILL."""
    if ids:
        subprocess.run(["scancel", *ids], capture_output=True, check=False)


def refusal_of(flags: Sequence[str]) -> str | None:
    """Why ``sbatch`` would not take a job with such flags; None where it would."""
    with without_outer_job():
        done = subprocess.run(
            ["sbatch", "--test-only", *flags, "--wrap=true"],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == 0:
        return None
    return last_line(done.stderr).removeprefix("allocation failure: ")


@contextlib.contextmanager
def without_outer_job() -> Iterator[None]:
    """Forget, for the length of the block, the job that this process itself may run in."""
    inside = "SLURM_JOB_ID" in os.environ
    hidden = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if inside and name.startswith(_OF_OUTER_JOB) and name not in _KEPT
    }
    try:
        yield
    finally:
        os.environ.update(hidden)


def last_line(text: str) -> str:
    """What a command of SLURM's said last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[-1] if lines else "no reason given"
    return said.removeprefix("sbatch: ").removeprefix("error: ")


def _ask(command: Sequence[str], unless: str | None = None) -> str | None:
    """What a command says; None when it fails, nothing when what it says then is `unless`."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("SLURM does not answer: %s", error)
        return None
    if done.returncode == 0:
        return done.stdout
    if unless is not None and unless in done.stderr:
        return ""
    logger.warning("SLURM does not answer: %s", last_line(done.stderr))
    return None
