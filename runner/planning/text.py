"""A plan as tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from runner.config.options import GROUPS
from runner.planning.expect import Expected
from runner.planning.plan import Plan
from runner.results.comparison.tables import TextTable
from runner.results.verdict import duration, parameter
from runner.search.space import Choice, Dimension


def plan_tables(plan: Plan) -> list[TextTable]:
    """The plan, and the first candidates where there is a search."""
    tables = [TextTable(_title(plan), ("", ""), list(_rows(plan)), list(_remarks(plan)))]
    if any(plan.candidates):
        paths = list(plan.space)
        rows = [
            ["" if path not in one else parameter(one[path]) for path in paths]
            for one in plan.candidates
        ]
        title = f"The first {len(rows)} of {plan.n_candidates} candidates"
        tables.append(TextTable(title, paths, rows))
    return tables


def _title(plan: Plan) -> str:
    names = f"{plan.choices.get('model')} on {plan.choices.get('data')}"
    return f"{names}: {plan.n_candidates} candidates × {plan.n_folds} folds = {_fits(plan)}"


def _fits(plan: Plan) -> str:
    n_plain = plan.n_candidates * plan.n_folds
    rungs = f"{n_plain} fits, {plan.n_fits} with those that go on"
    fits = f"{plan.n_fits} fits" if plan.n_fits == n_plain else rungs
    if plan.epochs is None:
        return fits
    low, high = plan.epochs
    return f"{fits}, of {low if low == high else f'{low} to {high}'} epochs"


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    classes = "" if plan.n_classes is None else f", {plan.n_classes} classes"
    shape = " × ".join(map(str, plan.shape))
    yield "data", f"{plan.n_train} training and {plan.n_test} test rows of {shape}{classes}"
    chosen = {
        group: plan.choices[group] for group in (*GROUPS, *plan.choices) if group in plan.choices
    }
    yield "groups", " ".join(f"{group}={option}" for group, option in chosen.items())
    for path, dimension in plan.space.items():
        yield "space", f"{path}: {_values(dimension)}"
    yield "search", f"{plan.n_fits} fits, ranked by {plan.scoring}"
    if plan.n_baseline_fits:
        yield "baseline", f"{plan.n_baseline_fits} fits"
    yield "refit", f"{plan.n_refits} fits on all training rows"
    if plan.expected is not None:
        yield from _expected(plan.expected)
    yield "outputs", f"{plan.outputs} (the time is that of the start)"


def _expected(expected: Expected) -> Iterator[tuple[str, str]]:
    where = "this process alone" if expected.n_jobs == 1 else f"{expected.n_jobs} processes"
    parts = [f"search {duration(expected.search_s)} in {where}"]
    if expected.baseline_s:
        parts.append(f"baseline {duration(expected.baseline_s)}")
    parts.append(f"refit {duration(expected.refit_s)}")
    yield "duration", f"about {duration(expected.total_s)}: {', '.join(parts)}"
    yield "memory", f"about {expected.memory_mb / 1000:.1f} GB"


def _values(dimension: Dimension) -> str:
    only = ""
    if dimension.when:
        conditions = [
            f"{path}={'|'.join(map(parameter, values))}" for path, values in dimension.when.items()
        ]
        only = f" when {' and '.join(conditions)}"
    if isinstance(dimension, Choice):
        return ", ".join(map(parameter, dimension.values)) + only
    step = "" if dimension.step is None else f" in steps of {dimension.step}"
    log = ", log" if dimension.log else ""
    return f"{dimension.low} to {dimension.high}{step}{log}{only}"


def _remarks(plan: Plan) -> Iterator[str]:
    yield from plan.notes
    yield from (f"warning: {warning}" for warning in plan.warnings)
