"""``runner init FOLDER``: a project of your own, with data and a model to start from."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import runner
from runner.errors import RequestError
from runner.verbs.arguments import DONE, Parser

_ABOUT = """\
Write a project that runs as it is: conf/ with a data set, a model and its space, the Python module
that they name, pyproject.toml that allows it, and a README with commands. FOLDER must be new or
empty.

examples:
  runner init wells
  runner init ."""
_TEMPLATE = Path(runner.__file__).parent / "template"
_FIRST_RUN = "runner data=spiral model=shortcut_mlp search.n_iter=5"


def init(arguments: Sequence[str]) -> int:
    """Write a project.

    Raises
    ------
    RequestError
        When the folder is not empty, or can't be written.
    """
    parser = Parser("init", _ABOUT)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder: Path = parser.parse(arguments).folder
    try:
        if folder.exists() and any(folder.iterdir()):
            raise RequestError(None, f"'{folder}' is not empty; name a new folder")
        shutil.copytree(
            _TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    except OSError as error:
        raise RequestError(None, f"can't write '{folder}': {error.strerror or error}") from None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    go = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    print("\n".join([*map(str, files), "", f"Next: {go}{_FIRST_RUN}"]))  # noqa: T201
    return DONE
