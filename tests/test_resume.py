"""A run that was killed goes on where it was, and ends as if it never had been."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import CompletedRun, run_command, start_command

FOREST = ("data=wine", "model=random_forest", "compute.n_jobs=1", "plots=false")
NETWORK = (
    "data=iris",
    "model=mlp",
    "model.hidden_layer_one=16",
    "model.hidden_layer_two=8",
    "compute.n_jobs=1",
    "plots=false",
)
SEARCHES = {
    "random forest": (*FOREST, "search.n_iter=8"),
    "grid forest": (
        *FOREST,
        "search=grid",
        "space=none",
        "space.model.max_depth=[2,4,8]",
        "space.model.n_estimators=[50,150]",
    ),
    "optuna forest": (*FOREST, "search=optuna", "search.n_iter=8"),
    "halving network": (*NETWORK, "search=halving", "search.n_iter=9", "training.epochs=12"),
    "random network": (*NETWORK, "search.n_iter=4", "training.epochs=8"),
}
SHORT = {"short forest": (*FOREST, "search.n_iter=8", "model.n_estimators=60")}


def resume(directory: Path, *arguments: str) -> CompletedRun:
    return run_command("resume", str(directory), *arguments, cwd=directory.parents[3])


def only(folder: Path) -> Path:
    (directory,) = folder.glob("outputs/runs/*/*")
    return directory


def fits(directory: Path) -> int:
    """Count the fits that ended."""
    record = directory / "fits.jsonl"
    return record.read_bytes().count(b'"completed"') if record.exists() else 0


def wait_for_fits(process: subprocess.Popen[bytes], folder: Path, count: int) -> None:
    """Wait until so many fits are recorded, or the process is done."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        found = list(folder.glob("outputs/runs/*/*"))
        if found and fits(found[0]) >= count:
            return
        time.sleep(0.02)


def outcome(directory: Path) -> dict[str, Any]:
    """All that must not depend on interruptions: times and counts of restored fits are left out."""
    result = json.loads((directory / "result.json").read_text())
    for key in ("timing", "environment"):
        del result[key]
    del result["trials"]["n_restored"]
    lines = (directory / "trials.csv").read_text().splitlines()
    column = lines[0].split(",").index("mean_fit_time")
    trials = [[cell for i, cell in enumerate(line.split(",")) if i != column] for line in lines]
    return {
        "result": result,
        "trials": trials,
        "best": (directory / "best.overrides").read_text(),
    }


@pytest.mark.parametrize(
    "name",
    [*SHORT, *(pytest.param(name, marks=pytest.mark.slow) for name in SEARCHES)],
)
def test_killed_search_ends_as_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    request = {**SHORT, **SEARCHES}[name]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    process = start_command(*request, cwd=killed)
    wait_for_fits(process, killed, count=7)
    process.send_signal(signal.SIGKILL)
    process.wait()
    directory = only(killed)
    done = fits(directory)
    assert done >= 7
    assert not (directory / "result.json").exists()

    resumed = resume(directory)
    assert resumed.code == 0, resumed.err
    assert json.loads((directory / "result.json").read_text())["trials"]["n_restored"] >= 6
    assert run_command(*request, cwd=whole).code == 0
    assert outcome(directory) == outcome(only(whole))
    assert fits(directory) == fits(only(whole))
    assert not (directory / "states").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_killed_again_and_again_until_done(name: str, tmp_path: Path) -> None:
    """SIGKILL at random moments; RUNNER_KILLS is how many at least, over all searches."""
    wanted = int(os.environ.get("RUNNER_KILLS", "40")) / len(SEARCHES)
    rng = random.Random(name)
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run_command(*SEARCHES[name], cwd=whole).code == 0
    kills = 0
    while kills < wanted:
        folder = tmp_path / f"killed after {kills}"
        folder.mkdir()
        process = start_command(*SEARCHES[name], cwd=folder)
        while True:
            try:
                process.wait(timeout=rng.uniform(3, 10))
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
            found = list(folder.glob("outputs/runs/*/*"))
            if not found or not (found[0] / "state.json").exists():
                # Killed before anything had begun: there is nothing to resume yet.
                shutil.rmtree(folder)
                folder.mkdir()
                process = start_command(*SEARCHES[name], cwd=folder)
            else:
                process = start_command("resume", str(found[0]), cwd=folder)
        assert process.returncode in (0, 2)
        assert outcome(only(folder)) == outcome(only(whole))
    sys.stdout.write(f"{name}: {kills} kills\n")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted with a few fits done."""
    folder = tmp_path_factory.mktemp("interrupted")
    process = start_command(*SHORT["short forest"], cwd=folder)
    wait_for_fits(process, folder, count=2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    return only(folder)


def refusal(done: CompletedRun) -> str:
    assert done.code == 2, done.err
    (line,) = done.err.splitlines()
    return line


def test_interrupted_run_says_so(interrupted: Path) -> None:
    assert json.loads((interrupted / "state.json").read_text())["status"] == "interrupted"
    assert json.loads((interrupted / "result.json").read_text())["status"] == "interrupted"


KILLS_WHILE_HYDRA_WRITES = """\
import os, signal
from omegaconf import OmegaConf

to_yaml = OmegaConf.to_yaml

def kill(config, **how):
    if "hydra" in config and "runtime" in config.hydra:
        os.kill(os.getpid(), signal.SIGKILL)
    return to_yaml(config, **how)

OmegaConf.to_yaml = staticmethod(kill)
"""


def test_killed_while_hydra_writes_its_files_it_can_be_resumed(
    interrupted: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(KILLS_WHILE_HYDRA_WRITES)
    files = sorted((interrupted / ".hydra").iterdir())
    before = [path.read_text() for path in files]
    killed = subprocess.run(
        [sys.executable, "-m", "runner", "resume", str(interrupted)],
        cwd=interrupted.parents[3],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(files) == 3
    assert [path.read_text() for path in files] == before


def test_only_budgets_can_change(interrupted: Path) -> None:
    assert "can't change on resuming" in refusal(resume(interrupted, "model.max_depth=3"))


def test_a_live_run_is_left_alone(tmp_path: Path) -> None:
    process = start_command(*SHORT["short forest"], cwd=tmp_path)
    wait_for_fits(process, tmp_path, count=1)
    try:
        assert "is being written by a live process" in refusal(resume(only(tmp_path)))
    finally:
        process.kill()
        process.wait()


def test_what_is_no_run_or_complete_is_refused(tmp_path: Path) -> None:
    assert "is no run directory" in refusal(run_command("resume", str(tmp_path), cwd=tmp_path))
    assert "see runner resume --help" in refusal(run_command("resume", cwd=tmp_path))
    quick = ("data=iris", "model=logistic_regression", "search=none")
    assert run_command(*quick, cwd=tmp_path).code == 0
    assert "is complete" in refusal(resume(only(tmp_path)))


@pytest.mark.slow
def test_other_data_and_another_config_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{i},{i % 7},{'ab'[i % 2]}" for i in range(80)]
    table.write_text("\n".join(["x,z,y", *rows]))
    process = start_command(
        "data=table",
        f"data.path={table}",
        "data.target=y",
        *FOREST[1:],
        "model.n_estimators=60",
        "search.n_iter=9",
        cwd=tmp_path,
    )
    wait_for_fits(process, tmp_path, count=2)
    process.kill()
    process.wait()
    directory = only(tmp_path)
    table.write_text("\n".join(["x,z,y", *rows[:-1]]))
    assert "was run on other data" in refusal(resume(directory))
    table.write_text("\n".join(["x,z,y", *rows]))
    recorded = directory / ".hydra" / "overrides.yaml"
    recorded.write_text(recorded.read_text() + "- seed=5\n")
    assert "was run with another config" in refusal(resume(directory))


@pytest.mark.slow
def test_a_raised_budget_adds_candidates(interrupted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "outputs" / "runs" / "day" / "copy"
    shutil.copytree(interrupted, copy)
    done = resume(copy, "search.n_iter=10")
    assert done.code == 0, done.err
    assert json.loads((copy / "result.json").read_text())["trials"]["n_candidates"] == 10


def test_a_damaged_record_is_named_and_done_again(interrupted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "outputs" / "runs" / "day" / "damaged"
    shutil.copytree(interrupted, copy)
    record = copy / "fits.jsonl"
    lines = record.read_bytes().splitlines(keepends=True)
    ended = [number for number, line in enumerate(lines) if b'"completed"' in line]
    first = ended[0]
    lines[first] = lines[first].replace(b"completed", b"cOmpleted")
    record.write_bytes(b"".join(lines))
    done = resume(copy)
    assert done.code == 0, done.err
    assert f"fits.jsonl is damaged in line {first + 1}: those fits don't count" in done.err
    assert sum("is damaged" in line for line in (copy / "run.log").read_text().splitlines()) == 1
    restored = json.loads((copy / "result.json").read_text())["trials"]["n_restored"]
    assert restored == len(ended) - 1
