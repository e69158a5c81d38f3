"""A space, from the notation of the config to what searches draw from."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner.config.overrides import to_override
from runner.errors import RequestError
from runner.search.distributions import RangeDistribution, distributions
from runner.search.space import Choice, Range, Space
from runner.search.suggest import suggest

MOMENTUM = {
    "optimizer": {
        "name": ["adam", "sgd"],
        "momentum": {"values": [0.0, 0.9], "when": {"optimizer.name": "sgd"}},
    }
}


@pytest.mark.parametrize(
    ("written", "dimension"),
    [
        ([1, 2], Choice((1, 2))),
        ([[1, 2], [3]], Choice(([1, 2], [3]))),
        ([None, True, "a"], Choice((None, True, "a"))),
        ({"low": 1, "high": 4}, Range(1, 4)),
        ({"low": 0.0, "high": 1.0, "step": 0.25}, Range(0.0, 1.0, step=0.25)),
        ("[1, 2]", Choice((1, 2))),
        ("{low: 1e-4, high: 1e-2, log: true}", Range(1e-4, 1e-2, log=True)),
        ("tag(log, interval(1e-4, 1e-2))", Range(1e-4, 1e-2, log=True)),
        ("interval(0, 1)", Range(0.0, 1.0)),
        ("int(interval(1, 5))", Range(1, 5)),
        ("choice(relu, tanh)", Choice(("relu", "tanh"))),
        ("range(1, 10, 3)", Choice((1, 4, 7))),
        ("relu,tanh", Choice(("relu", "tanh"))),
    ],
)
def test_notations(written: Any, dimension: Any) -> None:
    assert Space.parse({"model": {"x": written}}).dimensions == {"model.x": dimension}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([], "is an empty list"),
        ("[]", "is an empty list"),
        ({"low": 2, "high": 1}, "low must be below high, got low=2 and high=1"),
        ({"low": 1, "high": 1}, "low must be below high"),
        ({"low": 0, "high": 1, "log": True}, "a log range must start above 0, got low=0"),
        ({"low": 0, "hihg": 1}, "did you mean 'high'"),
        ({"low": "a", "high": 1}, "must be a number, got 'a'"),
        ({"low": 0, "high": float("inf")}, "must be finite"),
        ({"low": 0, "high": 1, "step": 0}, r"must be in \(0, 1\], got 0"),
        ({"low": 0.1, "high": 1, "step": 0.1, "log": True}, "can't have both log and step"),
        (3, "a single value is no space, got 3"),
        ("relu", "a single value is no space"),
        ("[1", "can't read"),
        ({"low": 0, "high": 10**400}, "must be a whole number of at most 2"),
        ({"low": -1e308, "high": 1e308}, "is too wide"),
        ({"low": 0.0, "high": 1e300, "step": 1e-300}, "is too small for this range"),
        ("range(0, inf)", "lists more than 10000 values"),
        ("range(0, 10, 0)", "can't read"),
        ([date(2024, 1, 1)], "is no value of a config"),
        ([{"a b": 1}], "is no value of a config"),
        ({"values": b"ab"}, "values must be a list"),
        (b"ab", "a single value is no space"),
        ({"low": 0, "high": 1, 3: 4}, "unknown key"),
    ],
)
def test_mistakes_name_the_leaf(written: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        Space.parse({"model": {"x": written}})
    assert str(caught.value).startswith("space.model.x")


def test_null_takes_a_leaf_out() -> None:
    assert len(Space.parse({"model": {"x": None, "y": [1]}})) == 1


def test_condition_splits_the_space() -> None:
    space = Space.parse(MOMENTUM)
    assert space.grid_size() == 3
    assert [set(branch) for branch in space.branches()] == [
        {"optimizer.name"},
        {"optimizer.name", "optimizer.momentum"},
    ]


def test_condition_on_a_fixed_path_is_decided_by_the_config() -> None:
    space = Space.parse(MOMENTUM).without({"optimizer.name"})
    assert set(space.settle({"optimizer.name": "adam"}).dimensions) == set()
    assert set(space.settle({"optimizer.name": "sgd"}).dimensions) == {"optimizer.momentum"}
    with pytest.raises(RequestError, match=r"there is no 'optimizer\.name'"):
        space.settle({})


def test_conditions_in_a_circle_are_refused() -> None:
    circle = {
        "a": {"values": [1, 2], "when": {"b": 1}},
        "b": {"values": [1, 2], "when": {"a": 1}},
    }
    with pytest.raises(RequestError, match="circle"):
        Space.parse(circle).settle({})


def test_optuna_asks_only_where_conditions_hold() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = Space.parse(MOMENTUM)
    for _ in range(30):
        values = suggest(space, study.ask())
        assert ("optimizer.momentum" in values) == (values["optimizer.name"] == "sgd")


def test_a_grid_refuses_a_continuous_range() -> None:
    with pytest.raises(RequestError, match=r"space\.x: a grid can't enumerate"):
        Space.parse({"x": {"low": 0.0, "high": 1.0}}).grid()


numbers = st.integers(-1000, 1000) | st.floats(-1e6, 1e6)


@given(numbers, numbers, st.booleans(), st.integers(0, 2**32 - 1))
def test_draws_stay_in_range_and_are_plain_numbers(
    one: float, other: float, log: bool, seed: int
) -> None:
    low, high = sorted((one, other))
    if low == high or (log and low <= 0):
        return
    drawn = RangeDistribution(Range(low, high, log)).rvs(random_state=seed)
    assert low <= drawn <= high
    assert type(drawn) in (int, float)
    assert isinstance(drawn, int) == Range(low, high).is_integer


# Anything that YAML can say, and much that it can't.
KEYS = (
    st.sampled_from(["low", "high", "log", "step", "values", "when", "model", "optimizer.name"])
    | st.text(max_size=4)
    | st.integers()
    | st.none()
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 10**400, 1e308, -1e308, 5e-324])
STRINGS = st.text(max_size=10) | st.sampled_from(
    [
        *("interval(0,1)", "tag(log,interval(1e-4,1))", "int(interval(1.5,5))", "interval(1,inf)"),
        *("range(0,10,3)", "range(0,1,0.1)", "range(0,10,0)", "range(0,1,0)", "range(0,inf)"),
        *("range(1,1e9)", "float(range(1,3))", "shuffle(range(1,3))", "choice(a,b)", "1,2"),
        *("glob(*)", "choice(interval(1,2))", "{low:1,high:2}", "[1,[2,{a:b}]]", "[" * 900),
    ]
)
LEAVES = st.none() | st.booleans() | NUMBERS | STRINGS | st.dates() | st.binary(max_size=3)
RANGES = st.fixed_dictionaries(
    {"low": NUMBERS, "high": NUMBERS}, optional={"log": LEAVES, "step": NUMBERS, "when": LEAVES}
)
TREES = st.recursive(
    LEAVES | RANGES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, TREES, max_size=3), st.integers(0, 2**32 - 1))
def test_any_structure_is_a_space_or_is_refused(tree: dict[Any, Any], seed: int) -> None:
    try:
        space = Space.parse(tree)
    except RequestError as error:
        assert str(error.path or "").startswith("space.")  # noqa: PT017
        return
    for path, dimension in space.dimensions.items():
        if isinstance(dimension, Choice):
            for value in dimension.values:
                assert to_override(path, value).startswith(f"{path}=")
        else:
            _assert_drawn_inside(dimension, seed)


RANGE_NUMBERS = st.integers(-(2**60), 2**60) | st.floats() | st.integers(-20, 20)


@given(
    st.fixed_dictionaries(
        {"low": RANGE_NUMBERS, "high": RANGE_NUMBERS},
        optional={"log": st.booleans(), "step": RANGE_NUMBERS},
    ),
    st.integers(0, 2**32 - 1),
)
@example({"low": 0, "high": 0.3, "step": 0.1}, 1)
@example({"low": 0, "high": 1e9, "step": 1e-6}, 0)
def test_a_parsed_range_draws_inside(written: dict[str, Any], seed: int) -> None:
    try:
        (dimension,) = Space.parse({"x": written}).dimensions.values()
    except RequestError:
        return
    assert isinstance(dimension, Range)
    _assert_drawn_inside(dimension, seed)


def _assert_drawn_inside(dimension: Range, seed: int) -> None:
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    alone = replace(dimension, when={})
    drawn = [
        RangeDistribution(alone).rvs(random_state=seed),
        suggest(Space({"x": alone}), asked)["x"],
    ]
    if dimension.is_countable:
        drawn += [dimension.value(0), dimension.value(dimension.n_values - 1)]
    for value in drawn:
        assert dimension.low <= value <= dimension.high
        assert isinstance(value, int) == dimension.is_integer


def test_a_huge_range_is_counted_without_listing_it() -> None:
    space = Space.parse({"x": {"low": 0, "high": 2**50}, "y": {"low": 0, "high": 1, "step": 1e-12}})
    assert space.grid_size() == (2**50 + 1) * (10**12 + 1)
    with pytest.raises(RequestError, match=r"space\.x: a grid takes at most 10000 values"):
        space.grid()


def test_equal_values_of_different_types_are_different_choices() -> None:
    values = Space.parse({"x": [1, True, 1.0, "1", [1], [True], 1]}).dimensions["x"]
    assert isinstance(values, Choice)
    assert list(map(repr, values.values)) == ["1", "True", "1.0", "'1'", "[1]", "[True]"]


def test_every_integer_is_as_likely() -> None:
    rng = np.random.RandomState(0)
    draw = RangeDistribution(Range(1, 4))
    counts = np.bincount([draw.rvs(random_state=rng) for _ in range(8000)])[1:]
    assert counts == pytest.approx([2000] * 4, rel=0.1)


@given(
    st.dictionaries(
        st.sampled_from(["model.a", "model.b", "training.c"]),
        st.lists(
            st.integers() | st.booleans() | st.floats(allow_nan=False), min_size=1, max_size=4
        ),
        min_size=1,
    )
)
def test_lists_written_as_overrides_are_the_same_space(space: dict[str, list[Any]]) -> None:
    nested: dict[str, Any] = {}
    for path, values in space.items():
        section, name = path.split(".")
        nested.setdefault(section, {})[name] = to_override("x", values).removeprefix("x=")
    parsed = Space.parse(nested)
    assert set(parsed.dimensions) == set(space)
    for path, values in space.items():
        dimension = parsed.dimensions[path]
        assert isinstance(dimension, Choice)
        assert {repr(v) for v in dimension.values} == {repr(v) for v in values}


@given(st.text(max_size=30))
def test_no_text_crashes_the_reader(text: str) -> None:
    try:
        Space.parse({"model": {"x": text}})
    except RequestError as error:
        assert "\n" not in str(error) or "\n" in text  # noqa: PT017


def test_distributions_of_a_space_without_conditions_are_one_dictionary() -> None:
    (only,) = distributions(Space.parse({"a": [1, 2], "b": {"low": 0.0, "high": 1.0}}))
    assert only["a"] == [1, 2]
    assert only["b"].rvs(random_state=0) == only["b"].rvs(random_state=0)
