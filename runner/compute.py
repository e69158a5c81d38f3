"""How many worker processes a search gets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from runner.config.schema import Compute

logger = logging.getLogger(__name__)

# What starting workers costs before their first fit: TensorFlow's import, or scikit-learn's.
_NETWORK_START_S = 7.0
_LEARNER_START_S = 2.5


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_s(is_network: bool) -> float:
    """Seconds before a new worker process can begin its first fit."""
    return _NETWORK_START_S if is_network else _LEARNER_START_S


def choose_n_jobs(
    compute: Compute, n_fits: int, is_network: bool, measure: Callable[[], float]
) -> int:
    """Choose the number of processes; 1 stays in this one. Scores never depend on it.

    Parameters
    ----------
    compute
        With ``n_jobs=auto``, workers are started only where they repay their start.
    n_fits
        Fits to do.
    is_network
        Whether workers have to start TensorFlow.
    measure
        Returns the seconds that a fit takes in this process; called only where it decides.
    """
    if compute.n_jobs != "auto":
        return max(1, n_cores() + 1 + compute.n_jobs) if compute.n_jobs < 0 else compute.n_jobs
    jobs = min(max(1, n_cores() // compute.threads), n_fits)
    if jobs == 1:
        return 1
    fit_s = measure()
    saved_s = n_fits * fit_s * (1 - 1 / jobs)
    chosen = jobs if saved_s > start_s(is_network) else 1
    logger.info(
        "compute.n_jobs=auto: %d fits of about %.2g s: %s",
        n_fits,
        fit_s,
        f"{chosen} worker processes" if chosen > 1 else "this process alone",
    )
    return chosen
