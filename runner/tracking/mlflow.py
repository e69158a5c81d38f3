"""Runs in MLflow: one for each run and sweep, with jobs and candidates as children."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner import secrets
from runner.config.schema import MlflowSettings
from runner.tracking.facts import RunFacts, SweepFacts, own_id, read_sweep
from runner.tracking.mlflow_items import (
    ID,
    LOGGED,
    PARENT,
    SWEEP,
    Item,
    candidate_item,
    run_item,
    sweep_item,
)
from runner.tracking.reach import problem_with
from runner.tracking.settings import address_of
from runner.tracking.tracker import TrackingError

_STATUS = {
    "running": "RUNNING",
    "completed": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_PAGE = 1000
# A server that has gone must not hold a run up: MLflow itself tries for minutes.
_BOUNDS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
}
_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
_NOISY = ("mlflow", "alembic", "sqlalchemy.engine", "urllib3.connectionpool")
_USERNAME, _PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_LONGEST_PROBLEM = 200


@dataclass
class _Known:
    """A run that MLflow has: its id and status there, its tags, the names of its parameters."""

    run_id: str
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: set[str] = field(default_factory=set)

    @property
    def logged(self) -> str:
        """The digest of all that was logged, the last time that it was done to the end."""
        return self.tags.get(LOGGED, "")


class MlflowTracker:
    """See `Tracker`.

    A run is known again by a tag with its own id, so any process may log it at any time.
    """

    name, follows = "mlflow", True

    def __init__(self, settings: MlflowSettings) -> None:
        self._settings = settings
        self._address = address_of(settings)
        self._client: Any = None
        self._experiment_id = ""
        self._known: dict[str, _Known] = {}
        self._looked_up: set[tuple[str, str]] = set()
        self._last = ""
        self._deadline = 0.0

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Bound MLflow's patience and keep it quiet, for the length of the block."""
        changes = {**{k: v for k, v in _BOUNDS.items() if k not in os.environ}, **_SILENCE}
        if self._address.username is not None:
            changes[_USERNAME] = self._address.username
            changes[_PASSWORD] = self._address.password or ""
            secrets.remember(_PASSWORD)
        before = {name: os.environ.get(name) for name in changes}
        loggers = [logging.getLogger(name) for name in _NOISY]
        levels = [each.level for each in loggers]
        os.environ.update(changes)
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def problem(self) -> str | None:
        return problem_with(self._address)

    def prepare(self) -> None:
        with self._translated(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._connect()

    def where(self) -> str:
        if self._address.database is None:
            return f"{self._address}/#/experiments/{self._experiment_id}/runs/{self._last}"
        return f"{self._address} (mlflow ui --backend-store-uri sqlite:///{self._address})"

    def log_run(self, run: RunFacts, briefly: bool = False) -> None:
        with self._translated():
            self._connect()
            tags = {} if run.sweep is None else self._job_tags(run.sweep)
            n_children = len(run.candidates) if self._settings.candidates else 0
            item = run_item(run, self._settings.artifacts and not briefly, n_children)
            item = replace(item, tags={**item.tags, **tags})
            known, digest = self._find(item.id), item.digest()
            changed = known is None or known.logged != digest
            if known is None or changed:
                known = self._put(item, known)
            if not briefly and (changed or item.status == "running"):
                self._log_candidates(run, known.run_id)
            if changed:
                # Last, so that files that can't be copied cost nothing but themselves.
                self._copy(item, known)
                self._close(item, known, "" if briefly else digest)
            self._last = known.run_id

    def log_sweep(self, sweep: SweepFacts) -> None:
        with self._translated():
            self._connect()
            # Its jobs may have been logged by other processes since.
            self._looked_up.discard((SWEEP, sweep.id))
            self._look_up(SWEEP, sweep.id)
            item = sweep_item(sweep, self._settings.artifacts)
            self._last = self._log(item, self._find(item.id)).run_id

    def _job_tags(self, folder: Path) -> dict[str, str]:
        """What makes a run a job of its sweep, which is logged first where it is not yet."""
        sweep_id = own_id(folder)
        known = self._find(sweep_id)
        if known is None:
            # Jobs side by side must not make two of it.
            with _locked(str(folder / ".tracking.lock")):
                self._looked_up.discard((ID, sweep_id))
                item = sweep_item(read_sweep(folder), with_files=False)
                known = self._find(sweep_id) or self._log(item, None)
        return {PARENT: known.run_id, SWEEP: sweep_id}

    def _log_candidates(self, run: RunFacts, parent: str) -> None:
        if self._settings.candidates:
            self._look_up(PARENT, parent)
            for candidate in run.candidates:
                item = candidate_item(run, candidate)
                item = replace(item, tags={**item.tags, PARENT: parent})
                self._log(item, self._known.get(item.id))

    def _log(self, item: Item, known: _Known | None) -> _Known:
        digest = item.digest()
        if known is None or known.logged != digest:
            known = self._put(item, known)
            self._copy(item, known)
            self._close(item, known, digest)
        return known

    # Requests ------------------------------------------------------------------------------------

    def _connect(self) -> None:
        self._deadline = time.monotonic() + self._settings.timeout_s
        if self._client is not None:
            return
        from mlflow.tracking import MlflowClient

        with self._alone():
            client = MlflowClient(tracking_uri=self._address.uri)
            self._experiment_id = self._find_experiment(client)
        self._client = client

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only process that makes a database and its tables."""
        database = self._address.database
        if database is None:
            yield
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        with _locked(f"{database}.lock"):
            yield

    def _find_experiment(self, client: Any) -> str:
        from mlflow.exceptions import MlflowException

        name, database = secrets.mask(self._settings.experiment), self._address.database
        files = None if database is None else (database.parent / "mlartifacts").as_uri()
        for attempt in (1, 2):
            found = client.get_experiment_by_name(name)
            if found is not None:
                return str(found.experiment_id)
            try:
                return str(client.create_experiment(name, artifact_location=files))
            except MlflowException:
                # Another process may have made it meanwhile.
                if attempt == 2:
                    raise
        raise AssertionError

    def _find(self, own: str) -> _Known | None:
        """What MLflow has under an id of ours."""
        if own not in self._known:
            self._look_up(ID, own)
        return self._known.get(own)

    def _look_up(self, tag: str, value: str) -> None:
        """Learn which runs have a tag."""
        token = None
        while (tag, value) not in self._looked_up:
            self._check_time()
            page = self._client.search_runs(
                [self._experiment_id],
                f"tags.`{tag}` = '{value}'",
                max_results=_PAGE,
                page_token=token,
            )
            for run in page:
                tags = dict(run.data.tags)
                known = _Known(run.info.run_id, run.info.status, tags, set(run.data.params))
                self._known.setdefault(tags.get(ID, ""), known)
            token = page.token
            if not token:
                self._looked_up.add((tag, value))

    def _put(self, item: Item, known: _Known | None) -> _Known:
        """Log what a run is: made where there is none, else brought up to date."""
        from mlflow.entities import Metric, Param, RunTag

        self._check_time()
        if known is None:
            run = self._client.create_run(
                self._experiment_id,
                start_time=_ms(item.started),
                tags=dict(item.tags),
                run_name=item.name,
            )
            known = self._known[item.id] = _Known(run.info.run_id)
        self._check_time()
        self._client.log_batch(
            known.run_id,
            [Metric(p.key, p.value, _ms(p.at), p.step) for p in item.points],
            # MLflow lets no parameter change: what a resumed run has changed stays as it was.
            [Param(name, text) for name, text in item.params.items() if name not in known.params],
            [RunTag(name, text) for name, text in item.tags.items()],
        )
        if "error" in known.tags and "error" not in item.tags:
            self._client.delete_tag(known.run_id, "error")
        known.tags = dict(item.tags)
        known.params |= set(item.params)
        return known

    def _copy(self, item: Item, known: _Known) -> None:
        for path, folder in item.files:
            self._check_time()
            self._client.log_artifact(known.run_id, str(path), folder or None)

    def _close(self, item: Item, known: _Known, digest: str) -> None:
        self._check_time()
        status = _STATUS[item.status]
        if item.status != "running":
            self._client.set_terminated(known.run_id, status, _ms(item.ended))
        elif known.status != status:
            self._client.update_run(known.run_id, status=status)
        # Only now: what was cut short is logged again.
        self._client.set_tag(known.run_id, LOGGED, digest)
        known.status, known.tags[LOGGED] = status, digest

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise TrackingError(
                f"{self._address} took longer than tracking.mlflow.timeout_s="
                f"{self._settings.timeout_s:g}"
            )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Say in a line what went wrong, whatever raised it."""
        try:
            yield
        except TrackingError:
            raise
        except Exception as error:
            problem = self.problem()
            if problem is None:
                lines = str(error).strip().splitlines() or [""]
                problem = f"{type(error).__name__}: {lines[0]}"
            raise TrackingError(problem[:_LONGEST_PROBLEM]) from error


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
