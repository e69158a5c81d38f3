"""What there is to choose: config groups and their options, as their files tell it.

Read without Hydra, so that help is there at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runner.config.folders import built_in_conf, own_conf

PRIMARY = "runner.yaml"

GROUPS = {
    "experiment": "whole experiments: a choice from each group, with a name",
    "data": "what is learnt from",
    "preprocess": "how features are prepared, within each fold",
    "model": "what is tuned",
    "space": "which hyper-parameters are searched, and between which values",
    "optimizer": "how a network's weights are updated",
    "training": "how long a network trains, and in what batches",
    "search": "how candidates are found",
    "search/sampler": "who proposes candidates to search=optuna",
    "search/pruner": "when search=optuna leaves a candidate before its last fold",
    "cv": "which rows train and which judge a candidate",
    "compute": "where fits run",
    "tracking": "where else runs are logged",
    "hydra/sweeper": "how -m finds its jobs",
    "hydra/launcher": "whether jobs of a sweep run one after the other or side by side",
    "hydra/job_logging": "what a job says, and where",
    "hydra/hydra_logging": "what Hydra itself says",
}


@dataclass(frozen=True)
class Option:
    """One YAML file of a group; ``description`` is its first comment line, or empty."""

    group: str
    name: str
    description: str
    is_default: bool
    path: Path


def list_options() -> dict[str, list[Option]]:
    """List every option by group, in the order of `GROUPS`, then groups of the user's own.

    An option in the current folder's ``conf/`` takes the place of a built-in one of its name.
    """
    files: dict[tuple[str, str], Path] = {}
    defaults: dict[str, str] = {}
    for folder in filter(None, (built_in_conf(), own_conf())):
        for path in sorted(folder.rglob("*.yaml")):
            files[path.parent.relative_to(folder).as_posix(), path.stem] = path
        if (folder / PRIMARY).is_file():
            defaults = dict(_defaults(folder / PRIMARY))
    named = {group for group, _ in files if group != "."}
    groups = [*(g for g in GROUPS if g in named), *sorted(named - set(GROUPS))]
    return {
        group: [
            Option(group, name, _description(path), defaults.get(group) == name, path)
            for (of, name), path in sorted(files.items())
            if of == group
        ]
        for group in groups
    }


def _description(path: Path) -> str:
    with contextlib.suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        for line in map(str.strip, file):
            if line and not line.startswith("#"):
                break
            text = line.lstrip("#").strip()
            if text and not text.startswith("@package"):
                return text
    return ""


def _defaults(primary: Path) -> Iterator[tuple[str, str]]:
    """The option that each group starts with, as far as the file alone tells."""
    node: Any = {}
    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
        node = yaml.safe_load(primary.read_text(encoding="utf-8"))
    entries = node.get("defaults") if isinstance(node, dict) else None
    for entry in entries or ():
        for key, option in entry.items() if isinstance(entry, dict) else ():
            if isinstance(option, str) and "${" not in option:
                yield str(key).removeprefix("override ").removeprefix("optional "), option
