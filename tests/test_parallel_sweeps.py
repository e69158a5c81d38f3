"""Jobs of a sweep side by side: the same numbers, no more at work than cores, nothing left over."""

from __future__ import annotations

import json
import signal
import statistics
import time
from pathlib import Path

import pytest
from command import CompletedRun, run_command, sweep_of
from processes import alive, busy_threads, descendants, started, wait_until
from sweeping import outcome, write_troubled

from runner.compute import n_cores
from runner.config.compose import compose_config
from runner.errors import RequestError
from runner.sweeps.launchers.joblib import jobs_at_once

PARALLEL = "hydra/launcher=joblib"
REQUEST = (
    *("-m", "data=iris", "model=logistic_regression,cnn,svm", "search=none"),
    "plots=false",
)
FORESTS = (
    *("-m", "data=wine", "model=random_forest", "seed=0,1,2,3", "search.n_iter=4"),
    "plots=false",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_troubled(tmp_path)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CompletedRun]:
    """The same sweep with jobs one after the other, and side by side."""
    done = {}
    for name, more in (("basic", ()), ("joblib", (PARALLEL,))):
        cwd = tmp_path_factory.mktemp(name)
        done[name] = run_command(*REQUEST, "compute.n_jobs=1", *more, cwd=cwd)
    return done


def test_side_by_side_scores_as_one_after_the_other(both: dict[str, CompletedRun]) -> None:
    assert outcome(both["joblib"].cwd) == outcome(both["basic"].cwd)
    statuses = [job["status"] for job in outcome(both["joblib"].cwd)]
    assert statuses == ["completed", "failed", "completed"]


def test_side_by_side_a_job_fails_alone_and_progress_is_told(both: dict[str, CompletedRun]) -> None:
    done = both["joblib"]
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("job 1 failed: ")
    assert "Traceback" not in done.err
    for number in (0, 2):
        assert f"job {number}: CV 0." in done.err
    assert f"{min(n_cores(), 3)} jobs at once" in done.err


@pytest.mark.parametrize(
    ("overrides", "cores_each"),
    [
        ((), 1),
        (("compute.threads=2",), 2),
        (("compute.n_jobs=2",), 2),
        (("hydra.launcher.n_jobs=1000",), 1),
        (("compute.n_jobs=-1",), 1),
    ],
)
def test_no_more_jobs_at_once_than_there_are_cores_for(
    overrides: tuple[str, ...], cores_each: int
) -> None:
    config = compose_config(["hydra/launcher=joblib", *overrides])
    assert jobs_at_once(config) == max(1, n_cores() // cores_each)


def test_number_of_jobs_at_once_is_checked() -> None:
    with pytest.raises(RequestError, match="must be 'auto' or a positive number, got 0"):
        jobs_at_once(compose_config(["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"]))


@pytest.mark.slow
def test_what_may_be_made_is_decided_in_workers_too(folder: Path) -> None:
    request = ("-m", "data=iris", "search=none", PARALLEL)
    done = run_command(*request, "model=evil,troubled", cwd=folder)
    assert done.code == 1
    failed, completed = outcome(folder)
    assert "'os.getcwd' is not allowed" in failed["error"]
    assert completed["status"] == "completed"
    again = run_command(*request, "model=troubled", "model.trouble=makes", cwd=folder)
    assert again.code == 0, again.err
    assert (folder / "refused").exists()
    assert not (folder / "made").exists()


@pytest.mark.slow
def test_a_job_whose_process_dies_fails_alone(folder: Path) -> None:
    request = ("-m", "data=iris", "search=none", "model=troubled", PARALLEL)
    done = run_command(*request, "model.trouble=none,dies,none,sleeps", cwd=folder)
    assert done.code == 1
    jobs = outcome(folder)
    assert [job["status"] for job in jobs] == ["completed", "failed", "completed", "completed"]
    assert "its process died twice" in jobs[1]["error"]
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_killed_it_leaves_no_process_and_goes_on_as_if_it_never_had_been(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    with started(*FORESTS, PARALLEL, cwd=killed) as process:
        wait_until(lambda: list(killed.glob("outputs/sweeps/*/*/0/result.json")), "job 0")
        workers = descendants(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not alive(workers), "the end of the workers", 5)
    before = (sweep_of(killed) / "0" / "result.json").stat().st_mtime_ns
    resumed = run_command("resume", str(sweep_of(killed)), cwd=killed)
    assert resumed.code == 0, resumed.err
    assert (sweep_of(killed) / "0" / "result.json").stat().st_mtime_ns == before
    assert run_command(*FORESTS, "compute.n_jobs=1", cwd=whole).code == 0
    assert outcome(killed) == outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_its_workers_and_says_how_to_go_on(
    sent: signal.Signals, tmp_path: Path
) -> None:
    with started(*FORESTS, PARALLEL, cwd=tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.glob("outputs/sweeps/*/*/*/fits.jsonl"))) >= 2, "fits")
        workers = descendants(process.pid)
        process.send_signal(sent)
        assert process.wait(timeout=5) == 130
        assert process.stdout is not None
        said = process.stdout.read().decode()
        wait_until(lambda: not alive(workers), "the end of the workers", 3)
    assert said.count("interrupted; go on with: python -m runner resume outputs/sweeps/") == 1
    assert "Traceback" not in said
    record = json.loads((sweep_of(tmp_path) / "sweep.json").read_text())
    assert record["status"] == "interrupted"
    assert "interrupted" in {job["status"] for job in record["jobs"]}


@pytest.mark.slow
def test_optuna_proposes_the_same_to_either_launcher(tmp_path: Path) -> None:
    study = ("-m", "hydra/sweeper=optuna", "data=iris", "model=choice(logistic_regression,svm)")
    request = (*study, "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2")
    outcomes = []
    for name, launcher in (("basic", "hydra/launcher=basic"), ("joblib", PARALLEL)):
        (tmp_path / name).mkdir()
        done = run_command(*request, launcher, cwd=tmp_path / name)
        assert done.code == 0, done.err
        outcomes.append(outcome(tmp_path / name))
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
def test_networks_side_by_side_run_no_more_threads_than_cores(tmp_path: Path) -> None:
    network = ("data=digits", "model=mlp", "training.epochs=2000", "model.hidden_layer_one=128")
    request = ("-m", *network, "search=none", f"seed=range({n_cores()})", PARALLEL)
    with started(*request, cwd=tmp_path) as process:
        wait_until(
            lambda: len(list(tmp_path.glob("outputs/sweeps/*/*/*/fits.jsonl"))) == n_cores(), "fits"
        )
        # In the first seconds models are still built and traced.
        pids = [process.pid, *descendants(process.pid)]
        busy = [busy_threads(pids, seconds=2) for _ in range(7)]
        assert process.poll() is None
    assert statistics.median(busy) == n_cores()


@pytest.mark.slow
def test_a_job_with_more_than_one_core_starts_workers_of_its_own(tmp_path: Path) -> None:
    if n_cores() < 2:
        pytest.skip("needs two cores")
    request = ("-m", "data=wine", "model=random_forest", "seed=0,1", "search.n_iter=4", PARALLEL)
    alone = ("hydra.launcher.n_jobs=1", "compute.n_jobs=2", "model.n_estimators=400")
    with started(*request, *alone, cwd=tmp_path) as process:
        wait_until(lambda: list(tmp_path.glob("outputs/sweeps/*/*/*/fits.jsonl")), "fits")
        time.sleep(1)
        (job, *_) = [pid for pid in descendants(process.pid) if len(descendants(pid)) >= 2]
        assert job
        assert process.wait(timeout=100) == 0
