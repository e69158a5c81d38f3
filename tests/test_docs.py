"""The commands in README and docs run as they stand there."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest
from command import ROOT

from runner.app import run_app

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN_PARTS = ROOT / "docs" / "own-parts.md"
# They have tests of their own: for runs to compare, and for verbs.
ELSEWHERE = [
    ROOT / "docs" / f"{name}.md"
    for name in ("compare", "command-line", "launchers", "plan", "predict", "tracking")
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    lines = "".join(blocks(page, "sh")).splitlines()
    return [line for line in lines if line.startswith("runner ")]


# The README's commands and a page's first, but where a test of its own says the same.
TESTED = [ROOT / "docs" / f"{name}.md" for name in ("clusters", "shared-study", "speed")]
ANYWHERE = [
    pytest.param(
        line,
        id=f"{page.name}: {line[:60]}",
        marks=pytest.mark.slow if page in TESTED or (number and page != PAGES[0]) else (),
    )
    for page in PAGES
    if page not in (OWN_PARTS, *ELSEWHERE)
    for number, line in enumerate(commands(page))
]


def runs(line: str, cwd: Path) -> None:
    """Run a command in this process, which has TensorFlow already."""
    program, *arguments = shlex.split(line)
    assert program == "runner"
    with contextlib.chdir(cwd):
        # Scores do not depend on it, and the suite has the cores in use already.
        assert run_app([*arguments, "compute.n_jobs=1", "plots=false"]) == 0
    assert list(cwd.glob("outputs/*/*/*/**/result.json"))


def test_there_are_commands_to_run() -> None:
    assert len(ANYWHERE) >= 10
    assert len(commands(OWN_PARTS)) >= 2


@pytest.mark.parametrize("line", ANYWHERE)
def test_command(line: str, folder: Path) -> None:
    runs(line, folder)


@pytest.mark.slow
def test_own_parts_as_the_page_shows_them(folder: Path) -> None:
    (settings,) = blocks(OWN_PARTS, "toml")
    data_yaml, model_yaml, two_yaml, space_yaml = blocks(OWN_PARTS, "yaml")
    functions = "\n\n".join(blocks(OWN_PARTS, "python"))
    (folder / "pyproject.toml").write_text(settings)
    (folder / "my_models.py").write_text(f"import numpy as np\n\n\n{functions}")
    for group, option, text in (
        ("data", "wells", data_yaml),
        ("model", "resnet_mini", model_yaml),
        ("model", "two_branches", two_yaml),
        ("space", "resnet_mini", space_yaml),
    ):
        (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
        (folder / "conf" / group / f"{option}.yaml").write_text(text)
    for line in commands(OWN_PARTS):
        runs(line, folder)


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_makefile_targets_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"^    make ([a-z-]+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: {target}"
