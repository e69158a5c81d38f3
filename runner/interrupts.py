"""Ctrl-C and SIGTERM: stop in good order, and within seconds whatever is going on."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
_GRACE_S, _LAST_WORDS_S = 1.5, 0.3
_PARENT_POLL_S = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
WATCHER = "interrupts"
_works_for_another = False


@contextlib.contextmanager
def stops_in_time(when_stuck: Callable[[], None]) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into KeyboardInterrupt, and end the process soon after in any case.

    Python code sees a signal only when native code returns, which a training epoch may do much
    later. So a thread watches too: after a grace of seconds it calls `when_stuck`, ends the worker
    processes and exits with code 130. Nothing is lost by that, since finished fits are on disk.

    Outside the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # joblib's helper process inherits this; what a killed pool leaves, it cleans up in silence.
    quiet = "ignore:resource_tracker:UserWarning"
    if quiet not in sys.warnoptions:
        sys.warnoptions.append(quiet)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    woken_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _interrupt) for number in _SIGNALS}
    watching = (reader, when_stuck)
    threading.Thread(target=_watch, args=watching, name=WATCHER, daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken_before)
        os.close(writer)


_endings: list[Callable[[], None]] = []


def at_end(ending: Callable[[], None]) -> None:
    """Have `ending` called when this process's workers are to be ended; it is to take no time."""
    if ending not in _endings:
        _endings.append(ending)


def forget_main() -> None:
    """Forget, in a copy of the main process, what was to be ended with it."""
    _endings.clear()


def end_workers() -> None:
    """End this process's worker processes."""
    for process in multiprocessing.active_children():
        process.kill()
    for ending in _endings:
        ending()


def exit_at_once(code: int) -> NoReturn:
    """Leave without the interpreter's own farewells, which take long with TensorFlow loaded."""
    end_workers()
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)


def is_worker() -> bool:
    """Whether this process works for another one of this project."""
    return _works_for_another or multiprocessing.parent_process() is not None


def become_worker() -> None:
    """Note that this process, whoever started it, works for another one of this project."""
    global _works_for_another
    _works_for_another = True


def leave_interrupts_to_main() -> None:
    """Ignore Ctrl-C in a worker process: a terminal sends it to all, and the main one acts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """End this worker process, and its own, soon after the one that started it died."""
    parent = os.getppid()
    _end_when(lambda: os.getppid() != parent)


def end_with(pid: int) -> None:
    """End this process, and its workers, soon after process `pid` of this machine died."""
    _end_when(lambda: not _is_alive(pid))


def _end_when(condition: Callable[[], bool]) -> None:
    def watch() -> None:
        while not condition():
            time.sleep(_PARENT_POLL_S)
        end_workers()
        os._exit(INTERRUPTED)

    threading.Thread(target=watch, daemon=True).start()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: what is done meanwhile must not be interrupted again.
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _watch(reader: int, when_stuck: Callable[[], None]) -> None:
    while received := os.read(reader, 1):
        if received[0] in _SIGNALS:
            time.sleep(_GRACE_S)
            # In a thread of its own, lest it wait for a lock that the stuck code holds.
            last_words = threading.Thread(target=when_stuck, daemon=True)
            last_words.start()
            last_words.join(_LAST_WORDS_S)
            end_workers()
            os._exit(INTERRUPTED)
    os.close(reader)
