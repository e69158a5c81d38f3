"""When a search stops beginning new fits, and when one fit has taken too long."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runner.compute import Pace
from runner.search.record import FitRecord

# A fit that does not return to Python can't be stopped, only its worker process ended.
_PATIENCE_S = 5.0


class FitTimeoutError(TimeoutError):
    """A fit took longer than allowed."""


class _Overrun(BaseException):
    """Raised inside a fit that must end; no ``except Exception`` on the way takes it."""


@dataclass(frozen=True)
class Limits:
    """Limits of a search, checked by every fit in the process that does it.

    Parameters
    ----------
    stop_at
        No fit begins after this time, in seconds since 1970.
    max_failures
        No fit begins once more than so many have failed.
    timeout_s
        Seconds that one fit may take.
    pace
        Ends a search in one process when several would be done sooner.
    """

    stop_at: float | None = None
    max_failures: int | None = None
    timeout_s: float | None = None
    pace: Pace | None = None
    _main: tuple[str, int] = field(default_factory=lambda: _this_process(), compare=False)

    def allow(self, record: FitRecord) -> bool:
        """Whether another fit may begin: in time, and with not too many failed.

        Raises
        ------
        WorkersPayError
            When the search is to go on in worker processes.
        """
        if self.is_over():
            return False
        if self.max_failures is not None and record.n_failed() > self.max_failures:
            return False
        if self.pace is not None:
            self.pace.fit_begins(record)
        return True

    def is_over(self) -> bool:
        """Whether the time for beginning fits has passed."""
        return self.stop_at is not None and time.time() >= self.stop_at

    @contextlib.contextmanager
    def timed(self, when_stuck: Callable[[FitTimeoutError], None]) -> Iterator[None]:
        """End the block with `FitTimeoutError` when it takes longer than ``timeout_s``.

        A block that does not come back to Python within seconds after that is ended together with
        its process, where that is a worker; `when_stuck` is called before.
        """
        if self.timeout_s is None:
            yield
            return
        error = FitTimeoutError(f"took longer than search.trial_timeout={self.timeout_s:g} s")
        thread = threading.get_ident()
        done = threading.Event()
        lock = threading.Lock()

        def watch() -> None:
            if done.wait(self.timeout_s):
                return
            with lock:
                if not done.is_set():
                    raise_in(thread, _Overrun)
            if not done.wait(_PATIENCE_S) and _this_process() != self._main:
                when_stuck(error)
                os._exit(1)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            try:
                yield
            finally:
                with lock:
                    done.set()
                # What was sent but not yet raised must not hit what comes next.
                raise_in(thread, None)
        except _Overrun:
            done.set()
            raise error from None


def _this_process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


def raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise in another thread at its next step of Python code; None takes that back."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind)
    )
