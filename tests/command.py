"""Runs the product as its users do: as a command, in a folder of its own."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from warm_start import HEAVY, Command, warm_start

Once = Callable[[str, Callable[[Path], None]], Path]
ROOT = Path(__file__).resolve().parents[1]
MNIST = Path(os.environ.get("MNIST", ROOT.parent / "shared" / "data" / "mnist.npz"))
PROGRAM = (sys.executable, "-m", "runner")
CONSOLE_SCRIPT = Path(sys.executable).with_name("runner")
ACCEPTED = 99
"""Exit code of an attempt that got as far as starting the job."""

# Python runs this before anything else in the command, and its last function on every normal exit.
_WATCH_IMPORTS = """\
import atexit, os, sys

def _write():
    imported = [name for name in {heavy!r} if name in sys.modules]
    with open(os.environ["HEAVY_IMPORTS"], "a") as file:
        file.write(" ".join(imported) + "\\n")

atexit.register(_write)
"""


@dataclass(frozen=True)
class CompletedRun:
    """How a command ended, what it printed, and which heavy packages it had imported."""

    code: int
    out: str
    err: str
    imported: tuple[str, ...]
    cwd: Path

    @property
    def directories(self) -> list[Path]:
        """Run directories below the command's folder, oldest first."""
        return sorted(path.parent for path in self.cwd.glob("outputs/runs/*/*/.hydra"))

    @property
    def directory(self) -> Path:
        """The only run directory."""
        (directory,) = self.directories
        return directory

    @property
    def result(self) -> dict[str, Any]:
        """The record of the only run."""
        result: dict[str, Any] = json.loads((self.directory / "result.json").read_text())
        return result


def start_command(*args: str, cwd: Path, keeps_output: bool = False) -> subprocess.Popen[bytes]:
    """Start the command and leave it running; without `keeps_output` what it prints is dropped."""
    return subprocess.Popen(
        [sys.executable, "-m", "runner", *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if keeps_output else subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        # A shell's background job ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run_command(
    *args: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
    timeout_s: float = 240,
    warm: bool = True,
) -> CompletedRun:
    """Run the command to its end; `env` adds to an environment without RUNNER_ALLOW.

    It is forked `warm` where `program` allows that, see `warm_start`.
    """
    with tempfile.TemporaryDirectory() as watching:
        Path(watching, "sitecustomize.py").write_text(_WATCH_IMPORTS.format(heavy=HEAVY))
        imported = Path(watching, "imported")
        out, err = Path(watching, "out"), Path(watching, "err")
        inherited = {key: value for key, value in os.environ.items() if key != "RUNNER_ALLOW"}
        watched = {"PYTHONPATH": watching, "HEAVY_IMPORTS": str(imported)}
        environment = {**inherited, **watched, **(env or {})}
        command = Command([*program, *args], cwd, environment, out, err, timeout_s)
        if warm and tuple(program) == PROGRAM:
            code = warm_start().run(replace(command, words=[*program[1:], *args]))
        elif warm and list(program) == [str(CONSOLE_SCRIPT)]:
            code = warm_start().run(command)
        else:
            code = _run_cold(command)
        # Worker processes of a search write a line each; the last is the command's own.
        names = imported.read_text().splitlines()[-1].split()
        return CompletedRun(code, out.read_text(), err.read_text(), tuple(names), Path(cwd))


def _run_cold(command: Command) -> int:
    with command.out.open("w") as printed, command.err.open("w") as complained:
        return subprocess.run(
            command.words,
            cwd=command.cwd,
            env=command.environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=complained,
            timeout=command.timeout_s,
            check=False,
        ).returncode


def look(*args: str, cwd: Path, code: int = 0) -> CompletedRun:
    """Run a command that leaves nothing behind in this process."""
    from runner.__main__ import main

    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["runner", *args]
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as stop:
        ended = stop.code
    finally:
        sys.argv = argv
    assert ended == code, err.getvalue()
    return CompletedRun(code, out.getvalue(), err.getvalue(), (), cwd)


def refusal(*args: str, cwd: Path) -> str:
    """The one line with which a command is refused in this process."""
    (line,) = look(*args, cwd=cwd, code=2).err.splitlines()
    return line.removeprefix("runner: ")


def commands_of(page: str) -> list[list[str]]:
    """The arguments of each runner command in the shell blocks of a page, as a path from ROOT."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("runner ")]


def sweep_of(folder: Path) -> Path:
    """The only sweep below a folder."""
    (sweep,) = folder.glob("outputs/sweeps/*/*")
    return sweep


def summary(folder: Path) -> dict[str, Any]:
    """What ``sweep.json`` says of the only sweep below a folder."""
    record: dict[str, Any] = json.loads((sweep_of(folder) / "sweep.json").read_text())
    return record


@dataclass(frozen=True)
class Attempt:
    """One of many command lines that shared a process; `imported` were asked for, and refused."""

    code: int
    out: str
    err: str
    imported: tuple[str, ...]
    left_behind: tuple[str, ...]


def attempt_all(lines: Mapping[str, Sequence[str]], cwd: Path) -> dict[str, Attempt]:
    """Run named command lines one after another in one fresh process, without TensorFlow.

    An import of TensorFlow fails there and is reported, so that a request that should have been
    refused does not train. Modules in the folder can be imported, as with ``python -m runner``.
    """
    environment = {key: value for key, value in os.environ.items() if key != "RUNNER_ALLOW"}
    with tempfile.TemporaryDirectory() as asking:
        asked, out, err = (Path(asking, name) for name in ("asked", "out", "err"))
        asked.write_text(json.dumps({name: list(args) for name, args in lines.items()}))
        words = [str(Path(__file__).resolve()), str(asked)]
        code = warm_start().run(Command(words, cwd, environment, out, err))
        assert code == 0, err.read_text()
        answers = json.loads(out.read_text())
    return {
        name: Attempt(a["code"], a["out"], a["err"], tuple(a["imported"]), tuple(a["left_behind"]))
        for name, a in answers.items()
    }


class _RefuseHeavy:
    """An import hook that notes and refuses the heavy packages."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in HEAVY:
            self.asked.append(name)
            raise ImportError(f"{name} is out of bounds here")


class _Accepted(SystemExit):
    """Raised where a job would start."""


def _accept(composed: Any) -> None:
    raise _Accepted(ACCEPTED)


def _attempt(args: list[str], refuse: _RefuseHeavy) -> dict[str, Any]:
    from runner import app
    from runner.resume import resume

    assert callable(app._job)
    app._job = _accept  # type: ignore[assignment]
    folder, before = Path.cwd(), _tree()
    refuse.asked.clear()
    sys.argv = ["runner"]
    app._exit_code = app.DONE
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            code = resume(args[1:]) if args[:1] == ["resume"] else app.run_app(args)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except Exception:  # noqa: BLE001 - a traceback is what a test must see
            import traceback

            traceback.print_exc()
            code = 1
        finally:
            os.chdir(folder)
            sys.stdout.flush()
            sys.stderr.flush()
            for number, saved in zip((1, 2), kept, strict=True):
                os.dup2(saved, number)
                os.close(saved)
        out.seek(0)
        err.seek(0)
        return {
            "code": code,
            "out": out.read().decode(),
            "err": err.read().decode(),
            "imported": list(refuse.asked),
            "left_behind": _removed(_tree() - before),
        }


def _removed(paths: set[str]) -> list[str]:
    """Remove what an attempt left, so that the next one starts in the same folder."""
    for path in sorted(paths, reverse=True):
        Path(path).rmdir() if Path(path).is_dir() else Path(path).unlink()
    return sorted(paths)


def _tree() -> set[str]:
    return {str(path) for path in Path().rglob("*") if "__pycache__" not in path.parts}


def _main() -> None:
    refuse = _RefuseHeavy()
    sys.meta_path.insert(0, refuse)  # type: ignore[arg-type]
    sys.path.insert(0, str(Path.cwd()))
    lines = json.loads(Path(sys.argv[1]).read_text())
    answers = {name: _attempt(args, refuse) for name, args in lines.items()}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    _main()
