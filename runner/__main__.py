"""The command line: ``python -m runner …`` and ``runner …`` are the same thing."""

from __future__ import annotations

import sys

from runner.app import run_app


def main() -> None:
    sys.exit(run_app(sys.argv[1:]))


if __name__ == "__main__":
    main()
