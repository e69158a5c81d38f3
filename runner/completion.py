"""Shell completion of verbs; that of overrides is Hydra's."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable

QUERY = ["-sc", "query=bash"]
"""What the shell's function asks; the line typed so far is in ``COMP_LINE``."""

_TAKES_OVERRIDES = "plan"
_TAKES_GROUPS = "options"
_TAKES_FOLDERS_AND = {"track": "tracking"}


def completes_overrides(verbs: Collection[str]) -> bool:
    """Print what completes a verb; return whether overrides may stand there as well.

    Hydra, which is asked for those, is shown the line without the verb.
    """
    program, _, typed = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    first, space, rest = typed.lstrip().partition(" ")
    if not space:
        _offer(verb for verb in verbs if verb.startswith(first))
        return True
    if first == _TAKES_GROUPS:
        from runner.config.options import list_options

        _offer(list_options())
    takes_overrides = first == _TAKES_OVERRIDES
    if first in _TAKES_FOLDERS_AND:
        # Of the words before the last those that are overrides; folders are left to the shell.
        group, (*before, last) = _TAKES_FOLDERS_AND[first], rest.split(" ")
        takes_overrides = last != "" and last.startswith(group[: len(last)])
        rest = " ".join([*(word for word in before if word.startswith(group)), last])
    if takes_overrides:
        os.environ["COMP_LINE"] = f"{program} {rest}"
    return takes_overrides or first not in verbs


def _offer(words: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{word} " for word in words))
