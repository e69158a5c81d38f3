"""How many worker processes a search gets."""

from __future__ import annotations

import logging
import os

from runner.config.schema import Compute

logger = logging.getLogger(__name__)

# Starting a worker and importing TensorFlow in it takes seconds: few fits do not repay it.
_FITS_WORTH_WORKERS = 8


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_n_jobs(compute: Compute, n_fits: int) -> int:
    """Number of processes for `n_fits` fits; 1 stays in this process. Scores never depend on it."""
    if compute.n_jobs != "auto":
        jobs = compute.n_jobs
        return max(1, n_cores() + 1 + jobs) if jobs < 0 else jobs
    jobs = max(1, n_cores() // compute.threads)
    chosen = 1 if n_fits < _FITS_WORTH_WORKERS else min(jobs, n_fits)
    logger.info(
        "compute.n_jobs=auto: %s for %d fits",
        "this process alone" if chosen == 1 else f"{chosen} worker processes",
        n_fits,
    )
    return chosen
