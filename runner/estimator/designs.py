"""What building a model told, remembered by the process: most fits need not build it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from runner.training.states import Arrays

_KEPT = 256
_MOST_BYTES = 64e6


@dataclass(frozen=True)
class Design:
    """What all fits of a factory with the same arguments share.

    ``key`` names the session, which others share that differ in ``dropout_rates`` only;
    ``comes_compiled`` tells whether the factory compiles the model itself; ``fast`` whether fits
    run on whole-epoch graphs.
    """

    key: Hashable
    dropout_rates: list[float]
    comes_compiled: bool
    fast: bool


class Designs:
    """Designs by request, and the weights that fits start from by design and seed.

    A factory is taken for a function of its arguments, and of the seed for the weights. What was
    not asked for longest is dropped, and weights that are large are not kept: building is quick
    beside training them.
    """

    def __init__(self) -> None:
        self._designs: OrderedDict[Hashable, Design] = OrderedDict()
        self._weights: OrderedDict[Hashable, Arrays] = OrderedDict()

    def find(self, request: Hashable, seed: int) -> tuple[Design, Arrays] | None:
        """The design of a request and the weights from a seed, where both are known."""
        design = self._designs.get(request)
        weights = None if design is None else self._weights.get((design.key, seed))
        if design is None or weights is None:
            return None
        self._designs.move_to_end(request)
        self._weights.move_to_end((design.key, seed))
        return design, weights

    def remember(self, request: Hashable, seed: int, design: Design, weights: Arrays) -> None:
        self._designs[request] = design
        if _n_bytes(weights) <= _MOST_BYTES / _KEPT:
            self._weights[design.key, seed] = weights
        for kept in (self._designs, self._weights):
            while len(kept) > _KEPT:
                kept.popitem(last=False)


def _n_bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays)
