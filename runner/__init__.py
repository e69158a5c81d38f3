"""Config-driven experiment runner for hyper-parameter tuning.

``run`` runs an experiment, ``compose`` makes a config of overrides, ``load`` reads a run's winner.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from runner.errors import ExperimentError, RequestError

if TYPE_CHECKING:
    from runner.api import compose, load, run
    from runner.results.finished import Run

__all__ = ["ExperimentError", "RequestError", "Run", "compose", "load", "run"]
__version__ = "0.1.0"

# Imported when first asked for: they bring Hydra and scikit-learn along.
_LATE = {
    "compose": "runner.api",
    "load": "runner.api",
    "run": "runner.api",
    "Run": "runner.results.finished",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
