"""What a person would want to know before starting an experiment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from runner.compute import n_cores
from runner.errors import listing
from runner.planning.expect import Expected
from runner.preparation import Experiment
from runner.results.verdict import duration
from runner.searching import splits

_FEW_TEST_ROWS = 30
_FEW_HELD_OUT = 10
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def concerns_of(experiment: Experiment, expected: Expected | None, n_fits: int) -> list[str]:
    """Say what may not be as it was meant, one sentence each, the most costly last."""
    return [
        *_of_space(experiment),
        *_of_test_rows(experiment),
        *_of_folds(experiment),
        *(_of_cost(experiment, expected, n_fits) if expected else ()),
    ]


def _of_space(experiment: Experiment) -> Iterator[str]:
    space, n_iter = experiment.space, experiment.config.search.n_iter
    if not experiment.searches or experiment.ignores_budget or not space.is_countable():
        return
    size = space.grid_size()
    if size > n_iter:
        yield (
            f"the space has {size} combinations, search.n_iter={n_iter} tries "
            f"{n_iter / size:.1%} of them"
        )
    elif size < n_iter:
        yield f"the space has {size} combinations only, fewer than search.n_iter={n_iter}"


def _of_test_rows(experiment: Experiment) -> Iterator[str]:
    data = experiment.data
    if data.n_test < _FEW_TEST_ROWS:
        yield f"{data.n_test} test rows are few: the test scores will say little"
    if data.classes is not None:
        missing = np.setdiff1d(data.classes, data.y_test)
        if len(missing):
            yield f"no test rows of class {listing(missing.tolist())}"


def _of_folds(experiment: Experiment) -> Iterator[str]:
    data, folds = experiment.data, list(splits(experiment))
    fewest = min(len(held_out) for _, held_out in folds)
    if fewest < _FEW_HELD_OUT:
        yield f"{fewest} rows are few to judge a candidate by; lower cv.n_splits"
    for label in data.classes if data.classes is not None else ():
        is_label = data.y_train == label
        count = int(is_label.sum())
        untrained = sum(not is_label[rows].any() for rows, _ in folds)
        unjudged = sum(not is_label[held_out].any() for _, held_out in folds)
        if untrained or unjudged:
            what = f"train without it in {untrained}" if untrained else f"lack it in {unjudged}"
            where = "" if untrained else " held-out parts"
            yield (
                f"class '{label}' has {count} training rows, too few for these folds: they "
                f"{what} of {len(folds)}{where}"
            )


def _of_cost(experiment: Experiment, expected: Expected, n_fits: int) -> Iterator[str]:
    config = experiment.config
    limit, budget = config.search.trial_timeout, config.search.time_budget_s
    if expected.failure is not None:
        yield f"a candidate failed when it was timed: {expected.failure}"
    processes = expected.n_jobs * config.compute.threads
    if limit is not None and expected.fit_s > limit:
        yield f"fits of {duration(expected.fit_s)} will fail at search.trial_timeout={limit:g}"
    if budget is not None and expected.full_search_s > budget:
        share = budget / expected.full_search_s
        yield f"search.time_budget_s={budget:g} is enough for about {share:.0%} of {n_fits} fits"
    if processes > n_cores():
        yield f"{processes} threads in all are more than the {n_cores()} cores of this machine"
    memory_mb = _machine_mb()
    if expected.memory_mb > memory_mb:
        yield (
            f"{expected.memory_mb:.0f} MB are more than the {memory_mb:.0f} MB of this machine: "
            "lower compute.n_jobs"
        )


def _machine_mb() -> float:
    """Memory that all processes may take together, in megabytes."""
    n_bytes = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):
        n_bytes = min(n_bytes, float(_MEMORY_LIMIT.read_text()))
    return n_bytes / 1e6
