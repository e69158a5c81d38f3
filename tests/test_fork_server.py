"""Workers are forked with everything imported, and only where a copy is safe."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from command import CompletedRun, run_command

from runner.compute import n_cores
from runner.fork_server import _number, is_supported

pytestmark = pytest.mark.skipif(not is_supported(), reason="workers are forked on Linux")

# Notes the name of the process that fits, which forked workers give themselves.
NOTED = """
from pathlib import Path
from sklearn.linear_model import LogisticRegression
{on_import}

class Noted(LogisticRegression):
    def __init__(self, C=1.0, random_state=None):
        super().__init__(C=C, random_state=random_state)

    def fit(self, X, y):
        name = Path("/proc/self/comm").read_text().strip()
        with Path("names").open("a") as file:
            file.write(name + "\\n")
        {on_fit}
        return super().fit(X, y)
"""
KMEANS = "KMeans(2, n_init=1).fit(np.arange(40_000.0).reshape(-1, 1))"
IMPORTS_KMEANS = "import numpy as np\nfrom sklearn.cluster import KMeans"


def fitted(folder: Path, *overrides: str, on_import: str = "", on_fit: str = "") -> CompletedRun:
    folder.mkdir(exist_ok=True)
    (folder / "noted.py").write_text(NOTED.format(on_import=on_import, on_fit=on_fit))
    options = folder / "conf" / "model"
    options.mkdir(parents=True, exist_ok=True)
    (options / "noted.yaml").write_text("_target_: noted.Noted\nC: 1.0\nrandom_state: null\n")
    request = ("data=iris", "model=noted", "space.model.C=[0.1,1.0]", "space=none", "search=grid")
    run = ("compute.n_jobs=2", "plots=false", *overrides)
    done = run_command(*request, *run, cwd=folder, env={"RUNNER_ALLOW": "noted.*"})
    assert done.code == 0, done.err
    return done


def names(folder: Path) -> set[str]:
    """Of the processes that did the search's fits; refits may be done in the main one."""
    return set((folder / "names").read_text().split()[:6])


def test_workers_are_forked_and_score_the_same(tmp_path: Path) -> None:
    forked, programs = tmp_path / "forked", tmp_path / "programs"
    results = [fitted(forked).result, fitted(programs, "compute.fork=false").result]
    assert names(forked) == {"worker"}
    assert "worker" not in names(programs)
    assert results[0]["best"] == results[1]["best"]


@pytest.mark.slow
def test_a_tracked_run_forks_before_its_threads(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    fitted(tmp_path, "tracking=mlflow")
    assert names(tmp_path) == {"worker"}


@pytest.mark.skipif(n_cores() < 2, reason="OpenMP has one thread")
def test_where_openmp_has_threads_workers_are_programs(tmp_path: Path) -> None:
    # OpenMP would count on them in a copy, where they are not.
    fitted(tmp_path, on_import=f"{IMPORTS_KMEANS}\n{KMEANS}", on_fit=KMEANS)
    assert "worker" not in names(tmp_path)


def test_where_a_thread_runs_workers_are_programs(tmp_path: Path) -> None:
    thread = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    fitted(tmp_path, on_import=f"import threading\n{thread}")
    assert "worker" not in names(tmp_path)


def script(text: str, folder: Path) -> str:
    """What a program prints that may be copied, and works with two joblib workers."""
    (folder / "tasks.py").write_text(TASKS)
    program = BEGIN + textwrap.dedent(text)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


TASKS = """
import os, random, signal, time
from pathlib import Path
import numpy as np

def name(seconds=0.3):
    time.sleep(seconds)
    return Path("/proc/self/comm").read_text().strip()

def draws():
    time.sleep(0.3)
    return random.random(), np.random.random()

def environment():
    return os.environ.get("LATER"), os.getcwd(), os.getppid()
"""
BEGIN = """
import os, signal, sys
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tasks import *
from runner import fork_server
from runner.interrupts import stops_in_time

fork_server.note_threads()
watching = stops_in_time(lambda: None)
watching.__enter__()
assert fork_server.begin()
"""


def test_workers_are_as_new_programs(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    said = script(
        """
        os.environ["LATER"] = "set"
        os.chdir("elsewhere")
        with Parallel(2) as workers:
            print({*workers(delayed(name)() for _ in range(4))} == {"worker"})
            answers = workers(delayed(environment)() for _ in range(4))
            print({*answers} == {("set", os.getcwd(), os.getpid())})
            first, second = zip(*workers(delayed(draws)() for _ in range(2)))
            print(len({*first}), len({*second}))
        """,
        tmp_path,
    )
    assert said.split() == ["True", "True", "2", "2"]


def test_how_a_worker_ended_is_known(tmp_path: Path) -> None:
    said = script(
        """
        try:
            Parallel(2)(delayed(signal.raise_signal)(9) for _ in range(2))
        except TerminatedWorkerError as error:
            print("SIGKILL(-9)" in str(error))
        print({*Parallel(2)(delayed(name)() for _ in range(4))})
        """,
        tmp_path,
    )
    assert said.split() == ["True", "{'worker'}"]


def test_without_the_copy_workers_are_programs(tmp_path: Path) -> None:
    said = script(
        """
        (copy,) = open(f"/proc/self/task/{os.getpid()}/children").read().split()
        os.kill(int(copy), signal.SIGKILL)
        print("worker" in Parallel(2)(delayed(name)() for _ in range(4)))
        """,
        tmp_path,
    )
    assert said.split() == ["False"]


def test_open_files_get_the_numbers_they_are_known_by(tmp_path: Path) -> None:
    files = []
    for text in ("first", "second"):
        (tmp_path / text).write_text(text)
        files.append(os.open(tmp_path / text, os.O_RDONLY))
    first, second = files
    _number(files, [second, first])
    try:
        assert [os.read(number, 10) for number in (second, first)] == [b"first", b"second"]
    finally:
        os.close(first)
        os.close(second)
