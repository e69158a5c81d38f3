"""What a worker of a cluster does with the tasks of a run."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from runner import secrets
from runner.clusters.agreement import differences, facts
from runner.clusters.devices import Device, use_device
from runner.config.targets import allows_own_modules


@dataclass(frozen=True)
class Terms:
    """What a run asks of the workers that do its fits.

    Parameters
    ----------
    threads
        Threads of a fit.
    is_network
        Whether fits need TensorFlow.
    device
        What networks are trained on.
    facts
        Of the run's own process.
    folder
        Where modules of the user's own are; None where none are allowed.
    secrets
        Values that are never to be written.
    run
        Tells this run from others that the same worker serves.
    """

    threads: int
    is_network: bool
    device: Device
    facts: Mapping[str, str] = field(default_factory=facts)
    folder: Path | None = field(default_factory=lambda: _own_folder())
    secrets: tuple[str, ...] = field(default_factory=secrets.values)
    run: str = field(default_factory=lambda: uuid4().hex)


def _own_folder() -> Path | None:
    return Path.cwd() if allows_own_modules() else None


@dataclass(frozen=True)
class Shared:
    """Stands in a task for a value that is shared: the number of its handle."""

    index: int


@dataclass(frozen=True)
class Task:
    """Calls to be done in a worker, as joblib makes them, on a run's terms."""

    terms: Terms
    calls: Any

    def __call__(self, *shared: Any) -> Outcome:
        """Do the calls with the shared values."""
        problem = begin(self.terms)
        if problem:
            return Outcome(refusal=problem)
        self.calls.items = [
            (function, [_value(a, shared) for a in given], _values(named, shared))
            for function, given, named in self.calls.items
        ]
        try:
            return Outcome(self.calls())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the task's own
            return Outcome(error=_picklable(error))


@dataclass(frozen=True)
class Outcome:
    """What calls returned, what they raised, or why the worker would not do them."""

    values: Any = None
    error: BaseException | None = None
    refusal: str = ""


def _value(given: Any, shared: tuple[Any, ...]) -> Any:
    return shared[given.index] if isinstance(given, Shared) else given


def _values(named: Mapping[str, Any], shared: tuple[Any, ...]) -> dict[str, Any]:
    return {name: _value(given, shared) for name, given in named.items()}


def _picklable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an exception may be pickled in any way it likes
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


_begun: str | None = None


def begin(terms: Terms) -> str:
    """Set this worker process up for a run, once; say why it can't be, or nothing."""
    global _begun
    if _begun != terms.run:
        problem = _set_up(terms)
        if problem:
            return problem
        _begun = terms.run
    return ""


def _set_up(terms: Terms) -> str:
    # A worker may have joined, or have been used by others, since the run was checked.
    different = differences(terms.facts)
    if different:
        return f"has {different}"
    secrets.learn(terms.secrets)
    if terms.folder is not None:
        _import_anew(terms.folder)
    if not terms.is_network:
        return ""
    use_device(terms.device)
    from runner.training.runtime import settings, start_tensorflow

    start_tensorflow(terms.threads)
    threads, has_gpu = settings()
    if threads != terms.threads:
        return f"runs TensorFlow with {threads} threads already; restart it"
    if has_gpu != (terms.device == "gpu"):
        return f"runs TensorFlow {'with' if has_gpu else 'without'} a GPU already; restart it"
    return ""


def _import_anew(folder: Path) -> None:
    """Make modules in `folder` importable, as they are now: they may have changed since."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    inside = f"{folder}{os.sep}"
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        is_own = path.startswith(inside) and "site-packages" not in path
        if is_own and name.partition(".")[0] not in ("runner", "__main__", "__mp_main__"):
            del sys.modules[name]
