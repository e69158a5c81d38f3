"""Runs as a comparison sees them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner.results.comparison.entry import Entry
from runner.results.run_directory import RunDirectory
from runner.results.schema import DataSummary

IRIS = DataSummary(120, 30, (4,), 3, "iris-0")


def run(name: str, score: float | None = None, status: str = "completed", **facts) -> Entry:
    """A run on iris; without a score unless one is given."""
    known = {"data": "iris", "model": "mlp", "scoring": "accuracy", "data_summary": IRIS, "seed": 0}
    known |= {"cv_mean": score, "cv_scores": () if score is None else (score,) * 3} | facts
    if known["data_summary"] is not None:
        known.setdefault("fingerprint", known["data_summary"].fingerprint)
    return Entry(RunDirectory(Path("outputs", name)), status, **known)


def of_seed(seed: int, name: str, score: float | None, *overrides: str, **facts) -> Entry:
    """A run whose split follows from its seed, as it does where a source ships none."""
    data = replace(IRIS, fingerprint=f"iris-{seed}")
    overrides = (*overrides, f"seed={seed}")
    return run(name, score, seed=seed, data_summary=data, overrides=overrides, **facts)
