"""Commands whose imports take no time: forked from a process that has imported the big packages.

Importing them is most of what a short command takes. A forked command is one like any other, with
arguments, environment, folder, streams and an end of its own. Even TensorFlow is not there before
it is imported, which then is at once. Started as a program, this module is the process that is
forked.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

HEAVY = ("tensorflow", "keras")
_LIGHT = (
    "sklearn.ensemble",
    "sklearn.model_selection",
    "pandas",
    "hydra",
    "optuna",
    "pydantic",
    "plotly.graph_objects",
    "matplotlib.figure",
    "skops.io",
)
_LOADS_HEAVY = (*HEAVY, "scikeras.wrappers")


@dataclass(frozen=True)
class Command:
    """A command, ``-m`` and a module or a script, and arguments; and the files it prints to."""

    words: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    out: Path
    err: Path
    timeout_s: float = 240


class WarmStart:
    """Runs commands that begin with the packages imported, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        )

    def run(self, command: Command) -> int:
        """Run a command to its end and return its exit code, or minus the signal that ended it."""
        pid = self._ask(
            words=list(command.words),
            cwd=str(command.cwd),
            environment=dict(command.environment),
            streams=[os.devnull, str(command.out), str(command.err)],
        )
        too_long = threading.Timer(command.timeout_s, os.kill, (pid, 9))
        too_long.start()
        try:
            return self._ask(wait=pid)
        finally:
            too_long.cancel()

    def _ask(self, **request: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that commands are forked from has ended"
        return int(answer)


@cache
def warm_start() -> WarmStart:
    """Where this process's commands begin; it ends with this process."""
    return WarmStart()


def _main() -> None:
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for name in _LIGHT:
        import_module(name)
    light = set(sys.modules)
    for name in _LOADS_HEAVY:
        import_module(name)
    heavy = {name: module for name, module in sys.modules.items() if name not in light}
    # What there is will stay: no reason to look at it, or copy it, ever again.
    gc.freeze()
    for line in requests:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        elif pid := os.fork():
            answers.write(f"{pid}\n")
        else:
            os.close(requests.fileno())
            os.close(answers.fileno())
            _Imports.of(heavy)
            _become(request)
            return


class _Imports(MetaPathFinder, Loader):
    """Imports modules that there are already, which until then are not to be seen."""

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules = modules
        self._specs = {name: module.__spec__ for name, module in modules.items()}

    @classmethod
    def of(cls, modules: dict[str, ModuleType]) -> None:
        for name in modules:
            del sys.modules[name]
        sys.meta_path.insert(0, cls(modules))

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self._modules else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        name = module.__spec__.name if module.__spec__ else module.__name__
        module.__spec__ = self._specs[name]
        if name.partition(".")[0] in HEAVY:
            # With all that came with it.
            sys.modules.update(self._modules)


def _become(request: Mapping[str, Any]) -> None:
    """Be the command, in a process of its own; what it raises ends that as the interpreter does."""
    import numpy
    from scipy.linalg.blas import dgemm

    numpy.random.seed()
    # OpenBLAS starts its threads when it is loaded; in a forked process, when it is first used.
    square = numpy.ones((200, 200))
    numpy.dot(square, square)
    dgemm(1.0, square, square)
    if (path := request["environment"].get("HEAVY_IMPORTS")) is not None:
        atexit.register(_note_imports, path)
    for number, name in enumerate(request["streams"]):
        opened = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = sys.__stdin__ = os.fdopen(0)
    encoding = request["environment"].get("PYTHONIOENCODING")
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", encoding=encoding)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace")
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    script, *arguments = request["words"]
    if script == "-m":
        module, *arguments = arguments
        sys.argv = [module, *arguments]
        sys.path[0] = request["cwd"]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [script, *arguments]
        sys.path[0] = str(Path(script).parent)
        runpy.run_path(script, run_name="__main__")


def _note_imports(path: str) -> None:
    with open(path, "a") as file:
        file.write(" ".join(name for name in HEAVY if name in sys.modules) + "\n")


if __name__ == "__main__":
    _main()
