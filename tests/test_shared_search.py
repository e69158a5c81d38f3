"""Several runs that share one Optuna study, as commands, on PostgreSQL and SQLite."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from command import attempt_all, run_command, start_command
from postgresql import PASSWORD, needs_postgresql, postgresql
from processes import wait_until

MODULE = """\
import time

from sklearn.tree import DecisionTreeClassifier


class Slow(DecisionTreeClassifier):
    def __init__(self, pause=0.0, ccp_alpha=0.0, random_state=None):
        super().__init__(ccp_alpha=ccp_alpha, random_state=random_state)
        self.pause = pause

    def fit(self, X, y, sample_weight=None):
        time.sleep(self.pause)
        return super().fit(X, y, sample_weight)
"""
FILES = {
    "own.py": MODULE,
    "pyproject.toml": '[tool.runner]\nallow = ["own.*"]\n',
    "conf/model/slow.yaml": "_target_: own.Slow\npause: 0.15\nccp_alpha: 0.0\n",
    "conf/space/slow.yaml": "model: {ccp_alpha: {low: 1e-6, high: 0.2, log: true}}\n",
}
N_ITER = 24
SEARCH = (
    *("data=wine", "model=slow", "search=optuna", f"search.n_iter={N_ITER}", "plots=false"),
    *("compute.n_jobs=1", "search.batch_size=2", "search.study=tune1"),
)


@pytest.fixture
def own_folder(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)],
)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'studies.db'}"
    else:
        with postgresql() as address:
            yield address


def start(folder: Path, name: str, storage: str, *more: str) -> subprocess.Popen[bytes]:
    where = (f"search.storage={storage}", f"hydra.run.dir={name}")
    return start_command(*SEARCH, *where, *more, cwd=folder, keeps_output=True)


def ended(process: subprocess.Popen[bytes]) -> str:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out.decode()
    return out.decode()


def result_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "mean_fit_time"} for row in csv.DictReader(file)
        ]


def study_of(storage: str) -> optuna.Study:
    address = storage.replace("postgresql://", "postgresql+psycopg://")
    return optuna.load_study(study_name="tune1", storage=address)


def running(storage: str) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study_of(storage).trials if trial.state.name == "RUNNING"]


def n_fits(folder: Path) -> int:
    record = folder / "fits.jsonl"
    return record.read_bytes().count(b'"completed"') if record.exists() else 0


# What is refused, before anything is made ---------------------------------------------------------


def test_a_database_that_can_not_be_used_is_refused_in_one_line(folder: Path) -> None:
    search = ("search=optuna", "data=wine", "model=random_forest")
    sweep = ("-m", "hydra/sweeper=optuna", "data=wine", "model=random_forest")
    done = attempt_all(
        {
            "unreachable": (*search, "search.storage=postgresql://me:hunter2@127.0.0.1:1/db"),
            "no address": (*search, "search.storage=here"),
            "cmaes": (*search, "search/sampler=cmaes", "search.storage=sqlite:///a.db"),
            "other search": ("search=random", "+search.storage=sqlite:///a.db"),
            "no name": (*search, "search.study=''", "search.storage=sqlite:///a.db"),
            "a sweep's": (*sweep, "hydra.sweeper.storage=sqlite:///a.db"),
            "fine": (*search, "search.storage=sqlite:///a.db"),
        },
        cwd=folder,
    )
    said = {name: attempt.err for name, attempt in done.items()}
    for name, attempt in done.items():
        assert attempt.code == (99 if name == "fine" else 2), said
        assert not attempt.imported
        assert name == "fine" or attempt.left_behind == ()
        assert "hunter2" not in attempt.err
    assert said["unreachable"].startswith(
        "runner: search.storage: can't use postgresql+psycopg://me:***@127.0.0.1:1/db: connection"
    )
    assert said["unreachable"].count("\n") == 1
    assert "RandomizedSearchCV takes no 'storage'" in said["other search"]
    assert "search.study: " in said["no name"]
    assert "runs share one by search=optuna and search.storage" in said["a sweep's"]


# Several runs -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_share_the_budget_and_end_alike(own_folder: Path, storage: str) -> None:
    both = [start(own_folder, name, storage) for name in ("one", "two")]
    outputs = [ended(process) for process in both]
    folders = [own_folder / name for name in ("one", "two")]
    results = [result_of(folder) for folder in folders]
    assert sum("begun" in out for out in outputs) == 1
    assert all("who tries what depends on timing" in out for out in outputs)
    for result in results:
        assert result["trials"]["n_candidates"] == N_ITER
        assert result["trials"]["n_failed"] == 0
        assert result["timing"]["fit_s"] > 0.1
    elsewhere = [result["trials"]["n_elsewhere"] for result in results]
    assert sum(elsewhere) == N_ITER
    assert min(elsewhere) > 0
    assert results[0]["best"] == results[1]["best"]
    assert rows_of(folders[0]) == rows_of(folders[1])
    # Each candidate was evaluated once: its folds stand in one record, beside the baseline's.
    assert sum(map(n_fits, folders)) == (N_ITER + 2) * 3
    trials = study_of(storage).trials
    assert sum(trial.state.name == "COMPLETE" for trial in trials) == N_ITER
    assert len({trial.params["model.ccp_alpha"] for trial in trials}) == N_ITER


@pytest.mark.slow
def test_what_a_killed_run_was_at_is_done_by_another_and_the_run_can_be_resumed(
    own_folder: Path, storage: str
) -> None:
    slow = ("search.takeover_s=3", "model.pause=0.5")
    killed, other = (start(own_folder, name, storage, *slow) for name in ("killed", "other"))
    wait_until(lambda: n_fits(own_folder / "killed") > 3, "the one's first fits")
    wait_until(lambda: n_fits(own_folder / "other") > 0, "the other's first fit")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    at = [t for t in running(storage) if str(own_folder / "killed") in t.user_attrs["run"]]
    assert at
    out = ended(other)
    assert "it is given out again" in out
    trials = study_of(storage).trials
    again = {t.user_attrs["first"]: t for t in trials if "first" in t.user_attrs}
    assert {trial.number: trial.params for trial in at} == {
        number: trial.params for number, trial in again.items()
    }
    assert all(trial.state.name == "COMPLETE" for trial in again.values())
    assert result_of(own_folder / "other")["trials"]["n_candidates"] == N_ITER
    resumed = run_command("resume", "killed", cwd=own_folder)
    assert resumed.code == 0, resumed.err
    assert rows_of(own_folder / "killed") == rows_of(own_folder / "other")
    result = result_of(own_folder / "killed")
    assert result["trials"]["n_restored"] > 3
    assert result["best"] == result_of(own_folder / "other")["best"]


@pytest.mark.slow
def test_a_killed_run_that_is_resumed_takes_its_own_back_at_once(
    own_folder: Path, storage: str
) -> None:
    killed = start(own_folder, "killed", storage, "search.takeover_s=1000")
    wait_until(lambda: n_fits(own_folder / "killed") > 12, "a third candidate's fit")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert running(storage)
    started = time.monotonic()
    resumed = run_command("resume", "killed", cwd=own_folder)
    assert resumed.code == 0, resumed.err
    assert time.monotonic() - started < 100
    result = result_of(own_folder / "killed")
    assert result["trials"]["n_candidates"] == N_ITER
    assert result["trials"]["n_elsewhere"] == 0
    assert n_fits(own_folder / "killed") == (N_ITER + 1) * 3


@pytest.mark.slow
def test_an_interrupted_run_leaves_its_candidates_at_once(own_folder: Path, storage: str) -> None:
    stopped = start(own_folder, "stopped", storage, "search.takeover_s=1000")
    wait_until(lambda: n_fits(own_folder / "stopped") > 12, "a third candidate's fit")
    stopped.send_signal(signal.SIGINT)
    stopped.wait()
    assert stopped.returncode == 130
    assert not running(storage)
    ended(start(own_folder, "other", storage, "search.takeover_s=1000"))
    assert result_of(own_folder / "other")["trials"]["n_candidates"] == N_ITER


@pytest.mark.slow
def test_a_run_alone_finds_the_same_with_and_without_a_database(
    own_folder: Path, storage: str
) -> None:
    ended(start(own_folder, "shared", storage, "compute.n_jobs=2", "model.pause=0.02"))
    alone = run_command(*SEARCH, "hydra.run.dir=alone", "model.pause=0.02", cwd=own_folder)
    assert alone.code == 0, alone.err
    assert rows_of(own_folder / "shared") == rows_of(own_folder / "alone")
    assert result_of(own_folder / "shared")["best"] == result_of(own_folder / "alone")["best"]


@pytest.mark.slow
def test_a_study_of_other_data_is_refused_and_a_time_budget_ends_with_what_there_is(
    own_folder: Path, storage: str
) -> None:
    out = ended(start(own_folder, "first", storage, "search.time_budget_s=4"))
    assert "search.time_budget_s has passed" in out
    n_done = result_of(own_folder / "first")["trials"]["n_candidates"]
    assert 0 < n_done < N_ITER
    assert not running(storage)
    other = run_command(*SEARCH, f"search.storage={storage}", "data=iris", "seed=1", cwd=own_folder)
    assert other.code == 2
    assert other.err == (
        "runner: search.study: 'tune1' is of another data, seed; name another study\n"
    )
    assert not (own_folder / "outputs").exists()


@pytest.mark.slow
@needs_postgresql
def test_a_password_in_plain_words_is_kept_by_hydra_alone(own_folder: Path) -> None:
    with postgresql() as address:
        out = ended(start(own_folder, "plain", address, "model.pause=0", "search.n_iter=4"))
        assert ".hydra/ keeps the password" in out
        assert PASSWORD not in out
        files = [path for path in (own_folder / "plain").rglob("*") if path.is_file()]
        assert len(files) > 8
        holders = {path.parent.name for path in files if PASSWORD.encode() in path.read_bytes()}
        assert holders == {".hydra"}
        hidden = address.replace(PASSWORD, "${oc.env:RUNNER_TEST_SECRET}")
        done = run_command(
            *SEARCH,
            *(f"search.storage={hidden}", "hydra.run.dir=hidden", "search.n_iter=4"),
            *("model.pause=0", "search.study=tune2"),
            cwd=own_folder,
            env={"RUNNER_TEST_SECRET": PASSWORD},
        )
        assert done.code == 0, done.err
        assert PASSWORD not in done.out + done.err
        assert "keeps the password" not in done.out + done.err
        for path in (own_folder / "hidden").rglob("*"):
            assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
