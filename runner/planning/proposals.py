"""What a search would evaluate, found by running it on scores that are all alike."""

from __future__ import annotations

import inspect
import itertools
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from runner.preparation import Experiment
from runner.searching import planned_fits

logger = logging.getLogger(__name__)

Candidate = dict[str, Any]

# A grid may have millions of them; evenly spread ones stand for all.
_MOST = 2000


@dataclass(frozen=True)
class Proposals:
    """Candidates in the order of the search.

    Parameters
    ----------
    batches
        Candidates that are evaluated at the same time; a batch waits for the one before.
    share
        How many of all evaluations they are, in (0, 1].
    are_real
        Whether the search itself named them; otherwise the config as it is stands for them.
    """

    batches: list[list[Candidate]]
    share: float
    are_real: bool = True

    @property
    def candidates(self) -> list[Candidate]:
        return list(itertools.chain.from_iterable(self.batches))


def propose(experiment: Experiment) -> Proposals:
    """Let the search of an experiment name its candidates.

    Grids and random draws are what the search will evaluate. A search that goes by scores proposes
    as if all were alike: the number of its candidates is right, and so is its first batch.
    """
    n_candidates, n_fits = planned_fits(experiment)
    n_evaluations = n_fits // experiment.n_splits - bool(experiment.searches)
    search = experiment.make_search(experiment.estimator, None, None)
    batches: list[list[Candidate]] = []

    def evaluate(candidates: Any, *_: Any, **__: Any) -> _Alike:
        batches.append(_spread(candidates))
        return _Alike(sum(map(len, batches)))

    search.n_splits_ = experiment.n_splits  # as fit would have set it
    takes_context = "callback_ctx" in inspect.signature(search._run_search).parameters
    context = {"callback_ctx": _NoCallbacks()} if takes_context else {}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The total space of param")
            search._run_search(evaluate, **context)
    except Exception as error:  # noqa: BLE001 - what other packages' searches need isn't known
        logger.debug("%s can't be asked: %s", type(search).__name__, error)
        return Proposals([[{}] * n_candidates], 1.0, are_real=False)
    n_listed = sum(map(len, batches))
    return Proposals(batches, min(1.0, n_listed / max(n_evaluations, 1)))


class _Alike(dict[str, Any]):
    """Results of n candidates in which every score is the same."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._n = n

    def __missing__(self, key: str) -> np.ndarray:
        return np.zeros(self._n)


class _NoCallbacks:
    """Stands for scikit-learn's callback context, in which searches announce what they do."""

    def __getattr__(self, name: str) -> Callable[..., Self]:
        return lambda *_, **__: self


def _spread(candidates: Any) -> list[Candidate]:
    if not hasattr(candidates, "__getitem__"):
        return [dict(one) for one in itertools.islice(candidates, _MOST)]
    places: Sequence[int] = range(len(candidates))
    if len(candidates) > _MOST:
        places = np.linspace(0, len(candidates) - 1, _MOST).astype(int).tolist()
    return [dict(candidates[place]) for place in places]
