"""What a person sees while they wait: a bar that moves, on a terminal or in a notebook."""

from __future__ import annotations

import importlib.util
import sys

from rich.console import Console


def live_console() -> Console | None:
    """A console on standard error where a bar can move; None in a pipe or a file."""
    console = Console(file=sys.stderr)
    # Without widgets, a notebook can't change what it has shown.
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        return None
    return console if console.is_terminal or console.is_jupyter else None
