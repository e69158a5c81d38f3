"""Which rows train and which are set apart for the one look at the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from runner.data.dataset import Array, DataOptions, Task
from runner.errors import RequestError


@dataclass(frozen=True)
class Split:
    """Row numbers, shape (n_train,) and (n_test,)."""

    train: Array
    test: Array


def split_rows(
    y: Array,
    task: Task,
    options: DataOptions,
    groups: Array | None = None,
    times: Array | None = None,
    n_shipped_train: int | None = None,
) -> Split:
    """Choose the test rows, then at most ``options.limit`` of the training rows.

    A shipped split is kept. Otherwise whole groups, the last rows in time, or rows at random
    (with the same share of each class) are set apart. Training rows come in order of time where
    there is one, as shipped, or shuffled.

    Parameters
    ----------
    y
        Clean target, shape (n,).
    groups, times
        Group and sortable time of each row, shape (n,).
    n_shipped_train
        The source's own training rows come first and are this many; None when it ships no split.

    Raises
    ------
    RequestError
        For ``data.test_size``, ``data.group`` or ``data.limit``: too few rows or groups.
    """
    if n_shipped_train is not None:
        split = _shipped(len(y), n_shipped_train, y, task, options)
    elif groups is not None:
        split = _by_group(groups, options)
    elif times is not None:
        split = _last_in_time(times, options)
    else:
        split = _at_random(y, task, options)
    train = _limited(split.train, y, task, options)
    if times is not None:
        train = train[np.argsort(times[train], kind="stable")]
    return Split(train, split.test)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return the random numbers of one purpose; they don't depend on what was drawn before."""
    return np.random.default_rng([seed, *purpose.encode()])


def shares(counts: Array, n: int, at_least: Array, at_most: Array) -> Array:
    """Share out `n` rows in proportion to `counts`, within bounds, by largest remainder.

    Parameters
    ----------
    counts, at_least, at_most
        Rows there are, and bounds on rows to take, shape (classes,). ``at_least.sum() <= n <=
        at_most.sum()``.

    Returns
    -------
    Array
        Rows to take of each class, shape (classes,); they add up to `n`.
    """
    exact = counts * (n / counts.sum())
    taken: Array = np.clip(np.floor(exact).astype(int), at_least, at_most)
    while taken.sum() < n:
        taken[np.argmax(np.where(taken < at_most, exact - taken, -np.inf))] += 1
    while taken.sum() > n:
        taken[np.argmin(np.where(taken > at_least, exact - taken, np.inf))] -= 1
    return taken


def _shipped(n: int, n_train: int, y: Array, task: Task, options: DataOptions) -> Split:
    test = np.arange(n_train, n)
    if options.limit is not None and len(test) > options.limit:
        test = _draw(test, y, task, options.limit, generator(options.seed, "limit test rows"))
    return Split(np.arange(n_train), test)


def _at_random(y: Array, task: Task, options: DataOptions) -> Split:
    needed = len(np.unique(y)) if task == "classification" else 2
    n_test = _n_test(len(y), needed, options)
    rng = generator(options.seed, "test split")
    test = _draw(np.arange(len(y)), y, task, n_test, rng, leave=1)
    train = np.setdiff1d(np.arange(len(y)), test)
    # Many sources are sorted by class, and folds that aren't shuffled would each lack some.
    return Split(rng.permutation(train), rng.permutation(test))


def _by_group(groups: Array, options: DataOptions) -> Split:
    seed = int(generator(options.seed, "test split by group").integers(2**31))
    splitter = GroupShuffleSplit(1, test_size=options.test_size, random_state=seed)
    n_groups = len(set(groups.tolist()))
    if n_groups < 2:
        raise RequestError("data.group", f"'{options.group}' has one value; at least 2 are needed")
    try:
        train, test = next(splitter.split(groups, groups=groups))
    except ValueError as error:
        problem = f"{options.test_size} of {n_groups} groups leaves none to train on"
        raise RequestError("data.test_size", problem) from error
    return Split(generator(options.seed, "order of training rows").permutation(train), test)


def _last_in_time(times: Array, options: DataOptions) -> Split:
    order = np.argsort(times, kind="stable")
    n_train = len(times) - _n_test(len(times), 2, options)
    return Split(order[:n_train], order[n_train:])


def _n_test(n: int, needed: int, options: DataOptions) -> int:
    n_test = max(1, round(n * options.test_size))
    if n - n_test < needed:
        problem = f"{options.test_size} leaves {n - n_test} of {n} rows to train on"
        raise RequestError("data.test_size", f"{problem}; at least {needed} are needed")
    return n_test


def _limited(train: Array, y: Array, task: Task, options: DataOptions) -> Array:
    if options.limit is None or len(train) <= options.limit:
        return train
    _, counts = np.unique(y[train], return_counts=True)
    needed = int(np.minimum(counts, 2).sum()) if task == "classification" else 2
    if options.limit < needed:
        each = f"2 of each of {len(counts)} classes" if task == "classification" else "2 rows"
        raise RequestError("data.limit", f"{options.limit} is too few: at least {needed}, {each}")
    rng = generator(options.seed, "limit training rows")
    return _draw(train, y, task, options.limit, rng, at_least=2)


def _draw(
    rows: Array,
    y: Array,
    task: Task,
    n: int,
    rng: np.random.Generator,
    at_least: int = 0,
    leave: int = 0,
) -> Array:
    """Draw `n` of `rows`, in their order; take `at_least` and leave `leave` of each class."""
    chosen = (
        rng.choice(len(rows), n, replace=False)
        if task == "regression"
        else _choose_stratified(y[rows], n, rng, at_least, leave)
    )
    drawn: Array = rows[np.sort(chosen)]
    return drawn


def _choose_stratified(
    y: Array, n: int, rng: np.random.Generator, at_least: int, leave: int
) -> Array:
    _, labels, counts = np.unique(y, return_inverse=True, return_counts=True)
    taken = shares(counts, n, np.minimum(counts, at_least), counts - leave)
    by_label = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    drawn = [rng.choice(of, size, replace=False) for of, size in zip(by_label, taken, strict=True)]
    return np.concatenate(drawn)
