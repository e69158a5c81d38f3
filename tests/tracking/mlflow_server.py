"""A real MLflow server on this machine, over a SQLite database, and what is read back from it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import wait_until

# Its background jobs are eight more processes.
_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class MlflowServer:
    """A server that keeps its database and port when it is stopped and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chosen(self) -> tuple[str, ...]:
        """The overrides that log there."""
        return ("tracking=mlflow", f"tracking.mlflow.uri={self.uri}")

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder}/server.db"),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **_SETTINGS},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.answers, "the server's start")

    def kill(self) -> None:
        """End it and its workers as a crash would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.uri}/health", timeout=5).status == 200
        return False


@dataclass
class Logged:
    """A run as MLflow has it."""

    id: str
    name: str
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def parent(self) -> str | None:
        return self.tags.get("mlflow.parentRunId")


def read_back(uri: str, experiment: str = "runner") -> list[Logged]:
    """All runs of an experiment, in the order of their start."""
    client = _client(uri)
    found = client.get_experiment_by_name(experiment)
    runs = [] if found is None else client.search_runs([found.experiment_id], max_results=1000)
    return [
        Logged(
            run.info.run_id,
            run.info.run_name,
            run.info.status,
            run.data.params,
            run.data.metrics,
            run.data.tags,
        )
        for run in sorted(runs, key=lambda run: run.info.start_time)
    ]


def history(uri: str, run: Logged, key: str) -> list[tuple[int, float]]:
    """Steps and values of a metric, as often as they are there."""
    points = _client(uri).get_metric_history(run.id, key)
    return sorted((point.step, point.value) for point in points)


def files(uri: str, run: Logged, folder: str = "") -> set[str]:
    """Paths of all files that were copied."""
    found: set[str] = set()
    for item in _client(uri).list_artifacts(run.id, folder or None):
        found |= files(uri, run, item.path) if item.is_dir else {item.path}
    return found


def content(uri: str, run: Logged, path: str, to: Path) -> bytes:
    to.mkdir(exist_ok=True)
    return Path(_client(uri).download_artifacts(run.id, path, str(to))).read_bytes()


def top(runs: list[Logged]) -> Logged:
    """The only run without a parent."""
    (run,) = (run for run in runs if run.parent is None)
    return run


def children(runs: list[Logged], parent: Logged) -> list[Logged]:
    return [run for run in runs if run.parent == parent.id]


def _client(uri: str) -> Any:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)
