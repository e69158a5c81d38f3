"""The plan of one experiment: what would be run, and what to expect of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runner.data.dataset import Task
from runner.planning.concerns import concerns_of
from runner.planning.expect import Expected, expect
from runner.planning.proposals import Candidate, Proposals, propose
from runner.preparation import Experiment
from runner.search.space import Dimension
from runner.searching import planned_fits

_SHOWN_CANDIDATES = 5


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Parameters
    ----------
    choices
        The option chosen from each group.
    task, n_train, n_test, shape, n_classes, scoring
        Of the data, and how candidates are ranked; `shape` is that of a row.
    space, n_combinations
        What is searched, by config path; how many combinations there are, None for infinitely many.
    n_candidates, n_folds, n_fits
        Of the search; halving fits some candidates more than once.
    n_baseline_fits, n_refits
        What comes after it.
    epochs
        Fewest and most epochs of a fit; None for models without.
    expected
        None where no fit could be timed.
    outputs
        The run's folder; its name holds the time at which it starts.
    candidates
        The first of them.
    warnings, notes
        What may not be as it was meant, and what the run would say at its start.
    """

    choices: dict[str, str]
    task: Task
    n_train: int
    n_test: int
    shape: tuple[int, ...]
    n_classes: int | None
    scoring: str
    space: Mapping[str, Dimension]
    n_combinations: int | None
    n_candidates: int
    n_folds: int
    n_fits: int
    n_baseline_fits: int
    n_refits: int
    epochs: tuple[int, int] | None
    expected: Expected | None
    outputs: str
    candidates: list[Candidate]
    warnings: list[str]
    notes: list[str]


def make_plan(experiment: Experiment, outputs: str, notes: list[str]) -> Plan:
    """Plan a checked experiment; a few steps are trained, and nothing is written."""
    data, config, searches = experiment.data, experiment.config, experiment.searches
    n_candidates, n_fits = planned_fits(experiment)
    n_baseline_fits = experiment.n_splits if searches else 0
    proposals = propose(experiment)
    plan = Plan(
        choices=config.choices,
        task=data.task,
        n_train=data.n_train,
        n_test=data.n_test,
        shape=data.shape,
        n_classes=None if data.classes is None else len(data.classes),
        scoring=experiment.scoring.refit,
        space=experiment.space.dimensions if searches else {},
        n_combinations=_n_combinations(experiment),
        n_candidates=n_candidates,
        n_folds=experiment.n_splits,
        n_fits=n_fits - n_baseline_fits,
        n_baseline_fits=n_baseline_fits,
        n_refits=2 if searches else 1,
        epochs=_epochs(experiment, proposals),
        expected=None,
        outputs=outputs,
        candidates=proposals.candidates[:_SHOWN_CANDIDATES],
        warnings=[],
        notes=notes,
    )
    problems = []
    try:
        plan = replace(plan, expected=expect(experiment, proposals))
    except Exception as error:  # noqa: BLE001 - whatever the model fails with
        problems = [f"no fit could be timed, they may all fail: {error}"]
    warnings = [*problems, *concerns_of(experiment, plan.expected, plan.n_fits)]
    return replace(plan, warnings=warnings, notes=[*notes, *_notes(experiment, proposals)])


def _n_combinations(experiment: Experiment) -> int | None:
    if not experiment.searches or not experiment.space.is_countable():
        return None
    return experiment.space.grid_size()


def _epochs(experiment: Experiment, proposals: Proposals) -> tuple[int, int] | None:
    if not experiment.is_network:
        return None
    configured: Any = experiment.config.training.epochs
    epochs = [one.get("training.epochs", configured) for one in proposals.candidates]
    return min(epochs), max(epochs)


def _notes(experiment: Experiment, proposals: Proposals) -> list[str]:
    config, notes = experiment.config, []
    if experiment.searches and experiment.ignores_budget:
        notes.append(f"search.n_iter={config.search.n_iter} means nothing here")
    if not proposals.are_real:
        notes.append(
            f"what search={config.choices.get('search')} will try is not known beforehand: "
            "the config as it is was timed in place of its candidates"
        )
    if experiment.is_network and config.training.early_stopping.patience is not None:
        notes.append("early stopping may end fits before the last epoch: expect less time")
    return notes
