"""The wheel carries all that a run needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, run_command


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which nothing but the wheel was unpacked."""
    built, target = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(target), str(wheel)], check=True, capture_output=True)
    return target


def test_wheel_runs_from_an_empty_folder(installed: Path, folder: Path, tmp_path: Path) -> None:
    # Ahead of the checkout that this environment has installed for editing.
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import runner.__main__ as m; m.main()"
    )
    request = ("data=wine", "model=logistic_regression", "search.n_iter=2", "plots=false")
    done = run_command(
        *request,
        cwd=folder,
        program=(sys.executable, "-c", code),
        env={"PYTHONSAFEPATH": "1"},
    )
    assert done.code == 0, done.err
    assert done.result["status"] == "completed"
    assert done.result["best"] == run_command(*request, cwd=tmp_path).result["best"]
    where = subprocess.run(
        [sys.executable, "-c", "import runner.config.folders as f; print(f.built_in_conf())"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(installed / "runner" / "conf")


def test_wheel_carries_the_template_of_a_project(installed: Path) -> None:
    template = ROOT / "runner" / "template"
    for path in template.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (installed / "runner" / "template" / path.relative_to(template)).is_file()
