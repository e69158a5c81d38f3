"""Which GPU a process trains networks on, if any: decided before TensorFlow starts."""

from __future__ import annotations

import contextlib
import ctypes.util
import fcntl
import importlib.util
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Literal

from runner.errors import RequestError

Device = Literal["cpu", "gpu"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NONE = "-1"
_DRIVER = Path("/proc/driver/nvidia/gpus")
_ASK_S = 5
# More processes than that on one GPU would not fit its memory anyway.
_MOST_SHARING = 64


def gpus() -> tuple[str, ...]:
    """GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    return visible(_n_gpus(), os.environ)


def visible(n_gpus: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """What ``CUDA_VISIBLE_DEVICES``, where it is set, leaves of a machine's GPUs.

    As CUDA reads it, the first name that means no GPU ends the list.
    """
    if n_gpus == 0:
        return ()
    there = tuple(map(str, range(n_gpus)))
    if _VISIBLE not in environment:
        return there
    names = []
    for name in environment[_VISIBLE].split(","):
        known = name.strip() in there or name.strip().startswith(("GPU-", "MIG-"))
        if not known:
            break
        names.append(name.strip())
    return tuple(names)


def _n_gpus() -> int:
    with contextlib.suppress(OSError):
        return len(list(_DRIVER.iterdir()))
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_ASK_S, check=True
        )
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return 0


def chosen_device(asked: str, is_network: bool, n_gpus: int, on_cluster: bool = False) -> Device:
    """What networks are trained on, where there are so many GPUs.

    Parameters
    ----------
    asked
        ``auto``, ``cpu`` or ``gpu``.
    on_cluster
        Whether the GPUs are those of a cluster's workers.

    Raises
    ------
    RequestError
        When a GPU is asked for and there is none.
    """
    if asked == "gpu" and n_gpus == 0:
        where = "on every worker" if on_cluster else "here"
        raise RequestError(
            "compute.device", f"there is no GPU {where}; cpu and auto do without one"
        )
    if not is_network or asked == "cpu" or n_gpus == 0:
        return "cpu"
    return "gpu" if asked == "gpu" or on_cluster or _has_libraries() else "cpu"


def _has_libraries() -> bool:
    """Whether the libraries are there without which TensorFlow leaves a GPU alone."""
    with contextlib.suppress(ModuleNotFoundError):
        if importlib.util.find_spec("nvidia.cudnn") is not None:
            return True
    return ctypes.util.find_library("cudnn") is not None


def places(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Places for processes, in the order in which they are taken: each GPU once, then twice, …"""
    for sharing in count():
        for name in names:
            yield name, sharing


def use_device(device: Device) -> None:
    """Let TensorFlow, which has not started, see one GPU or none; a GPU's memory is not all taken.

    The GPU is the one that the fewest of this user's processes on this machine have taken, whatever
    run they belong to, the first of those. It is free again when the process ends.
    """
    if device == "cpu":
        if gpus():
            os.environ[_VISIBLE] = _NONE
        return
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    if _taken is None:
        os.environ[_VISIBLE] = _take(gpus())


_taken: int | None = None


def _take(names: Sequence[str]) -> str:
    """Take the first place that no living process has."""
    global _taken
    folder = Path(tempfile.gettempdir(), f"runner-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, sharing in places(names):
        if sharing == _MOST_SHARING:
            break
        place = folder / f"{name.replace('/', '_')}.{sharing}"
        lock = os.open(place, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        _taken = lock
        return name
    return names[0]
