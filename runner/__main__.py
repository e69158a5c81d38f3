"""The command line: ``python -m runner …`` and ``runner …`` are the same thing."""

from __future__ import annotations

import sys

from runner.app import run_app
from runner.secrets import guard_output


def main() -> None:
    """Run a verb, or Hydra's application where the first word is none."""
    guard_output()
    first, *rest = sys.argv[1:] or [""]
    if first == "resume":
        from runner.resume import resume

        sys.exit(resume(rest))
    sys.exit(run_app(sys.argv[1:]))


if __name__ == "__main__":
    main()
