"""What the processes of a command are doing, as Linux tells it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from command import start_command


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 100) -> None:
    """Wait until `condition` holds, and fail saying `what` did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """Processes that `pid` started, and those that they started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                children.setdefault(_stat(folder)[1], []).append(int(folder.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def alive(pids: list[int]) -> list[int]:
    """Those that are still there and no zombies."""
    living = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if _stat(Path("/proc", str(pid)))[0] not in "ZX":
                living.append(pid)
    return living


def workers_of(pid: int) -> list[int]:
    """Worker processes that are at work: joblib's, without its helper that tracks resources."""
    found = []
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            name, line = (Path("/proc", str(child), file) for file in ("comm", "cmdline"))
            # Forked, or started as a program.
            if name.read_text() == "worker\n" or b"popen_loky" in line.read_bytes():
                found.append(child)
    return found


def resident_mb(pid: int) -> float:
    status = Path("/proc", str(pid), "status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_threads(pids: list[int], seconds: float) -> int:
    """Threads that had a share of the work done within so many seconds, a third of the busiest."""
    before = _thread_times(pids)
    time.sleep(seconds)
    spent = [ticks - before.get(thread, 0) for thread, ticks in _thread_times(pids).items()]
    return sum(ticks > max(spent) / 3 for ticks in spent)


def _thread_times(pids: list[int]) -> dict[str, int]:
    """Ticks of processor time of each thread."""
    times = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in Path("/proc", str(pid), "task").iterdir():
                with contextlib.suppress(OSError):
                    fields = (thread / "stat").read_text().rpartition(")")[2].split()
                    times[thread.name] = int(fields[11]) + int(fields[12])
    return times


def _stat(folder: Path) -> tuple[str, int]:
    """State and parent of a process."""
    state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
    return state, int(parent)


@contextlib.contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command under way; nothing of it is left at the end of the block."""
    cwd.mkdir(parents=True, exist_ok=True)
    process = start_command(*arguments, cwd=cwd, keeps_output=True)
    try:
        yield process
    finally:
        for pid in alive([process.pid, *descendants(process.pid)]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
