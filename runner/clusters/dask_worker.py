"""A worker process of a run's own dask cluster, and what tasks do in any dask worker."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import dask
from distributed import Worker, get_worker

from runner.interrupts import end_with_parent
from runner.logs import silence
from runner.search.limits import raise_in

_POLL_S = 0.5


class TaskCancelledError(BaseException):
    """Nobody waits for this task any more.

    Not an Exception: scikit-learn would take it for a failed fit and go on.
    """


def main(scheduler: str) -> None:
    """Serve a scheduler until it, or the process that started this one, ends."""
    end_with_parent()
    silence("distributed", "tornado")
    # What memory there is is the user's to share out; pausing and restarting are no help.
    limits = dict.fromkeys(("target", "spill", "pause", "terminate"), False)
    dask.config.set({f"distributed.worker.memory.{name}": off for name, off in limits.items()})
    dask.config.set({"distributed.worker.profile.enabled": False})

    async def serve() -> None:
        async with Worker(scheduler, nthreads=1, memory_limit=0, dashboard=False) as worker:
            await worker.finished()

    with contextlib.suppress(OSError, asyncio.CancelledError):
        asyncio.run(serve())


@contextlib.contextmanager
def ended_when_cancelled() -> Iterator[None]:
    """End the block soon after its task was cancelled, be it because the run's process died."""
    worker = get_worker()
    key = worker.get_current_task()
    thread = threading.get_ident()
    done = threading.Event()
    lock = threading.Lock()

    def watch() -> None:
        while not done.wait(_POLL_S):
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled":
                with lock:
                    if not done.is_set():
                        raise_in(thread, TaskCancelledError)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            done.set()
        raise_in(thread, None)
