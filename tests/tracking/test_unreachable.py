"""A server that isn't there, or doesn't answer, costs a run two lines and two seconds."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from command import CompletedRun, run_command
from mlflow_server import free_port

from runner.tracking.reach import problem_with
from runner.tracking.settings import Address

RUN = ("data=iris", "model=logistic_regression", "search=none", "plots=false")
PASSWORD = "sesame-4711"


def run_with(uri: str, folder: Path, *more: str) -> CompletedRun:
    chosen = ("tracking=mlflow", f"tracking.mlflow.uri={uri}")
    return run_command(*RUN, *chosen, *more, cwd=folder)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_run_goes_on_without_its_server_and_says_how_to_log_later(folder: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    done = run_with(uri, folder)
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if line.startswith("tracking=mlflow: ")]
    track = f"log it with: python -m runner track {done.directory.relative_to(folder)}"
    refused = f"tracking=mlflow: {uri} does not answer (Connection refused)"
    assert said == [f"{refused}; it goes on without", f"{refused}; {track}"]


def test_silence_is_told_within_two_seconds(silent: int) -> None:
    started = time.monotonic()
    assert problem_with(Address(f"http://127.0.0.1:{silent}")) is not None
    assert 1 < time.monotonic() - started < 3


def test_hosts_that_do_not_exist_are_told() -> None:
    problem = problem_with(Address("http://no-such-host.invalid:5000"))
    assert problem is not None
    assert "no such host" in problem or "no answer" in problem


class _Asks(BaseHTTPRequestHandler):
    """Notes who asks, and fails at everything but the question whether it is there."""

    seen: list[str | None]

    def _answer(self) -> None:
        self.seen.append(self.headers.get("Authorization"))
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 - the names of http.server

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def asking() -> Iterator[tuple[int, list[str | None]]]:
    handler = type("Asks", (_Asks,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, handler.seen  # type: ignore[attr-defined]
    server.shutdown()


@pytest.mark.slow
def test_password_of_an_address_is_used_and_written_nowhere(
    folder: Path, asking: tuple[int, list[str | None]]
) -> None:
    port, seen = asking
    env = {"MLFLOW_TRACKING_URI": f"http://someone:{PASSWORD}@127.0.0.1:{port}"}
    done = run_command(*RUN, "tracking=mlflow", "log_level=debug", cwd=folder, env=env)
    assert done.code == 0, done.err
    assert "tracking=mlflow: " in done.err
    sent = base64.b64encode(f"someone:{PASSWORD}".encode()).decode()
    assert f"Basic {sent}" in seen
    for text in (done.out, done.err):
        assert PASSWORD not in text
    for path in folder.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
