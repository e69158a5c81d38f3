"""Which scorers rank candidates, whether they fit the task, and the scoring of a fold."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils.metaestimators import available_if

from runner.data.dataset import Array, Task
from runner.data.fingerprint import fingerprint
from runner.errors import RequestError, did_you_mean, listing
from runner.search.curves import FILE, append_curves
from runner.search.record import FitEntry

_DEFAULT: dict[Task, str] = {"classification": "accuracy", "regression": "r2"}
_PROBE_ROWS = 40
_METHODS = ("predict", "predict_proba", "decision_function")


@dataclass(frozen=True)
class Scoring:
    """Scorer names; candidates are ranked by `refit`, and greater is better for all."""

    names: tuple[str, ...]
    refit: str

    @classmethod
    def parse(cls, scoring: str | Sequence[str], refit: str | None, task: Task) -> Scoring:
        """Read ``scoring`` and ``refit`` as they stand in a config.

        Raises
        ------
        RequestError
            For an unknown scorer, an empty list, or a `refit` that is not one of several.
        """
        if scoring == "auto":
            scoring = _DEFAULT[task]
        names = (scoring,) if isinstance(scoring, str) else tuple(scoring)
        if not names:
            raise RequestError("scoring", "is an empty list; name at least one scorer")
        for name in names:
            if name not in get_scorer_names():
                near = did_you_mean(name, get_scorer_names()) or _abbreviated(name, task)
                raise RequestError("scoring", f"there is no scorer '{name}'{near}")
        if refit is not None and refit not in names:
            near = did_you_mean(refit, names) or f"; it must be one of {listing(names)}"
            raise RequestError("refit", f"'{refit}' is not among scoring{near}")
        if len(set(names)) < len(names):
            raise RequestError("scoring", f"names a scorer twice: {listing(names)}")
        return cls(names, refit or names[0])

    def scores(self, estimator: Any, X: Any, y: Any) -> dict[str, float]:
        """Score fitted `estimator` on rows X of shape (n, …) with targets y of shape (n,)."""
        return {name: self.score(name, estimator, X, y) for name in self.names}

    def score(self, name: str, estimator: Any, X: Any, y: Any) -> float:
        """Score fitted `estimator` with one scorer."""
        return float(get_scorer(name)(estimator, X, y))

    def check(self, task: Task, classes: Array | None, estimator: Any) -> None:
        """Try every scorer on made-up predictions for these classes.

        Raises
        ------
        RequestError
            When a scorer can't judge this task, or asks for what the model can't predict.
        """
        for name in self.names:
            _check_kind(name, task)
            problem = _probe(name, task, classes, estimator)
            if problem:
                raise RequestError("scoring", f"'{name}' does not work here: {problem}")


def _check_kind(name: str, task: Task) -> None:
    module = get_scorer(name)._score_func.__module__
    kind = "regression" if "_regression" in module else "classification"
    if "cluster" in module:
        kind = "clustering"
    if kind != task:
        raise RequestError(
            "scoring",
            f"'{name}' is for {kind}, but the task is {task}; try {listing(_usual(task))}",
        )


def _abbreviated(name: str, task: Task) -> str:
    """Find what "mse" or "auc" stand for."""

    def initials(scorer: str) -> str:
        return "".join(part[0] for part in scorer.split("_"))

    known = [n for n in get_scorer_names() if name in n or name in initials(n)]
    return f"; try {listing(known or _usual(task))}"


def _usual(task: Task) -> list[str]:
    if task == "regression":
        return ["r2", "neg_mean_squared_error", "neg_mean_absolute_error"]
    return ["accuracy", "balanced_accuracy", "f1_macro", "neg_log_loss", "roc_auc_ovr"]


def _answers(method: str) -> Callable[[Any], bool]:
    return lambda self: method in self.answers


class Predictions(BaseEstimator):
    """An estimator's predictions, made once and answered by row number.

    Scorers take it for the estimator itself when they are given row numbers as X.

    Parameters
    ----------
    task
        Decides what scorers take it for.
    classes
        Class labels, None for regression.
    answers
        Prediction of every row for each method: shape (n,) or (n, n_classes).
    """

    def __init__(self, task: Task, classes: Array | None, answers: Mapping[str, Array]) -> None:
        self.task = task
        self.classes_ = classes
        self.answers = answers

    @classmethod
    def of(cls, estimator: Any, X: Any) -> Predictions:
        """Predict every row of X with each method that the estimator has."""
        methods = [m for m in _METHODS if hasattr(estimator, m)]
        answers = {method: np.asarray(getattr(estimator, method)(X)) for method in methods}
        return cls(estimator.task, getattr(estimator, "classes_", None), answers)

    def fit(self, X: Any, y: Any) -> Predictions:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier" if self.task == "classification" else "regressor"
        return tags

    def predict(self, X: Array) -> Array:
        return self._answer("predict", X)

    @available_if(_answers("predict_proba"))
    def predict_proba(self, X: Array) -> Array:
        return self._answer("predict_proba", X)

    @available_if(_answers("decision_function"))
    def decision_function(self, X: Array) -> Array:
        return self._answer("decision_function", X)

    def _answer(self, method: str, rows: Array) -> Array:
        answer: Array = self.answers[method][np.asarray(rows).ravel()]
        return answer


def _probe(name: str, task: Task, classes: Array | None, estimator: Any) -> str:
    """Score made-up predictions; return what is wrong, or nothing."""
    noise = np.random.default_rng(0)
    answers: dict[str, Array]
    if classes is None:
        y: Array = np.arange(1.0, _PROBE_ROWS + 1)
        answers = {"predict": noise.random(len(y))}
    else:
        y = np.resize(classes, max(_PROBE_ROWS, 2 * len(classes)))
        weights = noise.random((len(y), len(classes)))
        probabilities = weights / weights.sum(axis=1, keepdims=True)
        decisions = probabilities[:, 1] if len(classes) == 2 else probabilities
        made_up = (noise.permutation(y), probabilities, decisions)
        answers = {m: a for m, a in zip(_METHODS, made_up, strict=True) if hasattr(estimator, m)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            score = get_scorer(name)(Predictions(task, classes, answers), np.arange(len(y)), y)
        except (ValueError, TypeError, AttributeError) as error:
            text = str(error).splitlines()[0]
            if "predict_proba" in text or "response" in text:
                return "the model predicts no probabilities"
            return text.rstrip(".") + _alternatives(name)
    return "" if np.isfinite(score) else f"its value is {score}" + _alternatives(name)


def _alternatives(name: str) -> str:
    """Relatives of a scorer that average over classes."""
    known = get_scorer_names()
    related = [f"{name}{end}" for end in ("_ovr", "_macro", "_weighted") if f"{name}{end}" in known]
    return f"; for several or named classes use {listing(related)}" if related else ""


class FoldScorer:
    """Scores one fold for a search, and writes the finished fit to the record.

    A fit that the record has already is answered from there.

    Returns one number, or one for each scorer when there are several.
    """

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring

    def __call__(self, estimator: Any, X: Any, y: Any) -> float | dict[str, float]:
        scores = self._scores(estimator, X, y)
        return scores if len(scores) > 1 else scores[self.scoring.refit]

    def _scores(self, estimator: Any, X: Any, y: Any) -> dict[str, float]:
        if estimator.record is None:
            return self.scoring.scores(estimator, X, y)
        if estimator.has_failed_:
            return dict.fromkeys(self.scoring.names, np.nan)
        started = time.perf_counter()
        rows = fingerprint(X, y)
        fit = (estimator.candidate_id(), estimator.leaves(), estimator.fold_)
        known = estimator.record.find(fit[0], estimator.fold_)
        if (
            known is not None
            and known.rows == rows
            and set(known.scores) == set(self.scoring.names)
        ):
            return dict(known.scores)
        try:
            scores = self._finite(self.scoring.scores(estimator, X, y))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failed fit
            estimator.record.append(FitEntry.failed(*fit, error))
            return dict.fromkeys(self.scoring.names, np.nan)
        seconds = estimator.fit_s_ + time.perf_counter() - started
        if known is None:
            notes = estimator.notes_
            curves = estimator.record.path.with_name(FILE)
            append_curves(curves, fit[0], estimator.fold_, estimator.history_)
            estimator.record.append(FitEntry.completed(*fit, rows, scores, seconds, notes))
        return scores

    def _finite(self, scores: dict[str, float]) -> dict[str, float]:
        score = scores[self.scoring.refit]
        if not np.isfinite(score):
            raise ValueError(f"{self.scoring.refit} is {score}")
        return scores
