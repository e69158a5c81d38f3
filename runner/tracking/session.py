"""Logging runs and sweeps while they go on and when they end; a tracker that fails costs a line."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from runner.config.schema import Tracking
from runner.errors import RequestError
from runner.results.run_directory import RunDirectory
from runner.tracking.facts import RunFacts, read_run, read_sweep
from runner.tracking.tracker import Tracker, TrackingError, make_trackers

logger = logging.getLogger(__name__)

_EVERY_S, _MOST_SHARE = 5.0, 0.05
_LAST_PASS_S, _LAST_PASS_IN_A_HURRY_S = 30.0, 0.3

Begin = Callable[[], None]


@contextlib.contextmanager
def tracked_run(tracking: Tracking, directory: RunDirectory, is_job: bool) -> Iterator[Begin]:
    """Log a run from when `begin`, which this yields, is called, and once more when it has ended.

    Nothing that goes wrong with it raises. Of a job nothing is said of that either: its sweep logs
    at its end what jobs could not.

    Parameters
    ----------
    is_job
        Whether the run is one of a sweep: such a one is logged when it has ended, and only then.
    """
    trackers = make_trackers(tracking)
    with _sessions(trackers):
        watch = _Watch(trackers, directory, is_job)
        interrupted = False
        try:
            yield watch.begin
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            watch.end(in_a_hurry=interrupted)


@contextlib.contextmanager
def tracked_sweep(tracking: Tracking, folder: Path) -> Iterator[Callable[[bool], None]]:
    """Log a sweep when the block begins; what this yields logs how it ended, with jobs or not."""
    trackers = make_trackers(tracking)
    with _sessions(trackers):
        for tracker in _reachable(trackers):
            with _saying(tracker, "logging is left to the end"):
                tracker.prepare()
                tracker.log_sweep(read_sweep(folder))

        def log(with_jobs: bool) -> None:
            for tracker in trackers:
                with _saying(tracker, _how_to_log_later(folder)):
                    _log_sweep(tracker, folder, is_over=True, with_jobs=with_jobs)
                    logger.info("logged to %s", tracker.where())

        yield log


def track_ended(tracking: Tracking, path: Path, is_sweep: bool) -> Iterator[tuple[Tracker, str]]:
    """Log a run or a sweep, and tell of each tracker what went wrong, or nothing.

    Raises
    ------
    RequestError
        For a damaged record, or an address that can't be used.
    """
    for tracker in make_trackers(tracking):
        with tracker.session():
            try:
                _log_sweep(tracker, path) if is_sweep else _log_run(tracker, path)
            except TrackingError as error:
                yield tracker, str(error)
            else:
                yield tracker, ""


class _Watch:
    """The logging of one run."""

    def __init__(self, trackers: list[Tracker], directory: RunDirectory, is_job: bool) -> None:
        self._trackers = trackers
        self._directory = directory
        self._is_job = is_job
        self._began = False
        self._live: list[Tracker] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._began = True
        if not self._trackers or self._is_job:
            return
        for tracker in _reachable(each for each in self._trackers if each.follows):
            with _saying(tracker, "logging is left to the end"):
                tracker.prepare()
                tracker.log_run(read_run(self._directory))
                self._live.append(tracker)
        if self._live:
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def _follow(self) -> None:
        """Log what has come about since, every few seconds."""
        wait_s = _EVERY_S
        while self._live and not self._ended.wait(wait_s):
            started = time.monotonic()
            for tracker in list(self._live):
                try:
                    tracker.log_run(read_run(self._directory))
                except (TrackingError, RequestError, OSError):
                    # It is tried once more at the end, and told then.
                    logger.debug("", exc_info=True)
                    self._live.remove(tracker)
            # Reading a long record must not take a core from the fits.
            wait_s = max(_EVERY_S, (time.monotonic() - started) / _MOST_SHARE)

    def end(self, in_a_hurry: bool) -> None:
        if not (self._began and self._trackers):
            return
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_LAST_PASS_IN_A_HURRY_S if in_a_hurry else _LAST_PASS_S)
        busy = self._thread is not None and self._thread.is_alive()
        for tracker in self._trackers:
            if in_a_hurry and tracker.follows and tracker not in self._live:
                continue  # there is no time to import it
            with _saying(tracker, _how_to_log_later(self._directory.path), aloud=not self._is_job):
                if busy:
                    raise TrackingError("logging is stuck")
                _check(tracker)
                tracker.log_run(read_run(self._directory), briefly=in_a_hurry)
                if not self._is_job:
                    logger.info("logged to %s", tracker.where())


@contextlib.contextmanager
def _sessions(trackers: Iterable[Tracker]) -> Iterator[None]:
    with contextlib.ExitStack() as entered:
        for tracker in trackers:
            entered.enter_context(tracker.session())
        yield


@contextlib.contextmanager
def _saying(tracker: Tracker, remedy: str, aloud: bool = True) -> Iterator[None]:
    """Say in a line what keeps the block from logging, and how to do it later."""
    try:
        yield
    except Exception as error:
        problem = (
            str(error) if isinstance(error, TrackingError) else f"{type(error).__name__}: {error}"
        )
        level = logging.WARNING if aloud else logging.DEBUG
        logger.log(level, "tracking=%s: %s; %s", tracker.name, problem, remedy)
        logger.debug("", exc_info=True)


def _reachable(trackers: Iterable[Tracker]) -> Iterator[Tracker]:
    for tracker in trackers:
        problem = tracker.problem()
        if problem is None:
            yield tracker
        else:
            logger.warning("tracking=%s: %s; it goes on without", tracker.name, problem)


def _how_to_log_later(path: Path) -> str:
    return f"log it with: python -m runner track {shlex.quote(os.path.relpath(path))}"


def _check(tracker: Tracker) -> None:
    problem = tracker.problem()
    if problem is not None:
        raise TrackingError(problem)


def _log_run(tracker: Tracker, path: Path) -> None:
    _check(tracker)
    tracker.prepare()
    tracker.log_run(read_run(RunDirectory(path)))


def _log_sweep(
    tracker: Tracker, folder: Path, is_over: bool = False, with_jobs: bool = True
) -> None:
    """Log a sweep and its jobs; a job whose record is damaged does not keep the others.

    A sweep that is over, though this process still holds its folder, stands as its record says.
    """
    _check(tracker)
    tracker.prepare()
    sweep = read_sweep(folder, is_over=is_over)
    tracker.log_sweep(sweep)
    for job in sweep.jobs if with_jobs else ():
        try:
            run: RunFacts = read_run(job)
        except RequestError as error:
            logger.warning("%s", error)
        else:
            tracker.log_run(run)
    # The last that was logged is what `where` speaks of.
    tracker.log_sweep(sweep)
