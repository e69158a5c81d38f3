"""The folders that hold config options: the built-in one, and the user's own."""

from __future__ import annotations

from pathlib import Path

import runner


def built_in_conf() -> Path:
    """The built-in config folder: inside an installed package, or beside it in a checkout."""
    package = Path(runner.__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def own_conf() -> Path | None:
    """The current folder's ``conf/``, if it has one other than the built-in."""
    own = Path.cwd() / "conf"
    return own if own.is_dir() and own != built_in_conf() else None
