"""What the record says about the machine and the code, in real repositories and processes."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import runner.results
from runner.results.environment import describe_environment


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_versions_and_machine_are_described():
    environment = describe_environment()
    assert environment["python"] == platform.python_version()
    for name in ("runner", "numpy", "scikit-learn", "tensorflow", "keras", "hydra-core", "optuna"):
        assert environment["packages"][name] == metadata.version(name)
    assert environment["platform"] == platform.platform()
    assert environment["n_cpus"] >= 1


def test_commit_and_changes_of_the_current_folder_are_recorded(repository):
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    clean = describe_environment()
    assert clean["git_commit"] == head.stdout.strip()
    assert clean["git_dirty"] is False
    (repository / "new.txt").write_text("untracked, like a run's outputs")
    assert describe_environment()["git_dirty"] is False
    (repository / "a.txt").write_text("b")
    assert describe_environment()["git_dirty"] is True


def test_outside_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = describe_environment()
    assert environment["git_commit"] is None
    assert environment["git_dirty"] is None


def test_without_git_there_is_no_commit(repository, monkeypatch):
    monkeypatch.setenv("PATH", str(repository))
    assert describe_environment()["git_commit"] is None


def test_a_git_that_hangs_does_not_hang_the_run(repository, monkeypatch):
    fake = repository / "git"
    fake.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(repository))
    monkeypatch.setattr("runner.results.environment._GIT_TIMEOUT_S", 0.2)
    assert describe_environment()["git_dirty"] is None


def test_results_need_neither_tensorflow_nor_hydra():
    folder = Path(runner.results.__file__).parents[1]
    modules = [path.relative_to(folder).with_suffix("") for path in folder.glob("results/**/*.py")]
    assert Path("results", "report", "run") in modules
    code = "\n".join(f"import runner.{'.'.join(name.parts)}" for name in modules)
    code += "\nimport sys; runner.results.environment.describe_environment()"
    code += "\nprint({'tensorflow', 'keras', 'hydra', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
