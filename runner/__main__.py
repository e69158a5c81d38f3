"""The command line: ``python -m runner …`` and ``runner …`` are the same thing."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

from runner.completion import QUERY, completes_overrides
from runner.errors import ExperimentError, RequestError, did_you_mean
from runner.quiet import quick_import
from runner.secrets import guard_output

Verb = Callable[[Sequence[str]], int]

# Imported when called: looking at runs must not wait for what running them needs.
_VERBS = {
    "compare": "runner.verbs.compare",
    "init": "runner.verbs.init",
    "ls": "runner.verbs.ls",
    "options": "runner.verbs.options",
    "plan": "runner.verbs.plan",
    "predict": "runner.verbs.predict",
    "resume": "runner.resume",
    "show": "runner.verbs.show",
    "track": "runner.verbs.track",
}
_DONE, _FAILED, _REFUSED, _INTERRUPTED = 0, 1, 2, 130


def main() -> None:
    """Run a verb, or Hydra's application where the first word is none."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A terminal that knows no ± shows its number, rather than nothing at all.
        sys.stdout.reconfigure(errors="backslashreplace")
    guard_output()
    first, *rest = sys.argv[1:] or [""]
    if first in ("-h", "--help") and not rest:
        from runner.verbs.help import help_text

        print(help_text(_VERBS), end="")  # noqa: T201
        sys.exit(_DONE)
    if sys.argv[1:] == QUERY and not completes_overrides(_VERBS):
        sys.exit(_DONE)
    if first in _VERBS:
        _leave(_run(first, rest))
    if first and first[0] not in "-~" and "=" not in first:
        near = did_you_mean(first, _VERBS) or f"; verbs: {', '.join(_VERBS)}"
        sys.exit(_refuse(f"there is no verb '{first}'{near}"))
    with quick_import():
        from runner.app import run_app

    _leave(run_app(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    # Taking TensorFlow apart, object by object, would take seconds.
    gc.freeze()
    sys.exit(code)


def _run(name: str, arguments: Sequence[str]) -> int:
    verb: Verb = getattr(import_module(_VERBS[name]), name)
    try:
        code = verb(arguments)
        sys.stdout.flush()
    except RequestError as error:
        return _refuse(str(error))
    except ExperimentError as error:
        _refuse(str(error))
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has read enough (`| head`); Python must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _DONE
    return code


def _refuse(problem: str) -> int:
    print(f"runner: {problem}", file=sys.stderr)  # noqa: T201
    return _REFUSED


if __name__ == "__main__":
    main()
