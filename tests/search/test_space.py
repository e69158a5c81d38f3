"""A space, from the notation of the config to what searches draw from."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.config.overrides import to_override
from runner.errors import RequestError
from runner.search.distributions import RangeDistribution, distributions
from runner.search.optuna import suggest
from runner.search.space import Choice, Range, Space

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
