"""Logging for the length of a block; what was set up before is there again afterwards."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def kept_logging() -> Iterator[logging.Logger]:
    """Give the root logger to the block, and restore its handlers and levels at the end."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {handler: handler.level for handler in handlers}
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for handler, before in levels.items():
            handler.setLevel(before)


def silence(*packages: str) -> None:
    """Keep what packages, imported before, log of themselves out of the terminal and run.log."""
    for name in [*packages, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] in packages:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def terminal_handler() -> logging.Handler:
    """Messages alone, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler
