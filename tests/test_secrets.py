"""What a config takes from the environment is written nowhere."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command import CompletedRun, run_command

from runner import secrets

SECRET = 'hunter2<"\\and/more'
MODULE = '''\
import warnings

from sklearn.dummy import DummyClassifier
from sklearn.datasets import load_iris


def rows(password):
    return load_iris(return_X_y=True)


class Guess(DummyClassifier):
    """Says its token wherever it can."""

    def __init__(self, token=None, depth=1, strategy="prior", random_state=None, constant=None):
        super().__init__(strategy=strategy, random_state=random_state, constant=constant)
        self.token = token
        self.depth = depth

    def fit(self, X, y, sample_weight=None):
        warnings.warn(f"warned with {self.token}")
        print("printed", self.token)
        if self.depth == 2:
            raise ValueError(f"no access with {self.token!r}")
        return super().fit(X, y, sample_weight)


def locked(password):
    raise OSError(f"no access with {password}")
'''
FILES = {
    "own.py": MODULE,
    "conf/data/rows.yaml": "_target_: own.rows\npassword: ${oc.env:RUNNER_TEST_SECRET}\n",
    "conf/data/locked.yaml": "_target_: own.locked\npassword: ${oc.env:RUNNER_TEST_SECRET}\n",
    "conf/model/guess.yaml": "_target_: own.Guess\ntoken: ${oc.env:RUNNER_TEST_SECRET}\n",
}
NAMED = "data.name=${oc.env:RUNNER_TEST_SECRET}"
RUN = ["data=rows", NAMED, "model=guess", "cv.n_splits=2", "compute.n_jobs=2", "search=grid"]
# A value that is searched is named in every table and plot, and in best.overrides.
SPACE = ["space.model.depth=[1,2]", "space.model.token=['${oc.env:RUNNER_TEST_SECRET}',other]"]


@pytest.fixture
def own_folder(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(folder: Path, *args: str) -> CompletedRun:
    env = {"RUNNER_ALLOW": "own.*", "RUNNER_TEST_SECRET": SECRET}
    return run_command(*args, cwd=folder, env=env)


def test_no_file_and_no_terminal_shows_a_value_from_the_environment(own_folder: Path) -> None:
    done = run(own_folder, *RUN, *SPACE)
    assert done.code == 0, done.err
    for text in (done.out, done.err):
        assert "hunter2" not in text
    # Warnings and prints of the workers.
    assert "warned with ***" in done.err
    files = {path: path.read_bytes() for path in done.directory.rglob("*") if path.is_file()}
    # A fitted model is what it is: its own parameters are in it.
    assert [path.name for path, content in files.items() if b"hunter2" in content] == [
        "parts.skops"
    ]
    assert "no access with '***'" in (done.directory / "run.log").read_text()
    entries = [json.loads(line[9:]) for line in (done.directory / "fits.jsonl").open()]
    assert {entry["params"]["model.token"] for entry in entries} == {"***", "other"}
    assert any("***" in entry["trace"] for entry in entries)
    assert done.result["name"]["data"] == "***"
    assert "model.token" not in (done.directory / "best.overrides").read_text()
    assert "${oc.env:RUNNER_TEST_SECRET}" in (done.directory / ".hydra/config.yaml").read_text()


def test_an_error_does_not_show_it(own_folder: Path) -> None:
    done = run(own_folder, "data=locked")
    assert done.code == 2
    assert done.err == "runner: data: cannot be read: no access with ***\n"


@pytest.mark.slow
def test_a_sweep_and_a_resolved_config_do_not_show_it(own_folder: Path) -> None:
    shown = run(own_folder, "data=rows", "--cfg=job", "--resolve")
    assert "hunter2" not in shown.out
    assert "password: '***'" in shown.out or "password: ***" in shown.out
    swept = run(own_folder, "-m", "data=rows,locked", "model=guess", "search=none")
    assert swept.code == 1
    assert "no access with ***" in swept.err
    assert "hunter2" not in swept.err + swept.out


# The pieces ---------------------------------------------------------------------------------------


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("RUNNER_MASKED", "")
    monkeypatch.setenv("RUNNER_TEST_SECRET", "correct horse")
    secrets.remember("RUNNER_TEST_SECRET")
    return monkeypatch


@pytest.mark.parametrize(
    "value", ["short", "1234567", "1.5e300", "false", "  True ", "", str(Path(__file__))]
)
def test_innocent_values_are_left(remembered: pytest.MonkeyPatch, value: str) -> None:
    remembered.setenv("RUNNER_TEST_SECRET", value)
    assert secrets.mask(f"it is {value}") == f"it is {value}"


def test_texts_are_masked_however_deep(remembered: pytest.MonkeyPatch) -> None:
    value = {"a": ["correct horse", 1, ("x correct horse",)], "b": None}
    assert secrets.mask(value) == {"a": ["***", 1, ("x ***",)], "b": None}


LINES = 'first "line\\\nsecond é line'


@pytest.mark.parametrize("spell", [str, repr, json.dumps, lambda text: text.splitlines()[0]])
def test_a_value_is_found_however_it_is_spelled(
    remembered: pytest.MonkeyPatch, spell: Callable[[str], str]
) -> None:
    remembered.setenv("RUNNER_TEST_SECRET", LINES)
    assert "line" not in secrets.mask(f"<{spell(LINES)}>")


def test_worker_processes_know_from_the_start(remembered: pytest.MonkeyPatch) -> None:
    program = (
        "import runner.secrets, logging; print('correct horse'); logging.error('correct horse')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "***\n"
    assert done.stderr == "ERROR:root:***\n"


def test_tracebacks_in_a_log_are_masked(remembered: pytest.MonkeyPatch, tmp_path: Path) -> None:
    remembered.setattr(logging, "_logRecordFactory", secrets._guarded_record)
    handler = logging.FileHandler(tmp_path / "log")
    logger = logging.getLogger("test_secrets")
    logger.addHandler(handler)
    try:
        raise ValueError("correct horse")
    except ValueError:
        logger.exception("it was %s", "correct horse")
    logger.removeHandler(handler)
    handler.close()
    text = (tmp_path / "log").read_text()
    assert "it was ***" in text
    assert "ValueError: ***" in text
    assert "correct horse" not in text
