"""The clusters that this process is connected to, or has started."""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import socket
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from runner.clusters.agreement import Probe, disagreement, facts
from runner.clusters.cluster import CONNECT_S, Cluster
from runner.clusters.devices import Device, chosen_device, gpus
from runner.config.schema import Compute
from runner.errors import RequestError
from runner.interrupts import at_end

_PACKAGES = {"dask": "distributed", "ray": "ray"}
_SCHEMES = {"dask": ("tcp", "tls"), "ray": ("ray",)}
_EXAMPLES = {"dask": "tcp://HOST:8786", "ray": "ray://HOST:10001"}
_TRUSTED = "RUNNER_CLUSTERS"
_CLOSE_S = 1.0

_connected: dict[tuple[str, str | None], Cluster] = {}


def trust_named(overrides: Sequence[str]) -> None:
    """Trust the clusters that a user names in so many words, in worker processes too."""
    for text in overrides:
        key, _, addresses = text.partition("=")
        if key.lstrip("+") == "compute.address":
            named = [address.strip("\"'") for address in addresses.split(",")]
            known = [*_from_environment(), *named]
            os.environ[_TRUSTED] = " ".join(dict.fromkeys(known))


def _from_environment() -> list[str]:
    return os.environ.get(_TRUSTED, "").replace(",", " ").split()


def _from_pyproject() -> list[str]:
    with contextlib.suppress(OSError, ValueError):
        settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
        listed = settings.get("tool", {}).get("runner", {}).get("clusters", [])
        return [str(entry) for entry in listed] if isinstance(listed, list) else []
    return []


def check_compute(compute: Compute, folder: Path) -> None:
    """Check that fits can be done where `compute` says, before anything is loaded.

    Parameters
    ----------
    folder
        The run's or the sweep's, whether it exists or not.

    Raises
    ------
    RequestError
        When a package is missing, the cluster is not to be trusted or can't be reached, or one of
        its workers can't do this run's fits.
    """
    if compute.backend == "local":
        if compute.address is not None:
            raise RequestError("compute.address", "is for compute=dask and compute=ray")
    elif importlib.util.find_spec(_PACKAGES[compute.backend]) is None:
        raise RequestError(
            "compute",
            f"{compute.backend} is not installed: pip install 'runner[{compute.backend}]'",
        )
    elif compute.address is not None:
        _check_address(compute.backend, compute.address)
        _check_workers(compute.address, connection(compute), nearest_existing(folder))
    device_for(compute, is_network=True)


def nearest_existing(path: Path) -> Path:
    """The folder itself, or the first of those that it will be in."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def _check_address(backend: str, address: str) -> None:
    # What a cluster answers is unpickled, so it can do here what it likes.
    if address not in (*_from_environment(), *_from_pyproject()):
        raise RequestError(
            "compute.address",
            f"'{address}' was not named by you; to trust it, give it on the command line, set "
            f'{_TRUSTED}="{address}" in the environment, or [tool.runner] '
            f'clusters = ["{address}"] in this folder\'s pyproject.toml',
        )
    parts = urlsplit(address)
    try:
        is_whole = parts.scheme in _SCHEMES[backend] and parts.hostname and parts.port
    except ValueError:
        is_whole = False
    if not is_whole:
        raise RequestError(
            "compute.address", f"must look like {_EXAMPLES[backend]}, got '{address}'"
        )
    try:
        # Clients would try for longer, and say less.
        with socket.create_connection((str(parts.hostname), int(parts.port or 0)), CONNECT_S):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise RequestError("compute.address", f"nothing answers at {address}: {reason}") from None


def _check_workers(address: str, cluster: Cluster, folder: Path) -> None:
    probe = Probe(facts(), folder / f".{uuid4().hex}.probe", uuid4().hex)
    probe.path.write_text(probe.text, encoding="utf-8")
    try:
        answers = cluster.ask_workers(disagreement, probe)
    finally:
        probe.path.unlink()
    if not answers:
        raise RequestError("compute.address", f"the cluster at {address} has no workers")
    bad = {name: _problem(answer) for name, answer in answers.items() if answer}
    if bad:
        name, problem = next(iter(bad.items()))
        others = f" (and {len(bad) - 1} more of {len(answers)} workers)" if len(bad) > 1 else ""
        raise RequestError("compute.address", f"worker {name}{others} {problem}")


def _problem(answer: object) -> str:
    if isinstance(answer, ModuleNotFoundError):
        return f"lacks the module '{answer.name}': start it in the environment of this process"
    return str(answer) if isinstance(answer, str) else f"did not answer: {answer}"


def device_for(compute: Compute, is_network: bool) -> tuple[Device, int]:
    """What networks are trained on, and how many GPUs there are for that.

    Raises
    ------
    RequestError
        When a GPU is asked for and there is none.
    """
    if compute.device == "cpu":
        return "cpu", 0
    is_here = compute.address is None
    n_gpus = len(gpus()) if is_here else connection(compute).n_gpus()
    return chosen_device(compute.device, is_network, n_gpus, on_cluster=not is_here), n_gpus


def connection(compute: Compute) -> Cluster:
    """The cluster that `compute` names, connected to or started once in this process.

    Raises
    ------
    RequestError
        When it can't be reached.
    """
    key = (compute.backend, compute.address)
    if key not in _connected:
        if compute.backend == "dask":
            from runner.clusters.dask_cluster import DaskCluster

            _connected[key] = DaskCluster(compute.address)
        else:
            from runner.clusters.ray_cluster import RayCluster

            _connected[key] = RayCluster(compute.address, compute.threads)
        at_end(close_all)
        # After the library's own, which it registers when it is imported, and so called before.
        atexit.register(close_all)
    return _connected[key]


def close_all() -> None:
    """Leave every cluster, and end what this process started; within seconds, come what may."""
    clusters = [*_connected.values()]
    _connected.clear()

    def close() -> None:
        for cluster in clusters:
            with contextlib.suppress(Exception):
                cluster.close()

    if clusters:
        closing = threading.Thread(target=close, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
