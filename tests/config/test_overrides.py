"""Overrides written from values read back as the same values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from runner.config.compose import compose_config
from runner.config.overrides import (
    mentioned_in_space,
    parse_override,
    parse_value,
    pinned_paths,
    protect_space,
    to_override,
)
from runner.errors import RequestError

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]))
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=8)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right and repr(left) == repr(right)


@given(values)
def test_any_value_reads_back_bit_for_bit(value: Any) -> None:
    assert same(parse_override(to_override("model.x", value)).value(), value)


@settings(max_examples=25, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none())
def test_a_number_survives_the_whole_composition(value: Any) -> None:
    config = compose_config(["space=none", to_override("model.dropout", value)])
    assert same(OmegaConf.select(config, "model.dropout"), value)


@given(st.lists(st.floats(allow_nan=False) | st.integers(), max_size=4))
def test_a_list_is_written_without_spaces(value: list[float]) -> None:
    assert len(to_override("a", value).split()) == 1


@pytest.mark.parametrize(
    "text", ["space.model.dropout=[0.3, 0.5]", "space.model.x={low: 1, high: 2}", "space.a=['b c']"]
)
def test_containers_in_a_space_are_quoted_and_read_the_same(text: str) -> None:
    (protected,) = protect_space([text])
    quoted = parse_override(protected)
    assert isinstance(quoted.value(), str)
    assert parse_value(quoted.value()) == parse_override(text).value()


def test_other_overrides_are_left_alone() -> None:
    plain = ["model.hidden_units=[1,2]", "space=none", "space.model.dropout.low=0.1", "a=b"]
    assert protect_space(plain) == plain


def test_an_unreadable_override_is_refused() -> None:
    with pytest.raises(RequestError, match=r"can't read the override 'a=\[1'"):
        parse_override("a=[1")


def test_pins_are_plain_values_outside_the_space() -> None:
    overrides = ["model.dropout=0.3", "space.model.units=[1]", "data=wine", "hydra.run.dir=x"]
    assert pinned_paths(overrides) == {"model.dropout"}
    assert mentioned_in_space(overrides) == {"model.units"}
