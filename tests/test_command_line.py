"""Help, options, completion and colours: what makes the command line easy to use."""

from __future__ import annotations

import gc
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command import CONSOLE_SCRIPT, ROOT, commands_of, look, refusal, run_command

from runner.__main__ import _VERBS
from runner.command_line import parse_arguments
from runner.config.compose import compose_config
from runner.config.options import GROUPS, list_options
from runner.config.overrides import sweep_points
from runner.quiet import quick_import

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:[34]8;|[349]\d|10\d)")


# Help ---------------------------------------------------------------------------------------------


def test_help_names_verbs_groups_and_five_examples_that_compose(folder: Path) -> None:
    out = look("--help", cwd=folder).out
    for verb in _VERBS:
        assert re.search(rf"^  {verb} .*\w{{3,}}", out, re.MULTILINE), verb
    for group in GROUPS:
        if not group.startswith("hydra/"):
            assert re.search(rf"^  {group} ", out, re.MULTILINE), group
    assert "random_forest" in out
    examples = out.partition("examples\n")[2].split("\n\n")[0].splitlines()
    assert len(examples) == 5
    for example in examples:
        _, *words = shlex.split(re.split(r" {2,}", example.strip())[0])
        request = parse_arguments([word for word in words if word not in _VERBS])
        for point in sweep_points(request.overrides):
            compose_config(point)


def test_help_imports_little(folder: Path) -> None:
    program = (sys.executable, "-X", "importtime", "-m", "runner")
    for arguments in (["--help"], ["options"]):
        done = run_command(*arguments, cwd=folder, program=program)
        assert done.code == 0
        imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
        assert "runner.config.options" in imported
        assert not imported & {"tensorflow", "keras", "sklearn", "pandas", "hydra"}


@pytest.mark.parametrize("verb", sorted(_VERBS))
def test_every_verb_has_help_with_examples(verb: str, folder: Path) -> None:
    out = look(verb, "--help", cwd=folder).out
    assert out.startswith(f"usage: runner {verb}")
    assert out.count(f"  runner {verb}") >= 2


@pytest.mark.slow
def test_help_with_overrides_is_that_of_the_config(folder: Path) -> None:
    done = run_command("data=wine", "--help", cwd=folder)
    assert done.code == 0
    assert "runner.data.sources.wine" in done.out


def test_commands_of_the_page_run(folder: Path) -> None:
    commands = commands_of("docs/command-line.md")
    assert len(commands) == 5
    for arguments in commands:
        look(*arguments, cwd=folder)
    assert [path.name for path in folder.iterdir()] == ["wells"]


# Options ------------------------------------------------------------------------------------------


def test_every_option_and_group_has_a_description() -> None:
    for group, options in list_options().items():
        assert group in GROUPS
        for option in options:
            assert len(option.description) > 10, option.path
            assert option.description.endswith((".", "?")), option.path


def test_options_of_groups_are_listed_with_those_of_the_user(folder: Path) -> None:
    conf = folder / "conf"
    (conf / "model").mkdir(parents=True)
    (conf / "rig").mkdir()
    (conf / "model" / "mine.yaml").write_text("# @package _global_\n#\n# My own.\n# More.\nx: 1\n")
    (conf / "model" / "svm.yaml").write_text("x: 1 # not a description\n")
    (conf / "rig" / "odd.yaml").write_bytes(b"# \xff \x1b[31m odd\n")
    listed = json.loads(look("options", "--format=json", cwd=folder).out)
    by_name = {(row["group"], row["option"]): row for row in listed}
    assert by_name["model", "mine"]["description"] == "My own."
    assert by_name["model", "svm"]["description"] == ""
    assert by_name["model", "svm"]["file"] == str(conf / "model" / "svm.yaml")
    assert by_name["model", "mlp"]["description"] == "Two hidden layers with dropout."
    assert by_name["rig", "odd"]["group"] == "rig"
    assert {row["option"] for row in listed if row["default"]} >= {"digits", "mlp", "random"}
    text = look("options", "model", "rig", cwd=folder).out
    assert "model: what is tuned (default: mlp)" in text
    assert "model=mine" in text
    assert "\x1b" not in text
    assert "data=" not in text


def test_a_group_that_does_not_exist_is_refused(folder: Path) -> None:
    said = refusal("options", "modle", cwd=folder)
    assert said == "there is no group 'modle'; did you mean 'model'?"
    assert "groups: " in refusal("options", "x", cwd=folder)


# Completion ---------------------------------------------------------------------------------------


def completions(*lines: str, cwd: Path) -> list[list[str]]:
    """What Tab offers in a real bash for each line typed, after what the page says to evaluate."""
    page = (ROOT / "docs" / "command-line.md").read_text()
    (install,) = re.findall(r"^eval .*install=bash.*$", page, re.MULTILINE)
    asks = [
        f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}\n"
        f"COMP_CWORD={len(line.split()) - (not line.endswith(' '))}\n"
        "COMPREPLY=(); hydra_bash_completion\n"
        'printf "%s " "${COMPREPLY[@]}"; echo'
        for line in lines
    ]
    path = f"{CONSOLE_SCRIPT.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join([install, "complete -p runner", *asks])],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    rule, *offers = done.stdout.splitlines()
    assert rule.endswith("-F hydra_bash_completion runner"), done.stderr
    return [sorted(offer.split()) for offer in offers]


@pytest.mark.slow
def test_tab_completes_options_paths_and_verbs(folder: Path) -> None:
    (folder / "conf" / "data").mkdir(parents=True)
    (folder / "conf" / "data" / "drills.yaml").write_text("_target_: runner.data.sources.iris\n")
    lines = {
        "runner data=d": ["data=diabetes", "data=digits", "data=drills"],
        "runner model.dr": ["model.dropout="],
        "runner com": ["compare", "compute", "compute.", "compute="],
        "runner plan data=wine model=ml": ["model=mlp"],
        "runner options cv": ["cv"],
        "runner compare outputs/x": [],
        "runner track outputs/x tracking=ml": ["tracking=mlflow"],
        "runner track outputs/x": [],
    }
    offered = dict(zip(lines, completions(*lines, cwd=folder), strict=True))
    assert offered["runner data=d"] == lines["runner data=d"]
    assert offered["runner model.dr"] == lines["runner model.dr"]
    assert set(offered["runner com"]) <= set(lines["runner com"])
    assert {"compare"} < set(offered["runner com"])
    assert offered["runner plan data=wine model=ml"] == ["model=mlp"]
    assert offered["runner options cv"] == ["cv"]
    assert offered["runner compare outputs/x"] == []
    assert offered["runner track outputs/x tracking=ml"] == ["tracking=mlflow"]
    assert offered["runner track outputs/x"] == []


# Colours ------------------------------------------------------------------------------------------


def on_terminal(*args: str, cwd: Path, **env: str) -> str:
    """What the command writes to a terminal."""
    ours, its = pty.openpty()
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", *args],
        cwd=cwd,
        env={**inherited, "TERM": "xterm-256color", **env},
        stdin=its,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    assert process.wait() == 0, written
    return written.decode()


QUICK = ["data=iris", "model=logistic_regression", "search=none", "compute.n_jobs=1", "plots=false"]


@pytest.mark.slow
def test_colours_are_for_terminals_and_no_color_takes_them_away(folder: Path) -> None:
    shown = on_terminal(*QUICK, cwd=folder)
    assert COLOUR.search(shown)
    assert "Files  outputs" in shown
    plain = on_terminal(*QUICK, cwd=folder, NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "Files  outputs" in plain


def test_titles_are_bold_on_terminals_only(folder: Path) -> None:
    assert "\x1b[1m" in on_terminal("options", "cv", cwd=folder)
    assert "\x1b" not in on_terminal("options", "cv", cwd=folder, TERM="dumb")
    assert "\x1b" not in run_command("options", "cv", cwd=folder).out


def test_garbage_is_looked_for_except_while_importing() -> None:
    assert gc.isenabled()
    with quick_import():
        assert not gc.isenabled()
        with quick_import():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
