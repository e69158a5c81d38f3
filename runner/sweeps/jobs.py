"""The jobs of a sweep: every combination of the values that are swept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from runner.errors import RequestError, did_you_mean, listing

Job = tuple[str, ...]
"""The overrides of one job."""


def enumerate_jobs(
    arguments: Sequence[str], zipped: Sequence[str], config_loader: Any
) -> list[Job]:
    """List the jobs of a sweep in order; the last override varies fastest.

    Parameters
    ----------
    arguments
        Overrides, some of them sweeps (``model=mlp,cnn``, ``seed=range(3)``, ``data=glob(*)``).
    zipped
        Keys whose values are taken together, the first with the first and so on, rather than
        combined.
    config_loader
        Hydra's; it knows the options that a glob stands for.

    Raises
    ------
    RequestError
        For a range that can't be enumerated, a zipped key that is not swept, and zipped keys with
        different numbers of values.
    """
    parsed = OverridesParser.create(config_loader=config_loader).parse_overrides(list(arguments))
    axes = {override.get_key_element(): _values(override) for override in parsed}
    _check_zipped(zipped, {o.get_key_element() for o in parsed if o.is_sweep_override()}, axes)
    paired = [Job(texts) for texts in zip(*(axes[key] for key in zipped), strict=True)]
    combined = [
        paired if key in zipped else [(text,) for text in texts]
        for key, texts in axes.items()
        if key not in zipped[1:]
    ]
    return [tuple(itertools.chain(*parts)) for parts in itertools.product(*combined)]


def _values(override: Override) -> list[str]:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if not override.is_discrete_sweep():
        raise RequestError(key, "a continuous range needs hydra/sweeper=optuna, or list its values")
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _check_zipped(zipped: Sequence[str], swept: set[str], axes: dict[str, list[str]]) -> None:
    for key in zipped:
        if key not in swept:
            near = did_you_mean(key, swept) or f"; swept: {listing(sorted(swept))}"
            raise RequestError("sweep.zip", f"'{key}' is not swept{near}")
    lengths = {key: len(axes[key]) for key in zipped}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise RequestError("sweep.zip", f"needs as many values of each: {counts}")
