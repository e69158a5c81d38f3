"""A space as scikit-learn's samplers take it: lists and objects with ``rvs``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.random import RandomState
from sklearn.utils import check_random_state

from runner.search.space import Choice, Range, Space


@dataclass(frozen=True)
class RangeDistribution:
    """Draws numbers of a range; plain Python numbers, so that they are written back exactly."""

    range: Range

    def rvs(self, size: None = None, random_state: int | RandomState | None = None) -> float:
        """Draw one number, uniformly or log-uniformly."""
        uniform = check_random_state(random_state).random_sample()
        low, high = self.range.low, self.range.high
        if self.range.step is not None:
            n_values = self.range.n_values
            return self.range.value(min(int(uniform * n_values), n_values - 1))
        # Each integer owns the interval around it, so the two ends are as likely as the others.
        margin = 0.5 if self.range.is_integer else 0.0
        if self.range.log:
            start, end = math.log(low - margin), math.log(high + margin)
            drawn = math.exp(start + uniform * (end - start))
        else:
            drawn = low - margin + uniform * (high - low + 2 * margin)
        clipped = min(max(drawn, low), high)
        return min(max(round(drawn), low), high) if self.range.is_integer else clipped


def distributions(space: Space) -> list[dict[str, Any]]:
    """One dictionary of lists and distributions for each branch of the space."""
    return [
        {
            path: list(dimension.values)
            if isinstance(dimension, Choice)
            else RangeDistribution(dimension)
            for path, dimension in branch.items()
        }
        for branch in space.branches()
    ]
