"""Sweeps on a real SLURM cluster of two nodes: cancelled jobs, limits, and a main that is lost."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Once, run_command, start_command, sweep_of
from processes import started, wait_until
from slurm import is_installed, slurm_cluster
from sweeping import outcome, statuses, write_troubled

pytestmark = pytest.mark.slow

SLURM = "hydra/launcher=submitit_slurm"
# Jobs 4 and 5 stall, one on each node, at the last of their candidates.
REQUEST = (
    *("-m", "data=iris", "model=troubled", "model.trouble=none,sleeps,stalls", "seed=0,1"),
    *(
        "search=grid",
        "space=none",
        "space.model.C=[0.5,1.0,2.0]",
        "compute.n_jobs=1",
        "plots=false",
    ),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    pytest.importorskip("submitit")
    if not is_installed():
        pytest.skip("SLURM is not installed")
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm_cluster(Path(folder)) as env:
        yield env


@pytest.fixture(autouse=True)
def environment(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_troubled(tmp_path)


@pytest.fixture
def whole(once: Once) -> Path:
    """The same sweep by Hydra's own launcher, with no trouble."""

    def run(folder: Path) -> None:
        write_troubled(folder)
        (folder / "go_on").touch()
        done = run_command(*REQUEST, cwd=folder, timeout_s=500)
        assert done.code == 0, done.err

    return once("troubled", run)


def queue() -> dict[str, str]:
    """States of the jobs in the queue, by id."""
    said = subprocess.run(
        ["squeue", "--array", "--noheader", "--format=%i|%T"],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("|") for line in said.stdout.split())


def fits_of(folder: Path, number: int) -> int:
    record = sweep_of(folder) / str(number) / "fits.jsonl"
    return record.read_bytes().count(b'"completed"') if record.exists() else 0


def only_stalled_jobs_are_left(folder: Path) -> bool:
    done = [(sweep_of(folder) / str(n) / "result.json").exists() for n in range(4)]
    return all(done) and all(fits_of(folder, n) for n in (4, 5)) and (folder / "stalled").exists()


def restored(folder: Path, number: int) -> int:
    result = json.loads((sweep_of(folder) / str(number) / "result.json").read_text())
    return int(result["trials"]["n_restored"])


def goes_on_as_if_nothing_had_been(folder: Path, whole: Path) -> None:
    fits = {number: fits_of(folder, number) for number in (4, 5)}
    assert all(fits.values())
    (folder / "go_on").touch()
    done = run_command("resume", str(sweep_of(folder)), cwd=folder, timeout_s=500)
    assert done.code == 0, done.err
    assert "4 of 6 jobs are finished already" in done.err
    assert outcome(folder) == outcome(whole)
    for number, n_fits in fits.items():
        assert restored(folder, number) >= n_fits


def test_cancelled_jobs_fail_alone_and_go_on_when_resumed(folder: Path, whole: Path) -> None:
    with started(*REQUEST, SLURM, cwd=folder) as process:
        wait_until(lambda: list(folder.glob("outputs/sweeps/*/*/*/state.json")), "jobs", 300)
        wait_until(lambda: only_stalled_jobs_are_left(folder), "the stalled jobs", 300)
        subprocess.run(["scancel", *queue()], check=True)
        assert process.wait(timeout=200) == 1
        assert process.stdout is not None
        said = process.stdout.read().decode()
    assert "Traceback" not in said
    last = said.splitlines()[-2:]
    assert all("was cancelled (SLURM job " in line for line in last), last
    assert statuses(folder) == [*["completed"] * 4, *["failed"] * 2]
    goes_on_as_if_nothing_had_been(folder, whole)


def test_jobs_that_reach_their_time_limit_fail_alone_and_go_on_when_resumed(
    folder: Path, whole: Path
) -> None:
    limit = "hydra.launcher.timeout_min=1"
    done = run_command(*REQUEST, SLURM, limit, cwd=folder, timeout_s=400)
    assert done.code == 1
    assert statuses(folder) == [*["completed"] * 4, *["failed"] * 2]
    for number in (4, 5):
        error = outcome(folder)[number]["error"]
        assert "took longer than its limit of 1 min (hydra.launcher.timeout_min)" in error
    goes_on_as_if_nothing_had_been(folder, whole)


def test_jobs_outlive_the_process_that_asked_for_them_and_are_waited_for(
    folder: Path, whole: Path
) -> None:
    with started(*REQUEST, SLURM, cwd=folder) as process:
        wait_until(lambda: list(folder.glob("outputs/sweeps/*/*/*/state.json")), "jobs", 300)
        wait_until(lambda: only_stalled_jobs_are_left(folder), "the stalled jobs", 300)
        process.kill()
        process.wait()
    ids = queue()
    assert set(ids.values()) == {"RUNNING"}
    resuming = start_command("resume", str(sweep_of(folder)), cwd=folder, keeps_output=True)
    assert resuming.stdout is not None
    line = next(iter(resuming.stdout)).decode()
    assert "waiting for jobs of this sweep that are still in the queue" in line
    assert queue() == ids
    (folder / "go_on").touch()
    said = resuming.stdout.read().decode()
    assert resuming.wait(timeout=200) == 0, said
    assert "6 of 6 jobs are finished already" in said
    assert outcome(folder) == outcome(whole)


def test_a_job_that_needs_more_memory_than_it_asked_for_fails_alone(folder: Path) -> None:
    request = ("-m", "data=iris", "search=none", "model=troubled", "model.trouble=none,grows")
    done = run_command(*request, SLURM, "hydra.launcher.mem_gb=0.9", cwd=folder, timeout_s=500)
    assert done.code == 1
    assert statuses(folder) == ["completed", "failed"]
    assert "memory" in outcome(folder)[1]["error"]


def test_jobs_that_slurm_never_starts_are_not_waited_for(folder: Path) -> None:
    request = ("-m", "data=iris", "search=none", "model=logistic_regression", "seed=0,1")
    done = run_command(*request, SLURM, "hydra.launcher.partition=short", cwd=folder, timeout_s=500)
    assert done.code == 1
    assert all(
        "never starts such a job: PartitionTimeLimit" in job["error"] for job in outcome(folder)
    )
    assert not queue()


def test_what_slurm_would_not_take_is_refused_beforehand(folder: Path) -> None:
    for override, reason in (
        ("hydra.launcher.partition=nowhere", "Invalid partition name specified"),
        ("hydra.launcher.cpus_per_task=64", "Requested node configuration is not available"),
    ):
        done = run_command(*REQUEST, SLURM, override, cwd=folder, timeout_s=500)
        assert done.code == 2
        assert done.err == f"runner: hydra.launcher: SLURM takes no such jobs: {reason}\n"
    assert not (folder / "outputs").exists()


def test_a_study_asks_slurm_batch_by_batch(tmp_path: Path, once: Once) -> None:
    study = ("-m", "hydra/sweeper=optuna", "data=iris", "model=choice(logistic_regression,svm)")
    request = (*study, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2")

    def run(folder: Path) -> None:
        assert run_command(*request, cwd=folder).code == 0

    whole = once("study-of-four", run)
    done = run_command(*request, SLURM, cwd=tmp_path)
    assert done.code == 0, done.err
    assert outcome(tmp_path) == outcome(whole)
