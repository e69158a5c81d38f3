"""The outcome of a run in a sentence, and numbers as people read them."""

from __future__ import annotations

import math

from runner.results.jsonable import plain, to_json
from runner.results.schema import Comparison, Evaluation, Result
from runner.secrets import mask

SIGNIFICANT = 0.05
_COMPARED = {"classification": ("accuracy", "accuracy"), "regression": ("r2", "R²")}


def verdict(result: Result) -> str:
    """Say in a sentence or two what came of the run: tuned against baseline on the test rows."""
    if result.status == "failed":
        error = result.error or {}
        return f"The run failed: {error.get('type', 'error')}: {error.get('message', 'unknown')}"
    prefix = "Interrupted before the end. " if result.status == "interrupted" else ""
    return prefix + _outcome(result)


def comparison_sentence(result: Result) -> str | None:
    """Say what tuning changed on the test rows; None where nothing was compared."""
    if result.comparison is None or result.best is None:
        return None
    return f"{_headline(result, result.comparison)}: {_measured(result, result.comparison)}"


def number(value: float | None) -> str:
    """Write a score with four digits after the point; an undefined one as a dash."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def mean_and_std(evaluation: Evaluation) -> str:
    return f"{number(evaluation.cv_mean)} ± {number(evaluation.cv_std)}"


def test_score(evaluation: Evaluation, metric: str, scoring: str | None) -> str:
    """Write a test score, with its interval where `metric` is the one that has it."""
    text = number(evaluation.test.get(metric))
    if metric != scoring or evaluation.test_ci95 is None:
        return text
    return f"{text} [{number(evaluation.test_ci95[0])}, {number(evaluation.test_ci95[1])}]"


def test_metrics(result: Result) -> list[str]:
    """Names of the scorers used on the test rows, in the order of the record."""
    evaluations = [entry for entry in (result.baseline, result.best) if entry is not None]
    return list(dict.fromkeys(metric for entry in evaluations for metric in entry.test))


def parameter(value: object) -> str:
    """Write a parameter's value: text bare, floats with up to six digits, the rest as JSON."""
    value = mask(value)
    if isinstance(value, str):
        return value
    value = plain(value)
    return f"{value:.6g}" if isinstance(value, float) else to_json(value)


def duration(seconds: float | None) -> str:
    """Write a duration in its two largest units (``2 h 5 min``)."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def p_value_text(value: float) -> str:
    """Write a p-value as the end of ``p …``."""
    if not math.isfinite(value):
        return "undefined"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _outcome(result: Result) -> str:
    sentence = comparison_sentence(result)
    if sentence is not None:
        return sentence
    if result.best is None:
        return "There is no winner: no candidate was scored."
    scoring = result.scoring or "score"
    return (
        f"Nothing to compare with: cross-validated {scoring} {mean_and_std(result.best)}, "
        f"{test_score(result.best, scoring, scoring)} on {_rows(result)}."
    )


def _headline(result: Result, comparison: Comparison) -> str:
    if result.best is not None and result.baseline is not None:
        kept = result.best.params == result.baseline.params
        if kept or result.best.cv_mean <= result.baseline.cv_mean:
            return "Tuning did not help, no candidate beat the baseline in cross-validation"
    if not comparison.p_value < SIGNIFICANT:
        return "Tuning made no difference that the test rows can show"
    return "Tuning helped" if comparison.difference > 0 else "Tuning did not help, it did harm"


def _measured(result: Result, comparison: Comparison) -> str:
    key, name = _COMPARED.get(result.task or "", ("", "score"))
    before = result.baseline.test.get(key) if result.baseline else None
    after = result.best.test.get(key) if result.best else None
    scores = "" if before is None or after is None else f" {number(before)} → {number(after)},"
    low, high = comparison.ci95
    return (
        f"{name}{scores} {_signed(comparison.difference)} on {_rows(result)} "
        f"(95% interval {_signed(low)} to {_signed(high)}; p {p_value_text(comparison.p_value)})."
    )


def _rows(result: Result) -> str:
    return f"{result.data.n_test} test rows" if result.data else "the test rows"


def _signed(value: float) -> str:
    return f"{value:+.4f}" if math.isfinite(value) else "–"
