"""`runner init` writes a project that runs as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import CONSOLE_SCRIPT, ROOT, commands_of, look, refusal, run_command

TEMPLATE = ROOT / "runner" / "template"
QUICK = ["training.epochs=1", "search.n_iter=1", "cv=holdout", "compute.n_jobs=1", "plots=false"]


@pytest.fixture
def project(folder: Path) -> Path:
    out = look("init", "wells", cwd=folder).out
    assert "Next: cd wells && runner data=spiral model=shortcut_mlp" in out
    return folder / "wells"


def test_project_runs_as_it_is(project: Path) -> None:
    (first,) = [c for c in commands_of("runner/template/README.md") if c[-1] == "search.n_iter=5"]
    done = run_command(*first, *QUICK, cwd=project, program=[str(CONSOLE_SCRIPT)])
    assert done.code == 0, done.err
    assert done.result["status"] == "completed"
    assert done.result["name"] == {"data": "spiral", "model": "shortcut_mlp", "search": "random"}
    assert set(done.result["best"]["params"]) >= {"model.units", "optimizer.learning_rate"}
    assert done.result["data"]["n_train"] + done.result["data"]["n_test"] == 600


def test_project_holds_the_template_and_its_options_are_listed(project: Path) -> None:
    written = {path.relative_to(project) for path in project.rglob("*") if path.is_file()}
    template = {path.relative_to(TEMPLATE) for path in TEMPLATE.rglob("*") if path.is_file()}
    assert written == {path for path in template if "__pycache__" not in path.parts}
    listed = json.loads(look("options", "data", "model", "--format=json", cwd=project).out)
    described = {option["option"]: option["description"] for option in listed}
    assert described["spiral"] == "Points on the arms of a spiral: which arm is a point on?"
    assert described["shortcut_mlp"] == "Dense layers with a shortcut around each."


@pytest.mark.slow
def test_commands_of_its_readme_run(project: Path) -> None:
    commands = commands_of("runner/template/README.md")
    assert len(commands) == 6
    for arguments in commands:
        done = run_command(*arguments, cwd=project, program=[str(CONSOLE_SCRIPT)])
        assert done.code == 0, done.err
    assert len(list(project.glob("outputs/*/*/*/**/result.json"))) == 4


def test_a_folder_that_is_new_or_empty_is_needed(folder: Path) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    assert refusal("init", "full", cwd=folder) == "'full' is not empty; name a new folder"
    assert [path.name for path in (folder / "full").iterdir()] == ["file"]
    said = refusal("init", "full/file", cwd=folder)
    assert said == "can't write 'full/file': Not a directory"
    assert "FOLDER" in refusal("init", cwd=folder)
    (folder / "empty").mkdir()
    look("init", ".", cwd=folder / "empty")
    assert (folder / "empty" / "conf" / "data" / "spiral.yaml").exists()
