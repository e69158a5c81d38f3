"""A search space: one notation, read by every search.

A space mirrors the config tree. A list is a choice, a mapping ``{low, high[, log][, step]}`` a
range (of integers when both ends are), ``{values: […], when: {path: value}}`` a choice with a
condition, and a string is read in Hydra's sweep notation (``tag(log, interval(1e-4, 1e-2))``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, QuotedString, RangeSweep
from hydra.errors import HydraException

from runner.config.overrides import is_word, parse_value
from runner.errors import RequestError, did_you_mean, listing

_RANGE_KEYS = {"low", "high", "log", "step"}
_LEAF_KEYS = {*_RANGE_KEYS, "values", "when"}
MOST_VALUES = 10_000
"""How many values a list or a grid may name; a range can hold more."""
# Whole numbers beyond are not told apart by the random numbers that choose among them.
_LARGEST = 2**53
Condition = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Choice:
    """One of `values`, each as likely; only when every path in `when` has one of its values."""

    values: tuple[Any, ...]
    when: Condition = field(default_factory=dict)


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included; integers when both ends are integers.

    `log` draws evenly in the logarithm; `step` keeps to low, low + step, …
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: Condition = field(default_factory=dict)

    @property
    def is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def is_countable(self) -> bool:
        return self.is_integer or self.step is not None

    @property
    def n_values(self) -> int:
        """Number of values of a countable range."""
        if self.is_integer:
            return int(self.high - self.low) // int(self.step or 1) + 1
        assert self.step is not None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def value(self, index: int) -> float:
        """The value at `index` of a countable range, ascending from `low`."""
        # Steps in binary fractions may add up to just above the end.
        return min(self.low + index * (self.step or 1), self.high)

    def values(self) -> tuple[float, ...]:
        """Every value of a countable range, ascending."""
        return tuple(map(self.value, range(self.n_values)))


Dimension = Choice | Range


@dataclass(frozen=True)
class Space:
    """Dimensions by config path, in the order they were written."""

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.dimensions)

    @classmethod
    def parse(cls, node: Mapping[str, Any]) -> Space:
        """Read a space as it stands in a config.

        Raises
        ------
        RequestError
            Naming the leaf: an empty list, low not below high, a log range from 0, an unknown key.
        """
        return cls(dict(_leaves(node, "")))

    def without(self, paths: set[str]) -> Space:
        return Space({p: d for p, d in self.dimensions.items() if p not in paths})

    def settle(self, fixed: Mapping[str, Any]) -> Space:
        """Decide conditions on paths that are not searched, by their configured value.

        Raises
        ------
        RequestError
            When a condition names a path that neither the space nor `fixed` has.
        """
        kept: dict[str, Dimension] = {}
        for path, dimension in self.dimensions.items():
            open_conditions: dict[str, tuple[Any, ...]] = {}
            holds = True
            for other, values in dimension.when.items():
                if other in self.dimensions:
                    choice = self.dimensions[other]
                    if not isinstance(choice, Choice):
                        raise RequestError(
                            f"space.{path}.when", f"'{other}' must be a choice, not a range"
                        )
                    impossible = [v for v in values if v not in choice.values]
                    if impossible:
                        raise RequestError(
                            f"space.{path}.when",
                            f"'{other}' is never {impossible[0]!r}; it is one of "
                            f"{listing(choice.values)}",
                        )
                    open_conditions[other] = values
                elif other in fixed:
                    holds = holds and fixed[other] in values
                else:
                    near = did_you_mean(other, [*self.dimensions, *fixed])
                    raise RequestError(f"space.{path}.when", f"there is no '{other}'{near}")
            if holds:
                kept[path] = replace(dimension, when=open_conditions)
        settled = Space(kept)
        settled._refuse_circles()
        return settled if len(kept) == len(self) else settled.settle(fixed)

    def _refuse_circles(self) -> None:
        def follow(path: str, above: tuple[str, ...]) -> None:
            if path in above:
                circle = " → ".join((*above[above.index(path) :], path))
                raise RequestError(f"space.{path}.when", f"conditions form a circle: {circle}")
            for other in self.dimensions[path].when:
                follow(other, (*above, path))

        for path in self.dimensions:
            follow(path, ())

    def branches(self) -> list[dict[str, Dimension]]:
        """Split into spaces without conditions, one for each value of the choices they rest on."""
        rests_on = list(dict.fromkeys(p for d in self.dimensions.values() for p in d.when))
        branches: dict[tuple[Any, ...], dict[str, Dimension]] = {}
        choices = [self.dimensions[path] for path in rests_on]
        options = [choice.values for choice in choices if isinstance(choice, Choice)]
        for combination in itertools.product(*options):
            picked = dict(zip(rests_on, combination, strict=True))
            active = self._active(picked)
            settled = tuple((path, repr(picked[path])) for path in rests_on if path in active)
            branches[settled] = {
                path: Choice((picked[path],)) if path in picked else dimension
                for path, dimension in self.dimensions.items()
                if path in active
            }
        return list(branches.values())

    def _active(self, picked: Mapping[str, Any]) -> set[str]:
        def active(path: str) -> bool:
            conditions = self.dimensions[path].when
            return all(active(o) and picked[o] in values for o, values in conditions.items())

        return {path for path in self.dimensions if active(path)}

    def grid(self) -> list[dict[str, list[Any]]]:
        """Lists of values, as scikit-learn's `param_grid` wants them.

        Raises
        ------
        RequestError
            When a range is continuous.
        """
        return [
            {path: _grid_values(path, dimension) for path, dimension in branch.items()}
            for branch in self.branches()
        ]

    def grid_size(self) -> int:
        """Number of combinations in the grid."""
        return sum(
            math.prod(_grid_size(path, dimension) for path, dimension in branch.items())
            for branch in self.branches()
        )

    def is_countable(self) -> bool:
        return all(isinstance(d, Choice) or d.is_countable for d in self.dimensions.values())


def _grid_values(path: str, dimension: Dimension) -> list[Any]:
    if _grid_size(path, dimension) > MOST_VALUES:
        raise RequestError(
            f"space.{path}", f"a grid takes at most {MOST_VALUES} values; add a step, or use a list"
        )
    return list(dimension.values if isinstance(dimension, Choice) else dimension.values())


def _grid_size(path: str, dimension: Dimension) -> int:
    if isinstance(dimension, Choice):
        return len(dimension.values)
    if not dimension.is_countable:
        raise RequestError(
            f"space.{path}",
            f"a grid can't enumerate the continuous range {dimension.low}…{dimension.high}; "
            f"give a list, add a step, or use search=random",
        )
    return dimension.n_values


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Dimension]]:
    for key, written in node.items():
        path = f"{prefix}{key}"
        value = _read_string(path, written) if isinstance(written, str) else written
        if value is None:
            continue
        if isinstance(value, Mapping) and not set(value) & (_RANGE_KEYS | {"values"}):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, _dimension(path, value)


def _read_string(path: str, text: str) -> Any:
    try:
        return _plain(parse_value(text))
    except RequestError as error:
        raise RequestError(f"space.{path}", error.problem) from None
    except (HydraException, ValueError) as error:  # a range without a step
        raise RequestError(f"space.{path}", f"can't read '{text}': {error}") from None


def _plain(value: Any) -> Any:
    """Translate what Hydra's grammar gives into this module's own notation."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, ChoiceSweep):
        return [_plain(item) for item in value.list]
    if isinstance(value, RangeSweep):
        return list(itertools.islice(value, MOST_VALUES + 1))
    if isinstance(value, IntervalSweep):
        return {"low": value.start, "high": value.end, "log": "log" in value.tags}
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _dimension(path: str, value: Any) -> Dimension:
    where = f"space.{path}"
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in _LEAF_KEYS]
        if unknown:
            names = sorted(_LEAF_KEYS)
            near = did_you_mean(str(unknown[0]), names) or f"; known: {listing(names)}"
            raise RequestError(f"{where}.{unknown[0]}", f"unknown key{near}")
        when = _condition(where, value.get("when") or {})
        if "values" in value:
            return Choice(_choice_values(where, value["values"]), when)
        return _range(where, value, when)
    if isinstance(value, list | tuple):
        return Choice(_choice_values(where, value))
    raise RequestError(
        where,
        f"a single value is no space, got {value!r}; set it with {path}={value}, or give a list or "
        "{low:…,high:…}",
    )


def _choice_values(where: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise RequestError(where, f"values must be a list, got {values!r}")
    if not values:
        raise RequestError(where, "is an empty list; give at least one value, or null to drop it")
    if len(values) > MOST_VALUES:
        raise RequestError(where, f"lists more than {MOST_VALUES} values; give {{low:…,high:…}}")
    for value in values:
        if not _is_config_value(value):
            raise RequestError(where, f"{value!r} is no value of a config")
    # True and 1 are equal, and yet different values.
    return tuple({repr(value): value for value in values}.values())


def _is_config_value(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(is_word(key) and _is_config_value(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_config_value, value))
    return value is None or isinstance(value, bool | int | float | str)


def _range(where: str, value: Mapping[str, Any], when: Condition) -> Range:
    low, high = (_number(f"{where}.{key}", value.get(key)) for key in ("low", "high"))
    step = value.get("step")
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise RequestError(f"{where}.log", f"must be true or false, got {log!r}")
    if low >= high:
        raise RequestError(where, f"low must be below high, got low={low} and high={high}")
    if log and low <= 0:
        raise RequestError(where, f"a log range must start above 0, got low={low}")
    if not math.isfinite(float(high) - float(low)):
        raise RequestError(where, f"is too wide, got low={low} and high={high}")
    if step is not None:
        step = _number(f"{where}.step", step)
        if not 0 < step <= high - low:
            raise RequestError(f"{where}.step", f"must be in (0, {high - low}], got {step}")
        if (high - low) / step > _LARGEST:
            raise RequestError(f"{where}.step", f"is too small for this range, got {step}")
        if log:
            raise RequestError(where, "a range can't have both log and step")
    if not all(isinstance(number, int | None) for number in (low, high, step)):
        low, high = float(low), float(high)
    return Range(low, high, log, step, when)


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(where, f"must be a number, got {value!r}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise RequestError(where, "must be a whole number of at most 2^53, or written as 1e30")
    if not math.isfinite(value):
        raise RequestError(where, f"must be finite, got {value}")
    return value


def _condition(where: str, node: Any, prefix: str = "") -> dict[str, tuple[Any, ...]]:
    if not isinstance(node, Mapping):
        raise RequestError(f"{where}.when", f"must be a mapping of path to value, got {node!r}")
    condition: dict[str, tuple[Any, ...]] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            condition |= _condition(where, value, f"{prefix}{key}.")
        else:
            values = value if isinstance(value, list | tuple) else (value,)
            condition[f"{prefix}{key}"] = tuple(values)
    return condition
