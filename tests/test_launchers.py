"""What every launcher owes a sweep, wherever it runs the jobs; and what each refuses beforehand."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Once, commands_of, refusal, run_command, sweep_of
from hypothesis import given
from hypothesis import strategies as st
from processes import alive, descendants, started, wait_until
from slurm import is_installed, slurm_cluster
from sweeping import outcome, statuses, write_troubled

from runner.compute import n_cores
from runner.config.compose import compose_config
from runner.errors import RequestError
from runner.sweeps.launchers.base import cores_of_job
from runner.sweeps.launchers.process import python_command
from runner.sweeps.launchers.slurm import SlurmLauncher
from runner.sweeps.launchers.slurm_queue import GONE, State, ask_states, read_states

PLACES = ("joblib", "submitit_local", "submitit_slurm", "ray")
PACKAGES = {"submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
DIGITS = (
    *("-m", "data=digits", "data.limit=300", "model=mlp", "seed=0,1"),
    *("model.hidden_layer_one=16,32", "training.epochs=2", "search.n_iter=2", "plots=false"),
)
FORESTS = (
    *("-m", "data=wine", "model=random_forest", "seed=0,1,2,3", "search.n_iter=4", "plots=false"),
)


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    if not is_installed():
        pytest.skip("SLURM is not installed")
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm_cluster(Path(folder)) as env:
        yield env


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The override that chooses a launcher, with whatever it needs at hand."""
    name = str(request.param)
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    if name == "submitit_slurm":
        for variable, value in request.getfixturevalue("cluster").items():
            monkeypatch.setenv(variable, value)
    return f"hydra/launcher={name}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_troubled(tmp_path)


def winner(folder: Path) -> Any:
    return json.loads((sweep_of(folder) / "sweep.json").read_text())["winner"]


def of_basic(once: Once, name: str, *request: str) -> Path:
    """A folder in which a sweep was run by Hydra's own launcher, one job after the other."""

    def run(folder: Path) -> None:
        done = run_command(*request, "compute.n_jobs=1", cwd=folder)
        assert done.code == 0, done.err

    return once(name, run)


def test_each_job_is_a_process_and_scores_as_one_after_the_other(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    request = ("-m", "data=iris", "model=logistic_regression,cnn", "search=none", "plots=false")
    done = run_command(*request, "hydra/launcher=submitit_local", cwd=tmp_path)
    assert done.code == 1
    assert "job 0: CV 0." in done.err
    assert done.err.splitlines()[-1].startswith("job 1 failed: ")
    assert "Traceback" not in done.err
    assert statuses(tmp_path) == ["completed", "failed"]


@pytest.mark.slow
def test_scores_are_those_of_jobs_one_after_the_other(
    place: str, tmp_path: Path, once: Once
) -> None:
    whole = of_basic(once, "digits", *DIGITS)
    done = run_command(*DIGITS, place, cwd=tmp_path, timeout_s=600)
    assert done.code == 0, done.err
    assert len(outcome(tmp_path)) == 4
    assert outcome(tmp_path) == outcome(whole)
    assert winner(tmp_path) == winner(whole)
    for number in range(4):
        assert f"job {number}: CV 0." in done.err
    assert not [path for path in sweep_of(tmp_path).rglob("*") if path.is_symlink()]


@pytest.mark.slow
def test_finished_jobs_are_not_handed_on_when_resumed(place: str, tmp_path: Path) -> None:
    request = ("-m", "data=iris", "model=logistic_regression", "seed=0,1", "search=none")
    assert run_command(*request, place, cwd=tmp_path).code == 0
    before = {path: path.stat().st_mtime_ns for path in sweep_of(tmp_path).glob("[01]/*")}
    done = run_command("resume", str(sweep_of(tmp_path)), cwd=tmp_path)
    assert done.code == 0, done.err
    assert "2 of 2 jobs are finished already" in done.err
    assert {path: path.stat().st_mtime_ns for path in sweep_of(tmp_path).glob("[01]/*")} == before


@pytest.mark.slow
def test_a_job_that_dies_or_raises_fails_alone(place: str, folder: Path) -> None:
    request = ("-m", "data=iris", "search=none", "model=troubled,cnn", place)
    done = run_command(*request, "model.trouble=none,dies", cwd=folder, timeout_s=400)
    assert done.code == 1
    assert statuses(folder) == ["completed", "failed", "failed", "failed"]
    assert "Traceback" not in done.err
    assert sum(line.startswith("job ") for line in done.err.splitlines()[-3:]) == 3
    assert "job 1 failed: ExperimentError: " in done.err


@pytest.mark.slow
def test_what_may_be_made_is_decided_there_too(place: str, tmp_path: Path) -> None:
    """The user's own word is in the environment only, as it is where modules are on PYTHONPATH."""
    write_troubled(tmp_path, allowed=False)
    request = ("-m", "data=iris", "search=none", "model=evil,troubled", "model.trouble=makes")
    allow = {"RUNNER_ALLOW": "troubled.*"}
    done = run_command(*request, place, cwd=tmp_path, env=allow, timeout_s=400)
    assert done.code == 1
    failed, completed = outcome(tmp_path)
    assert "'os.getcwd' is not allowed" in failed["error"]
    assert completed["status"] == "completed"
    assert (tmp_path / "refused").exists()
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_a_value_from_the_environment_is_written_nowhere(place: str, tmp_path: Path) -> None:
    request = ("-m", "data=iris", "search=none", "model=logistic_regression", "seed=0,1", place)
    named = "data.name=${oc.env:WORD}"
    env = {"WORD": "correct-horse-battery"}
    done = run_command(*request, named, cwd=tmp_path, env=env, timeout_s=400)
    assert done.code == 0, done.err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"correct-horse-battery" not in path.read_bytes(), path


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_as_if_it_never_had_been(
    place: str, tmp_path: Path, once: Once
) -> None:
    whole = of_basic(once, "forests", *FORESTS)
    with started(*FORESTS, place, cwd=tmp_path) as process:
        wait_until(lambda: list(tmp_path.glob("outputs/sweeps/*/*/0/result.json")), "job 0", 300)
        process.kill()
        process.wait()
    before = (sweep_of(tmp_path) / "0" / "result.json").stat().st_mtime_ns
    resumed = run_command("resume", str(sweep_of(tmp_path)), cwd=tmp_path, timeout_s=400)
    assert resumed.code == 0, resumed.err
    assert (sweep_of(tmp_path) / "0" / "result.json").stat().st_mtime_ns == before
    assert outcome(tmp_path) == outcome(whole)
    assert winner(tmp_path) == winner(whole)


@pytest.mark.slow
def test_what_began_with_one_launcher_goes_on_with_another(tmp_path: Path, once: Once) -> None:
    pytest.importorskip("submitit")
    whole = of_basic(once, "forests", *FORESTS)
    first = ("hydra/launcher=submitit_local", "hydra.launcher.mem_gb=8")
    with started(*FORESTS, *first, cwd=tmp_path) as process:
        wait_until(lambda: list(tmp_path.glob("outputs/sweeps/*/*/0/result.json")), "job 0", 300)
        process.kill()
        process.wait()
    changes = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1")
    resumed = run_command("resume", str(sweep_of(tmp_path)), *changes, cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert "1 jobs at once" in resumed.err
    assert outcome(tmp_path) == outcome(whole)


@pytest.mark.slow
def test_killed_it_leaves_no_process_on_this_machine(place: str, folder: Path) -> None:
    if place.endswith("slurm"):
        pytest.skip("there, jobs are SLURM's")
    request = ("-m", "data=iris", "search=none", "model=troubled", "model.C=2", place)
    with started(*request, "model.trouble=stalls,none", cwd=folder) as process:
        wait_until((folder / "stalled").exists, "the job's start", 300)
        below = descendants(process.pid)
        process.kill()
        process.wait()
        # Ray's own agents first try to tell a server that is gone, for a minute or so.
        wait_until(lambda: not alive(below), "the end of the processes", 200)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_the_jobs_and_says_how_to_go_on(
    place: str, sent: signal.Signals, folder: Path
) -> None:
    request = ("-m", "data=iris", "search=none", "model=troubled", "model.C=2", place)
    with started(*request, "model.trouble=stalls,none", cwd=folder) as process:
        wait_until((folder / "stalled").exists, "the job's start", 300)
        process.send_signal(sent)
        assert process.wait(timeout=20) == 130
        assert process.stdout is not None
        said = process.stdout.read().decode()
    assert said.count("interrupted; go on with: python -m runner resume outputs/sweeps/") == 1
    assert "Traceback" not in said
    state = sweep_of(folder) / "0" / "state.json"
    wait_until(lambda: json.loads(state.read_text())["status"] == "interrupted", "the note", 20)
    (folder / "go_on").touch()
    done = run_command("resume", str(sweep_of(folder)), cwd=folder, timeout_s=400)
    assert done.code == 0, done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["submitit_local", "ray"])
@pytest.mark.parametrize(
    ("limit", "trouble", "problem"),
    [
        ("timeout_min=1", "stalls", "took longer than 1 min (hydra.launcher.timeout_min)"),
        ("mem_gb=1.0", "grows", "took more than 1 GB of memory (hydra.launcher.mem_gb)"),
    ],
)
def test_a_job_that_takes_too_much_fails_alone_and_can_go_on(
    name: str, limit: str, trouble: str, problem: str, folder: Path
) -> None:
    pytest.importorskip(PACKAGES[name])
    request = ("-m", "data=iris", "search=none", "model=troubled", f"hydra/launcher={name}")
    more = ("model.C=2", f"model.trouble={trouble},none", f"hydra.launcher.{limit}")
    done = run_command(*request, *more, cwd=folder)
    assert done.code == 1
    assert statuses(folder) == ["failed", "completed"]
    assert problem in outcome(folder)[0]["error"]
    (folder / "go_on").touch()
    assert run_command("resume", str(sweep_of(folder)), cwd=folder).code == 0
    assert statuses(folder) == ["completed", "completed"]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_missing_is_named_with_its_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    missing = PACKAGES[name]
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name)
    )
    said = refusal("-m", "data=iris", "seed=0,1", f"hydra/launcher={name}", cwd=tmp_path)
    assert said == f"hydra/launcher: {name} needs {missing}: pip install 'runner[{missing}]'"
    assert not list(tmp_path.iterdir())


def test_slurm_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    said = refusal("-m", "data=iris", "seed=0,1", "hydra/launcher=submitit_slurm", cwd=tmp_path)
    assert "there is no 'sbatch' on the PATH" in said


@pytest.mark.parametrize(
    ("launcher", "override", "said"),
    [
        ("submitit_slurm", "+hydra.launcher.setup=[reboot]", "takes no 'setup'"),
        ("submitit_slurm", "+hydra.launcher.python=evil", "takes no 'python'"),
        (
            "submitit_slurm",
            "hydra.launcher.partition='a b'",
            "partition: must be of letters, digits and _.,",
        ),
        ("submitit_slurm", "hydra.launcher.account='$(reboot)'", "hydra.launcher.account: "),
        ("submitit_slurm", "hydra.launcher.qos='a\nreboot'", "hydra.launcher.qos: "),
        ("submitit_slurm", "hydra.job.name='a\nreboot'", "hydra.job.name: must have no line"),
        ("submitit_slurm", "hydra.sweep.dir='a\nreboot'", "hydra.sweep.dir: must have no line"),
        ("submitit_slurm", "hydra.launcher.timeout_min=0", "greater than or equal to 1, got 0"),
        (
            "submitit_slurm",
            "hydra.launcher.timeout_mn=1",
            "did you mean 'hydra.launcher.time",
        ),
        ("submitit_local", "hydra.launcher.mem_gb=-1", "greater than 0, got -1"),
        ("submitit_local", "hydra.launcher.cpus_per_task=4000", "asks for 4000 cores for each"),
        ("submitit_local", "compute.threads=4000", "asks for 4000 cores for each job"),
        ("ray", "hydra.launcher.ray.init.num_cpus=0", "ray.init.num_cpus: must be"),
        ("ray", "+hydra.launcher.ray.init.runtime_env={}", "ray.init.runtime_env: unknown key"),
        ("ray", "+hydra.launcher.ray.init.address=evil:1", "ray.init.address: unknown key"),
        ("ray", "hydra.launcher.cpus_per_task=4000", "asks for 4000 cores for each job"),
        ("joblib", "+hydra.launcher.backend=dask", "takes no 'backend'"),
    ],
)
def test_what_a_launcher_does_not_take_is_refused(
    launcher: str, override: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if launcher in PACKAGES:
        pytest.importorskip(PACKAGES[launcher])
    _fake_command(tmp_path, "sbatch", "exit 0", monkeypatch)
    work = tmp_path / "work"
    work.mkdir()
    line = ("-m", "data=iris", "seed=0,1", f"hydra/launcher={launcher}", override)
    assert said in refusal(*line, cwd=work)
    assert not list(work.iterdir())


def test_jobs_that_slurm_takes_not_are_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    script = 'echo "$@" > "$0.asked"; echo "sbatch: error: no such partition: fast" >&2; exit 1'
    _fake_command(tmp_path, "sbatch", script, monkeypatch)
    line = ("-m", "data=iris", "seed=0,1", "hydra/launcher=submitit_slurm", "compute.threads=3")
    more = ("hydra.launcher.partition=fast", "hydra.launcher.mem_gb=1.5")
    said = refusal(*line, *more, cwd=tmp_path)
    assert said == "hydra.launcher: SLURM takes no such jobs: no such partition: fast"
    asked = (tmp_path / "bin" / "sbatch.asked").read_text().split()
    expected = {"--time=240", "--mem=1500M", "--partition=fast", "--cpus-per-task=3", "--test-only"}
    assert expected <= set(asked)


def _fake_command(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_a_silent_scheduler_is_no_news_and_an_unknown_job_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_command(
        tmp_path, "squeue", 'echo "Unable to contact controller" >&2; exit 1', monkeypatch
    )
    assert ask_states(["7"]) is None
    unknown = 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1'
    _fake_command(tmp_path, "squeue", unknown, monkeypatch)
    assert ask_states(["7"]) == {}
    listed = 'echo "$@" > "$0.asked"; echo "7_0|RUNNING|None"; echo "7_1|TIMEOUT|TimeLimit"'
    _fake_command(tmp_path, "squeue", listed, monkeypatch)
    assert ask_states(["7_0", "7_1"]) == {
        "7_0": State("RUNNING"),
        "7_1": State("TIMEOUT", "TimeLimit"),
    }
    assert "--jobs=7" in (tmp_path / "bin" / "squeue.asked").read_text().split()


def test_which_states_are_the_last() -> None:
    over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")
    assert all(State(name).is_over for name in over)
    assert GONE.is_over
    assert not any(State(name).is_over for name in ("PENDING", "RUNNING", "REQUEUED", "COMPLETING"))


words = st.text("ABCXYZ_0123456789", min_size=1)


@given(st.dictionaries(words, st.tuples(words, words.filter(lambda reason: reason != "None"))))
def test_states_are_read_as_they_were_written(jobs: dict[str, tuple[str, str]]) -> None:
    said = "".join(f"{number}|{name}|{reason}\n" for number, (name, reason) in jobs.items())
    assert read_states(said) == {number: State(*told) for number, told in jobs.items()}


@given(st.text())
def test_whatever_a_queue_says_is_read(said: str) -> None:
    assert all(state.name for state in read_states(said).values())


def test_a_job_gets_the_cores_that_it_works_with() -> None:
    def cores(*overrides: str, asked: Any = "auto") -> int:
        return cores_of_job(compose_config(list(overrides)).compute, asked)

    assert cores() == 1
    assert cores("compute.threads=3") == 3
    assert cores("compute.threads=3", "compute.n_jobs=2") == 6
    assert cores("compute.threads=3", asked=2) == 2


@pytest.mark.slow
def test_jobs_in_processes_of_their_own_see_the_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Submitit tells them that there is none; here it is TensorFlow that finds none in the end."""
    pytest.importorskip("submitit")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: one'\necho 'GPU 1: two'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    request = ("data=iris", "model=mlp", "search=none", "seed=0,1", "compute.device=gpu")
    done = run_command("-m", *request, "hydra/launcher=submitit_local", cwd=tmp_path)
    assert done.code == 1
    for number in (0, 1):
        (state,) = tmp_path.glob(f"outputs/sweeps/*/*/{number}/result.json")
        assert "finds no GPU" in json.loads(state.read_text())["error"]["message"]


def test_jobs_look_for_modules_where_the_sweep_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the current folder stands in for a package only where ``python -m`` lets it."""
    (tmp_path / "submitit.py").write_text("raise SystemExit('from the folder')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])

    def says() -> str:
        command = [*shlex.split(python_command()), "-m", "submitit"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert "from the folder" not in says()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "from the folder" in says()


def test_the_configs_of_launchers_fit_their_constructors() -> None:
    from runner.sweeps.plugins import check_launcher

    for name in ("joblib", "submitit_local", "ray"):
        if name not in PACKAGES or importlib.util.find_spec(PACKAGES[name]):
            check_launcher(compose_config([f"hydra/launcher={name}"]))
    settings = compose_config(["hydra/launcher=submitit_slurm"]).hydra.launcher
    launcher = SlurmLauncher(**{key: settings[key] for key in settings if key != "_target_"})
    assert launcher.requests["mem"] == "4000M"


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    for line in commands_of("docs/launchers.md"):
        done = run_command(*line, cwd=tmp_path)
        assert done.code == 0, done.err


def test_no_launcher_asks_for_more_than_there_is() -> None:
    from runner.sweeps.launchers.base import check_fits_here

    check_fits_here("somewhere", n_cores())
    with pytest.raises(RequestError, match="somewhere: asks for"):
        check_fits_here("somewhere", n_cores() + 1)
