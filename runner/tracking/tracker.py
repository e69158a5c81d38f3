"""What a place that runs are logged to has to be able to do, and the places that there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from runner.config.schema import Tracking
from runner.tracking.facts import RunFacts, SweepFacts


class TrackingError(Exception):
    """A run could not be logged; it is none the worse for it."""


class Tracker(Protocol):
    """Logs runs and sweeps somewhere, each as often as is liked: nothing is there twice.

    What fails raises `TrackingError`.
    """

    name: str
    follows: bool
    """Whether it logs a run while that goes on, rather than when it has ended."""

    def session(self) -> AbstractContextManager[None]:
        """What all else happens in; entered and left in the main thread."""

    def problem(self) -> str | None:
        """Why nothing can be logged now, found out within two seconds; None where it can."""

    def prepare(self) -> None:
        """Import what logging needs, in the main thread."""

    def log_run(self, run: RunFacts, briefly: bool = False) -> None:
        """Log a run as it stands; `briefly` only what it is and how it ended."""

    def log_sweep(self, sweep: SweepFacts) -> None:
        """Log a sweep as it stands; its jobs are logged as runs."""

    def where(self) -> str:
        """Where to look at what was logged last."""


def make_trackers(tracking: Tracking) -> list[Tracker]:
    """Make the trackers that a config asks for.

    Raises
    ------
    RequestError
        For an address that can't be used.
    """
    trackers: list[Tracker] = []
    if tracking.mlflow is not None:
        from runner.tracking.mlflow import MlflowTracker

        trackers.append(MlflowTracker(tracking.mlflow))
    if tracking.tensorboard is not None:
        from runner.tracking.tensorboard import TensorboardTracker

        trackers.append(TensorboardTracker(tracking.tensorboard))
    return trackers
