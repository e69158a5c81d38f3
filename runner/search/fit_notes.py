"""What a trial of a shared study notes of a fit, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runner.search.fold_by_fold import Fit
from runner.secrets import mask

DIED = {
    "scores": {"score": None},
    "is_one": True,
    "fit_s": None,
    "score_s": None,
    "error": "its process died",
}


def to_json(fit: Fit) -> dict[str, Any]:
    """What a trial keeps of a fit."""
    scores = fit["test_scores"]
    several = scores if isinstance(scores, dict) else {"score": scores}
    error = str(fit["fit_error"] or "").strip().splitlines()
    return {
        "scores": {name: _number(score) for name, score in several.items()},
        "is_one": not isinstance(scores, dict),
        "fit_s": _number(fit["fit_time"]),
        "score_s": _number(fit["score_time"]),
        "error": mask(error[-1]) if error else None,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def from_json(fit: Mapping[str, Any]) -> Fit:
    """Read what `to_json` made."""
    scores = {name: np.nan if s is None else s for name, s in fit["scores"].items()}
    times = {key: np.nan if fit[key] is None else fit[key] for key in ("fit_s", "score_s")}
    return {
        "test_scores": scores["score"] if fit["is_one"] else scores,
        "fit_time": times["fit_s"],
        "score_time": times["score_s"],
        "fit_error": fit["error"],
    }
