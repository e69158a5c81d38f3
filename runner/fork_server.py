"""Worker processes that begin with everything imported: forked from a copy of the main process.

Importing TensorFlow takes seconds, of which each worker process that joblib starts (loky) spends
its own. So the main process, once it has imported what fits need and before it computes anything,
forks a copy of itself that does nothing but fork: whenever loky would start a worker as a program,
the copy becomes one instead. A process can't be forked later, when TensorFlow has threads.

This is for Linux, where an orphan can be given to the main process, which then is told how its
worker ended as if it had started it itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import logging
import os
import runpy
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from runner.interrupts import WATCHER, forget_main

_PROGRAM = "joblib.externals.loky.backend.popen_loky_posix"
_LONGEST_REQUEST = 1 << 20
_MOST_FILES = 64
_SET_NAME, _SET_CHILD_SUBREAPER = 15, 36

_server: _Server | None = None
_native_threads_of_imports: int | None = None


def is_supported() -> bool:
    """Whether workers can be forked on this machine."""
    return sys.platform == "linux"


def note_threads() -> None:
    """Note, before anything but imports was done, which threads of native code came with those."""
    global _native_threads_of_imports
    if _native_threads_of_imports is None and is_supported():
        _native_threads_of_imports = _native_threads()


def begin() -> bool:
    """Fork the copy, unless that was done before; whether workers will be forked.

    They won't in a process that is not there for runs alone, nor when threads have been started
    since its imports: of Python's, which may hold locks that nobody would ever release in the copy,
    or of native code, such as OpenMP's and TensorFlow's, without which their libraries hang there.
    """
    global _server
    if _server is None and _may_be_copied() and _adopt_orphans():
        with contextlib.suppress(OSError):
            _server = _Server()
    return _server is not None


def _may_be_copied() -> bool:
    threads = {thread.name for thread in threading.enumerate()}
    # A process that is there for runs alone watches its signals.
    if _native_threads_of_imports is None or threads != {threading.main_thread().name, WATCHER}:
        return False
    return _native_threads() <= _native_threads_of_imports


def _native_threads() -> int:
    return len(os.listdir("/proc/self/task")) - threading.active_count()


def _adopt_orphans() -> bool:
    return bool(_prctl(_SET_CHILD_SUBREAPER, 1) == 0)


def _prctl(option: int, argument: Any) -> Any:
    return ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


class _Server:
    """The copy, as the main process sees it."""

    def __init__(self) -> None:
        # Only now: it imports joblib.
        from joblib.externals.loky.backend import fork_exec as loky

        self._channel, its_channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._start_program: Callable[..., int] = loky.fork_exec
        self._lock = threading.Lock()
        sys.stdout.flush()
        sys.stderr.flush()
        # What there is will stay: no reason to look at it, and copy it, ever again.
        gc.freeze()
        if os.fork() == 0:
            _serve(its_channel)
        its_channel.close()
        loky.fork_exec = self.start

    def start(
        self, command: Sequence[str], keep_fds: Sequence[int], env: Mapping[str, str] | None = None
    ) -> int:
        """Start a program as loky does, which has to be a worker to be forked; its process id."""
        if _PROGRAM in command:
            request = {
                "arguments": command[command.index(_PROGRAM) :],
                "files": list(map(int, keep_fds)),
                "environment": {**os.environ, **(env or {})},
            }
            with contextlib.suppress(OSError), self._lock:
                return self._ask(request)
        return self._start_program(command, keep_fds, env)

    def _ask(self, request: Mapping[str, Any]) -> int:
        socket.send_fds(self._channel, [json.dumps(request).encode()], request["files"])
        if answer := self._channel.recv(64):
            return int(answer)
        raise OSError("the process that workers are forked from has ended")


def _serve(channel: socket.socket) -> NoReturn:
    """Be the copy, until the main process ends."""
    try:
        _be_nobody(channel)
        while True:
            message, files, _, _ = socket.recv_fds(channel, _LONGEST_REQUEST, _MOST_FILES)
            if not message:
                os._exit(0)
            channel.send(str(_fork_worker(channel, json.loads(message), files)).encode())
            for number in files:
                os.close(number)
    finally:
        os._exit(1)


def _be_nobody(channel: socket.socket) -> None:
    """Let go of what is the main process's: signals, files, logs, what its end would set off."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kept = channel.fileno()
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    forget_main()
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    _prctl(_SET_NAME, b"fork-server")


def _fork_worker(channel: socket.socket, request: Mapping[str, Any], files: Sequence[int]) -> int:
    """Fork a worker that belongs to the main process: an orphan, which that one adopts."""
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        if pid := os.fork():
            os.write(writer, str(pid).encode())
            os._exit(0)
        channel.close()
        os.close(reader)
        os.close(writer)
        _work(request, files)
    os.close(writer)
    os.waitpid(between, 0)
    pid = int(os.read(reader, 64))
    os.close(reader)
    return pid


def _work(request: Mapping[str, Any], files: Sequence[int]) -> NoReturn:
    """Be a worker, as the program that loky would have started."""
    import numpy

    code = 1
    try:
        _prctl(_SET_NAME, b"worker")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _number(files, request["files"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = list(request["arguments"])
        # From the system, as in a new program.
        numpy.random.seed()
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
        runpy.run_module(_PROGRAM, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _number(files: Sequence[int], numbers: Sequence[int]) -> None:
    """Give open files the numbers by which the main process knows them."""
    above = max((*files, *numbers), default=2) + 1
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in files]
    for file in files:
        os.close(file)
    for file, number in zip(moved, numbers, strict=True):
        os.dup2(file, number)
        os.close(file)
