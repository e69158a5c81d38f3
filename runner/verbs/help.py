"""``runner --help``: verbs, groups, flags and examples, without importing what runs them."""

from __future__ import annotations

import ast
import importlib.util
import textwrap
from collections.abc import Mapping
from pathlib import Path

from runner.config.options import GROUPS, list_options

_WIDTH = 100
_INTRO = """\
usage: runner [key=value …]       tune a model on data, and record what came of it
       runner -m [key=value,…]    a sweep: a run for each combination of the values given
       runner VERB …              look at runs, or ahead; runner VERB --help says more"""
_FLAGS = {
    "-m, --multirun": "sweep",
    "-q, --quiet": "warnings only",
    "-c, --cfg job": "print the composed config, and run nothing",
    "-cn, --config-name NAME": "start from another config than runner.yaml",
    "-cd, --config-dir DIR": "look for options there too",
    "-sc install=bash": 'shell completion: eval "$(runner -sc install=bash)"',
    "--hydra-help": "Hydra's own flags",
}
_EXAMPLES = {
    "runner": "a small network on handwritten digits",
    "runner data=wine model=random_forest search.n_iter=20": "choose from groups, set a value",
    "runner model.dropout=0.3 'space.training.epochs=[10,40]'": "fix a value, search another",
    "runner -m model=mlp,random_forest data=digits,wine": "four runs and a leaderboard",
    "runner plan experiment=article": "how long that would take",
}


def help_text(verbs: Mapping[str, str]) -> str:
    """Write the help; `verbs` maps each verb to its module, whose first line describes it."""
    groups = {
        group: ", ".join(option.name for option in options)
        for group, options in list_options().items()
        if not group.startswith("hydra/")
    }
    parts = [
        _INTRO,
        _listed("verbs", dict(map(_usage, verbs.items()))),
        "groups, chosen with GROUP=OPTION (runner options GROUP describes each option)\n"
        + "\n".join(
            _entry(name, f"{GROUPS[name]}: {options}" if name in GROUPS else options, 14)
            for name, options in groups.items()
        ),
        _listed("flags", _FLAGS),
        _listed("examples", _EXAMPLES),
        "Exit codes: 0 done, 1 the experiment failed while running, 2 the request was wrong, "
        "130 interrupted.",
    ]
    return "\n\n".join(parts) + "\n"


def _usage(verb: tuple[str, str]) -> tuple[str, str]:
    """The usage and the description of a verb: the first line of its module, which is not run."""
    name, module = verb
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    first = (ast.get_docstring(tree) or "").partition("\n")[0]
    usage, _, about = first.removeprefix("``").partition("``: ")
    return (usage.removeprefix("runner "), about) if about else (name, first)


def _listed(title: str, entries: Mapping[str, str]) -> str:
    width = max(map(len, entries))
    return "\n".join([title, *(_entry(name, text, width) for name, text in entries.items())])


def _entry(name: str, text: str, width: int) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {name:<{width}}  ",
        subsequent_indent=" " * (width + 4),
        break_on_hyphens=False,
    )
