"""Fits on clusters of dask and ray: the same numbers, whatever happens to workers."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import attempt_all, run_command, start_command
from processes import alive, descendants, wait_until

pytest.importorskip("distributed")

LEARNER = ("data=iris", "model=logistic_regression", "search.n_iter=3")
NETWORK = (
    *("data=digits", "data.limit=400", "model=mlp", "search.n_iter=4", "plots=false"),
    *("model.hidden_layer_one=32", "model.hidden_layer_two=16", "training.epochs=6"),
)
LONG = (*NETWORK[:-1], "training.epochs=40")
FOREST = ("data=wine", "model=random_forest", "search.n_iter=6", "model.n_estimators=300")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def outcome(directory: Path) -> dict[str, Any]:
    """All that must not depend on where fits ran, or how often they were interrupted."""
    result = json.loads((directory / "result.json").read_text())
    for key in ("timing", "environment", "overrides"):
        del result[key]
    del result["trials"]["n_restored"]
    with (directory / "trials.csv").open() as file:
        rows = [
            {k: v for k, v in row.items() if k != "mean_fit_time"} for row in csv.DictReader(file)
        ]
    return {"result": result, "trials": rows, "best": (directory / "best.overrides").read_text()}


def only(folder: Path) -> Path:
    (directory,) = folder.glob("outputs/runs/*/*")
    return directory


def record_of(folder: Path) -> str:
    texts = [path.read_text() for path in folder.glob("outputs/runs/*/*/fits.jsonl")]
    return "".join(texts)


def finished(*arguments: str, cwd: Path) -> Path:
    """Run to the end in a new folder, and return the run's directory."""
    cwd.mkdir(parents=True, exist_ok=True)
    done = run_command(*arguments, cwd=cwd)
    assert done.code == 0, done.err
    assert_quiet(done.err)
    return only(cwd)


def assert_quiet(said: str) -> None:
    """Nothing of a cluster's own is on the terminal."""
    noise = re.compile(r"distributed\.|Traceback|raylet|tornado|nanny|dashboard|Warning", re.I)
    assert not noise.search(said), said


def working(pid: int, mark: bytes) -> list[int]:
    """Descendants of a process whose command line has `mark` in it."""
    found = []
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if mark in Path("/proc", str(child), "cmdline").read_bytes():
                found.append(child)
    return found


MARKS = {"dask": b"runner.clusters.dask_worker", "ray": b"ray::_Actor"}


@contextlib.contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    cwd.mkdir(parents=True, exist_ok=True)
    process = start_command(*arguments, cwd=cwd, keeps_output=True)
    try:
        yield process
    finally:
        for pid in alive([process.pid, *descendants(process.pid)]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


# Clusters that run already ------------------------------------------------------------------------


class Processes:
    """Processes of a cluster, started for a test and ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{module}-{len(self._running)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def end(self) -> None:
        for process in self._running:
            for pid in alive([process.pid, *descendants(process.pid)]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    running = Processes(folder)
    try:
        yield running
    finally:
        running.end()


def start_scheduler(processes: Processes, port: int) -> subprocess.Popen[bytes]:
    where = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    return processes.start("distributed.cli.dask_scheduler", *where)


def start_workers(
    processes: Processes, port: int, n: int = 2, *more: str, **environment: str
) -> subprocess.Popen[bytes]:
    size = ("--nworkers", str(n), "--nthreads", "1", "--memory-limit", "3GB", "--no-dashboard")
    address = f"tcp://127.0.0.1:{port}"
    return processes.start("distributed.cli.dask_worker", address, *size, *more, **environment)


def start_dask(processes: Processes, *more: str, **environment: str) -> str:
    port = free_port()
    start_scheduler(processes, port)
    start_workers(processes, port, 2, *more, **environment)
    return f"tcp://127.0.0.1:{port}"


def start_ray(processes: Processes) -> str:
    port, client_port = free_port(), free_port()
    head = ("start", "--head", "--port", str(port), "--ray-client-server-port", str(client_port))
    limits = (
        "--num-cpus",
        "2",
        "--include-dashboard",
        "false",
        "--object-store-memory",
        "200000000",
    )
    temporary = f"/tmp/rt-{os.getpid()}-{client_port}"
    processes.start(
        "ray.scripts.scripts",
        *(*head, *limits, "--temp-dir", temporary, "--block", "--disable-usage-stats"),
    )
    wait_until(lambda: answers(client_port), "ray's client server")
    return f"ray://127.0.0.1:{client_port}"


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cluster(backend: str, processes: Processes) -> tuple[str, str]:
    """Overrides for a cluster that runs already, of two workers."""
    if backend == "ray":
        pytest.importorskip("ray")
    address = start_dask(processes) if backend == "dask" else start_ray(processes)
    return f"compute={backend}", f"compute.address={address}"


def own(backend: str) -> tuple[str, str]:
    if backend == "ray":
        pytest.importorskip("ray")
    return f"compute={backend}", "compute.n_jobs=2"


# What is refused ----------------------------------------------------------------------------------


def test_what_can_not_work_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    lines = {
        "nobody": ["compute=dask", f"compute.address={address}"],
        "nobody at ray's": ["compute=ray", f"compute.address=ray://127.0.0.1:{port}"],
        "form": ["compute=dask", "compute.address=localhost:8786"],
        "scheme": ["compute=ray", f"compute.address={address}"],
        "side by side": ["-m", "compute=dask", "hydra/launcher=joblib", "seed=0,1"],
        "unknown": ["compute=dsak"],
        "no gpu": ["compute.device=gpu"],
    }
    data = ("data=iris", "model=mlp")
    found = attempt_all({name: [*line, *data] for name, line in lines.items()}, tmp_path)
    expected = {
        "nobody": f"compute.address: nothing answers at {address}: Connection refused",
        "nobody at ray's": f"compute.address: nothing answers at ray://127.0.0.1:{port}",
        "form": "compute.address: must look like tcp://HOST:8786, got 'localhost:8786'",
        "scheme": "compute.address: must look like ray://HOST:10001",
        "side by side": "compute.address: jobs side by side would start a dask cluster each",
        "unknown": "did you mean 'dask'",
        "no gpu": "compute.device: there is no GPU here",
    }
    for name, problem in expected.items():
        assert found[name].code == 2, (name, found[name])
        (line,) = found[name].err.splitlines()
        assert problem in line, name
        assert not found[name].imported, name
        assert not found[name].left_behind, name


def test_a_cluster_that_only_a_file_names_is_not_trusted(tmp_path: Path) -> None:
    options = tmp_path / "conf" / "compute"
    options.mkdir(parents=True)
    address = f"tcp://127.0.0.1:{free_port()}"
    (options / "lab.yaml").write_text(f"# The lab's.\ndefaults: [dask]\naddress: {address}\n")
    line = {"run": ["data=iris", "model=svm", "compute=lab"]}
    refused = attempt_all(line, tmp_path)["run"]
    assert f"compute.address: '{address}' was not named by you" in refused.err
    (tmp_path / "pyproject.toml").write_text(f'[tool.runner]\nclusters = ["{address}"]\n')
    assert f"nothing answers at {address}" in attempt_all(line, tmp_path)["run"].err


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_missing_package_is_named_by_its_extra(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.clusters.connections import check_compute
    from runner.config.schema import Compute
    from runner.errors import RequestError

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=rf"pip install 'runner\[{backend}\]'"):
        check_compute(Compute(backend=backend), tmp_path)


@pytest.mark.slow
def test_workers_that_would_give_other_numbers_are_refused(
    tmp_path: Path, processes: Processes
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    (older / "sitecustomize.py").write_text(
        "from importlib import metadata\n"
        "actual = metadata.version\n"
        "metadata.version = lambda name: '1.26.4' if name == 'numpy' else actual(name)\n"
    )
    address = start_dask(processes, PYTHONPATH=str(older))
    done = run_command(*LEARNER, "compute=dask", f"compute.address={address}", cwd=tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    pattern = r"worker tcp://\S+ \(and 1 more of 2 workers\) has numpy 1\.26\.4 in place of 2\.\d"
    assert re.search(pattern, line), line
    assert not done.directories
    assert not done.imported


@pytest.mark.slow
def test_workers_with_several_tasks_in_a_process_are_refused(
    tmp_path: Path, processes: Processes
) -> None:
    port = free_port()
    start_scheduler(processes, port)
    processes.start("distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--nthreads", "4")
    address = f"compute.address=tcp://127.0.0.1:{port}"
    done = run_command(*LEARNER, "compute=dask", address, cwd=tmp_path)
    assert done.code == 2
    assert "start it with --nthreads 1 --nworkers 4" in done.err
    assert not done.directories


@pytest.mark.slow
def test_a_scheduler_without_workers_is_refused(tmp_path: Path, processes: Processes) -> None:
    port = free_port()
    start_scheduler(processes, port)
    wait_until(lambda: answers(port), "the scheduler")
    address = f"compute.address=tcp://127.0.0.1:{port}"
    began = time.monotonic()
    done = run_command(*LEARNER, "compute=dask", address, cwd=tmp_path)
    assert done.code == 2
    assert "has no workers" in done.err
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_workers_with_other_files_are_refused(tmp_path: Path, processes: Processes) -> None:
    """They see another folder under the same name, as on another machine."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs root, for a file system of one's own")
    port = free_port()
    start_scheduler(processes, port)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}"]
    script = f"mount -t tmpfs tmpfs {folder} && exec {' '.join(worker)} --nthreads 1 --no-dashboard"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            address = f"compute.address=tcp://127.0.0.1:{port}"
            done = run_command(*LEARNER, "compute=dask", address, cwd=folder)
        finally:
            for pid in alive([process.pid, *descendants(process.pid)]):
                os.kill(pid, signal.SIGKILL)
    assert done.code == 2, done.err
    assert "does not see this machine's" in done.err
    assert not done.directories


# The same numbers ---------------------------------------------------------------------------------


def test_a_search_on_dask_gives_the_same_numbers(tmp_path: Path) -> None:
    here = finished(*LEARNER, "compute.n_jobs=1", cwd=tmp_path / "local")
    there = finished(*LEARNER, *own("dask"), cwd=tmp_path / "dask")
    assert outcome(here) == outcome(there)


@pytest.fixture(scope="module")
def on_this_machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs in one process, to compare with."""
    made = {}
    for name, request in (("network", NETWORK), ("long", LONG), ("forest", FOREST)):
        folder = tmp_path_factory.mktemp(name)
        made[name] = finished(*request, "compute.n_jobs=1", cwd=folder)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["local", "dask", "ray"])
def test_networks_score_the_same_everywhere(
    backend: str, on_this_machine: dict[str, Path], tmp_path: Path
) -> None:
    run = finished(*NETWORK, *own(backend), cwd=tmp_path)
    assert outcome(run) == outcome(on_this_machine["network"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_networks_score_the_same_on_a_cluster_that_runs_already(
    backend: str, on_this_machine: dict[str, Path], processes: Processes, tmp_path: Path
) -> None:
    where = cluster(backend, processes)
    run = finished(*NETWORK, *where, cwd=tmp_path / "first")
    assert outcome(run) == outcome(on_this_machine["network"])
    # It is still there, for a run of another kind.
    again = finished(*FOREST, *where, cwd=tmp_path / "second")
    assert outcome(again) == outcome(on_this_machine["forest"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_one_worker_is_enough(backend: str, tmp_path: Path) -> None:
    here = finished(*LEARNER, "compute.n_jobs=1", cwd=tmp_path / "local")
    compute = (f"compute={backend}", "compute.n_jobs=1")
    there = finished(*LEARNER, *compute, cwd=tmp_path / "there")
    assert outcome(here) == outcome(there)


@pytest.mark.slow
@pytest.mark.parametrize("search", ["halving", "optuna", "grid"])
def test_every_search_works_on_a_cluster(search: str, tmp_path: Path) -> None:
    space = ("space=none", "space.model.C=[0.1,1.0,10.0]")
    request = ("data=iris", "model=logistic_regression", f"search={search}", *space)
    if search == "halving":
        request = (*NETWORK, "search=halving", "training.epochs=9")
    if search == "optuna":
        request = (*request, "search/pruner=median", "search.n_iter=4")
    here = finished(*request, "compute.n_jobs=1", cwd=tmp_path / "local")
    there = finished(*request, *own("dask"), cwd=tmp_path / "dask")
    assert outcome(here) == outcome(there)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_threads_of_a_fit_are_as_configured(backend: str, tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(
        "import keras, tensorflow as tf\n"
        "def asking(meta):\n"
        "    n = tf.config.threading.get_intra_op_parallelism_threads()\n"
        "    open(f'threads-{n}', 'w').close()\n"
        "    return keras.Sequential([keras.Input(meta['X_shape_'][1:]),"
        " keras.layers.Dense(3, 'softmax')])\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "asking.yaml").write_text("_target_: asking.asking\n")
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nallow = ["asking.*"]\n')
    request = ("data=iris", "model=asking", "search=none", "training.epochs=1")
    finished(*request, f"compute={backend}", "compute.threads=2", "compute.n_jobs=1", cwd=tmp_path)
    assert {path.name for path in tmp_path.glob("threads-*")} == {"threads-2"}


# Deaths -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_killed_worker_costs_its_fit_only(
    backend: str, on_this_machine: dict[str, Path], tmp_path: Path
) -> None:
    with started(*LONG, *own(backend), cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit")
        os.kill(working(process.pid, MARKS[backend])[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out.decode()
    assert b"a worker died, its fit is done again" in out
    assert_quiet(out.decode())
    assert outcome(only(tmp_path)) == outcome(on_this_machine["long"])
    # One fit was begun twice, and none was done twice.
    record = record_of(tmp_path)
    assert record.count('"started"') == record.count('"completed"') + 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_killed_worker_of_a_cluster_that_runs_already(
    backend: str, on_this_machine: dict[str, Path], processes: Processes, tmp_path: Path
) -> None:
    where = cluster(backend, processes)
    with started(*LONG, *where, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit")
        os.kill(fit_processes(processes, backend)[0], signal.SIGKILL)
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out.decode()
    assert outcome(only(tmp_path)) == outcome(on_this_machine["long"])


def fit_processes(processes: Processes, backend: str) -> list[int]:
    """Processes of a cluster that have TensorFlow loaded."""
    found = []
    for process in processes._running:
        for child in descendants(process.pid):
            with contextlib.suppress(OSError):
                if "libtensorflow" in Path("/proc", str(child), "maps").read_text():
                    found.append(child)
    return found


DEADLY = '''
import os, signal
from sklearn.linear_model import LogisticRegression

class Deadly(LogisticRegression):
    """Kills its process, where asked to."""

    def __init__(self, C=1.0, deadly=False):
        super().__init__(C=C, max_iter=500)
        self.deadly = deadly

    def fit(self, X, y):
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)
'''


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_fit_that_kills_its_worker_fails_alone(backend: str, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "deadly.yaml").write_text(
        "_target_: deadly.Deadly\nC: 1.0\ndeadly: false\n"
    )
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nallow = ["deadly.*"]\n')
    space = ("space=none", "space.model.deadly=[false,true]", "search=grid", "cv.n_splits=2")
    request = ("data=iris", "model=deadly", *space, *own(backend))
    done = run_command(*request, cwd=tmp_path)
    assert done.code == 0, done.err
    with (done.directory / "trials.csv").open() as file:
        statuses = {row["model.deadly"]: row["status"] for row in csv.DictReader(file)}
    assert statuses == {"False": "completed", "True": "failed"}
    assert "its worker process died" in (done.directory / "run.log").read_text()


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_clearly(
    on_this_machine: dict[str, Path], processes: Processes, tmp_path: Path
) -> None:
    port = free_port()
    scheduler = start_scheduler(processes, port)
    start_workers(processes, port)
    address = f"compute.address=tcp://127.0.0.1:{port}"
    with started(*LONG, "compute=dask", address, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit")
        scheduler.kill()
        out, _ = process.communicate(timeout=150)
    last = out.decode().splitlines()[-1]
    assert process.returncode == 1, out.decode()
    assert_quiet(out.decode())
    directory = only(tmp_path)
    assert last.endswith(f"go on with: python -m runner resume {directory.relative_to(tmp_path)}")
    assert f"tcp://127.0.0.1:{port}" in last
    refused = run_command("resume", str(directory), cwd=tmp_path)
    assert refused.code == 2
    assert "was not named by you" in refused.err
    resumed = run_command("resume", str(directory), "compute=local", cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert json.loads((directory / "result.json").read_text())["trials"]["n_restored"] >= 4
    assert outcome(directory) == outcome(on_this_machine["long"])


@pytest.mark.slow
def test_a_scheduler_that_comes_back_is_used_again(
    on_this_machine: dict[str, Path], processes: Processes, tmp_path: Path
) -> None:
    port = free_port()
    scheduler = start_scheduler(processes, port)
    start_workers(processes, port)
    address = f"compute.address=tcp://127.0.0.1:{port}"
    with started(*LONG, "compute=dask", address, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit")
        scheduler.kill()
        scheduler.wait()
        start_scheduler(processes, port)
        start_workers(processes, port)
        out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out.decode()
    assert_quiet(out.decode())
    assert outcome(only(tmp_path)) == outcome(on_this_machine["long"])


@pytest.mark.slow
def test_a_ray_that_dies_ends_the_run_clearly(
    on_this_machine: dict[str, Path], processes: Processes, tmp_path: Path
) -> None:
    where = cluster("ray", processes)
    with started(*LONG, *where, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 4, "the fourth fit")
        processes.end()
        out, _ = process.communicate(timeout=150)
    assert process.returncode == 1, out.decode()
    directory = only(tmp_path)
    last = out.decode().splitlines()[-1]
    assert last.endswith(f"go on with: python -m runner resume {directory.relative_to(tmp_path)}")
    resumed = run_command("resume", str(directory), *own("dask"), cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert outcome(directory) == outcome(on_this_machine["long"])


# Interrupts ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_was_started(
    backend: str, sent: signal.Signals, on_this_machine: dict[str, Path], tmp_path: Path
) -> None:
    with started(*LONG, *own(backend), cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 2, "the second fit")
        started_by_it = descendants(process.pid)
        at = time.monotonic()
        process.send_signal(sent)
        out, _ = process.communicate(timeout=30)
    assert time.monotonic() - at < 5
    assert process.returncode == 130, out.decode()
    assert_quiet(out.decode())
    directory = only(tmp_path)
    hint = f"interrupted; go on with: python -m runner resume {directory.relative_to(tmp_path)}"
    assert out.decode().splitlines()[-1] == hint
    wait_until(lambda: not alive(started_by_it), "the end of its processes", seconds=10)
    resumed = run_command("resume", str(directory), "compute=local", cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert outcome(directory) == outcome(on_this_machine["long"])


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_on_a_cluster_of_others_only_the_runs_own_fits_end(
    sent: signal.Signals, processes: Processes, tmp_path: Path
) -> None:
    """Fits would take minutes; nobody waits for them any more."""
    address = start_dask(processes)
    long = (*NETWORK[:-1], "training.epochs=100000", "search=none")
    where = ("compute=dask", f"compute.address={address}")
    with started(*long, *where, cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"started"') >= 2, "the first fits")
        busy = fit_processes(processes, "dask")
        assert len(busy) == 2
        time.sleep(3)
        process.send_signal(sent)
        process.communicate(timeout=30)
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        wait_until(lambda: not any(client.processing().values()), "the end of the fits", 30)
        idle = [client.submit(os.getpid, pure=False) for _ in range(2)]
        assert {future.result(timeout=30) for future in idle} <= set(busy)
    assert alive(busy) == busy
    assert record_of(tmp_path).count('"completed"') == 0


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_killed_run_leaves_no_process(backend: str, tmp_path: Path) -> None:
    with started(*LONG, *own(backend), cwd=tmp_path) as process:
        wait_until(lambda: record_of(tmp_path).count('"completed"') >= 2, "the second fit")
        left = descendants(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not alive(left), "the end of its processes", seconds=30)


# Sweeps -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_on_a_cluster(launcher: str, processes: Processes, tmp_path: Path) -> None:
    request = ("-m", "data=iris", "model=logistic_regression,svm", "search.n_iter=2")
    found = []
    address = start_dask(processes)
    for name, where in (
        ("local", ("compute.n_jobs=1",)),
        ("dask", ("compute=dask", f"compute.address={address}", f"hydra/launcher={launcher}")),
    ):
        (tmp_path / name).mkdir()
        done = run_command(*request, *where, cwd=tmp_path / name)
        assert done.code == 0, done.err
        found.append([outcome(job) for job in jobs_of(tmp_path / name)])
    assert found[0] == found[1]
    assert len(found[0]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_jobs_of_a_sweep_share_a_cluster_of_its_own(backend: str, tmp_path: Path) -> None:
    request = ("-m", "data=iris", "model=logistic_regression,svm", "search.n_iter=2")
    done = run_command(*request, *own(backend), cwd=tmp_path)
    assert done.code == 0, done.err
    assert_quiet(done.err)
    assert len(jobs_of(tmp_path)) == 2


def jobs_of(folder: Path) -> Sequence[Path]:
    return sorted(path.parent for path in folder.glob("outputs/sweeps/*/*/*/result.json"))
