"""Evaluating candidates one fold after the other, so that a pruner can leave hopeless ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from joblib import delayed
from optuna.trial import TrialState
from sklearn.base import clone
from sklearn.model_selection._validation import _fit_and_score, _insert_error_scores

Split = tuple[np.ndarray, np.ndarray]
Fit = dict[str, Any]
"""What scikit-learn tells of a fit: ``test_scores``, ``fit_time`` (s), ``fit_error``, …"""

_NOT_DONE: Fit = {
    "test_scores": np.nan,
    "fit_time": np.nan,
    "score_time": np.nan,
    "fit_error": "not done",
}


@dataclass
class Candidate:
    """A trial of a study, the parameters it proposes, and its fits so far.

    Of a study that several processes share, it may have been evaluated elsewhere.
    """

    trial: Any
    params: dict[str, Any]
    rank_by: str
    fits: list[Fit] = field(default_factory=list)
    is_pruned: bool = False
    is_elsewhere: bool = False

    @property
    def scores(self) -> list[float]:
        scores = [fit["test_scores"] for fit in self.fits]
        return [float(s[self.rank_by] if isinstance(s, dict) else s) for s in scores]

    @property
    def has_failed(self) -> bool:
        return any(fit["fit_error"] for fit in self.fits) or bool(np.isnan(self.scores).any())

    def tell(self, study: optuna.Study) -> None:
        """Tell the study the mean over folds, or why there is none."""
        if self.is_pruned:
            study.tell(self.trial, state=TrialState.PRUNED)
        elif self.has_failed:
            study.tell(self.trial, state=TrialState.FAIL)
        else:
            study.tell(self.trial, float(np.mean(self.scores)))


@dataclass(frozen=True)
class FoldByFold:
    """Fits candidates on folds; for a pruner, all of them on one fold before any on the next.

    What it decides therefore depends neither on how many processes there are nor on which fit
    ends first. It is told the mean over the folds so far; the number of folds is the step.

    ``estimator`` is cloned for each fit; ``parallel`` runs them.
    """

    estimator: Any
    scorer: Any
    parallel: Any
    splits: Sequence[Split]
    prunes: bool

    def evaluate(self, candidates: Sequence[Candidate], X: Any, y: Any) -> None:
        """Fit each candidate on every fold, with a pruner until it fails or is pruned."""
        if not self.prunes:
            self._evaluate_whole(candidates, X, y)
            return
        going_on = list(candidates)
        for n_done, split in enumerate(self.splits, start=1):
            fits = self.parallel(self._fit(candidate, X, y, split) for candidate in going_on)
            for candidate, fit in zip(going_on, fits, strict=True):
                candidate.fits.append(fit)
            going_on = [candidate for candidate in going_on if not candidate.has_failed]
            if n_done < len(self.splits):
                going_on = _left_by_pruner(going_on, n_done)

    def _evaluate_whole(self, candidates: Sequence[Candidate], X: Any, y: Any) -> None:
        pairs = [(candidate, split) for candidate in candidates for split in self.splits]
        fits = self.parallel(self._fit(candidate, X, y, split) for candidate, split in pairs)
        for (candidate, _), fit in zip(pairs, fits, strict=True):
            candidate.fits.append(fit)

    def _fit(self, candidate: Candidate, X: Any, y: Any, split: Split) -> Any:
        return delayed(_fit_and_score)(
            clone(self.estimator),
            X,
            y,
            scorer=self.scorer,
            train=split[0],
            test=split[1],
            verbose=0,
            parameters=candidate.params,
            fit_params={},
            score_params={},
            return_n_test_samples=True,
            return_times=True,
        )


def _left_by_pruner(candidates: Sequence[Candidate], n_done: int) -> list[Candidate]:
    """Those that the study's pruner lets go on after so many folds."""
    for candidate in candidates:
        candidate.trial.report(float(np.mean(candidate.scores)), step=n_done)
    for candidate in candidates:
        candidate.is_pruned = candidate.trial.should_prune()
    return [candidate for candidate in candidates if not candidate.is_pruned]


def cv_results(
    candidates: Sequence[Candidate], n_splits: int, format_results: Callable[..., Any]
) -> dict[str, Any]:
    """Make scikit-learn's ``cv_results_``, with ``pruned`` and ``n_folds`` (folds done) beside it.

    Folds that were not done have no score; a mean time is that of the folds that were.

    Parameters
    ----------
    format_results
        The search's own way from (parameters, number of splits, fits, more) to results.
    """
    fits = [
        fit
        for candidate in candidates
        for fit in (candidate.fits + [dict(_NOT_DONE)] * n_splits)[:n_splits]
    ]
    for fit in fits:
        if not isinstance(fit["test_scores"], dict) and np.isnan(fit["test_scores"]):
            # A scorer that failed leaves no error, but is to have as many scores as the others.
            fit["fit_error"] = fit["fit_error"] or "not scored"
    _insert_error_scores(fits, np.nan)
    more = {
        "pruned": [candidate.is_pruned for candidate in candidates],
        "n_folds": [len(candidate.fits) for candidate in candidates],
        "elsewhere": [candidate.is_elsewhere for candidate in candidates],
    }
    results: dict[str, Any] = format_results(
        [candidate.params for candidate in candidates],
        n_splits,
        [{k: fit[k] for k in ("test_scores", "fit_time", "score_time")} for fit in fits],
        more,
    )
    for name in ("fit_time", "score_time"):
        times = [[fit[name] for fit in candidate.fits] for candidate in candidates]
        results[f"mean_{name}"] = np.array([np.mean(each) for each in times])
        results[f"std_{name}"] = np.array([np.std(each) for each in times])
    return results
