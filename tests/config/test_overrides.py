"""Overrides written from values read back as the same values."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from runner.config.compose import compose_config
from runner.config.overrides import (
    is_word,
    mentioned_in_space,
    parse_override,
    parse_value,
    pinned_paths,
    protect_space,
    sweep_points,
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
words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]*", fullmatch=True).filter(is_word)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right and repr(left) == repr(right)


@given(values)
def test_any_value_reads_back_bit_for_bit(value: Any) -> None:
    assert same(parse_override(to_override("model.x", value)).value(), value)


@given(st.lists(values, min_size=20, max_size=60))
@settings(max_examples=5, deadline=None)
def test_what_holds_no_spaces_passes_a_shell_unchanged(many: list[Any]) -> None:
    lines = {to_override(f"model.x{index}", value): value for index, value in enumerate(many)}
    lines = {line: value for line, value in lines.items() if line.split() == [line]}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "best.overrides").write_text("".join(f"{line}\n" for line in lines))
        shell = ["bash", "-c", r"printf '%s\0' $(cat best.overrides)"]
        done = subprocess.run(shell, cwd=folder, capture_output=True, check=True)
    arguments = done.stdout.decode().removesuffix("\0").split("\0")
    assert arguments == (list(lines) or [""])
    for argument, value in zip(filter(None, arguments), lines.values(), strict=True):
        assert same(parse_override(argument).value(), value)


@pytest.mark.parametrize("key", ["a b", "", "1", "null", 5, "a:b", "é"])
def test_a_mapping_whose_keys_are_no_words_is_not_written(key: Any) -> None:
    with pytest.raises(TypeError):
        to_override("model.x", [{key: 1}])


@settings(max_examples=12, deadline=None)
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


def test_an_override_that_is_too_deep_is_refused() -> None:
    with pytest.raises(RequestError, match=r"too deep|can't read"):
        parse_override("a=" + "[" * 3000)


@pytest.mark.parametrize(
    ("given", "points"),
    [
        (["a=1", "b=2"], [["a=1", "b=2"]]),
        (["data=x,y", "seed=1"], [["data=x", "seed=1"], ["data=y", "seed=1"]]),
        (["a.b=1,2,3"], [["a.b=1"]]),
        (["hydra.a.b=x,y"], [["hydra.a.b=x"], ["hydra.a.b=y"]]),
        (["a.b=interval(1,2)", "a.c=range(3,9)"], [["a.b=1.0", "a.c=3"]]),
        (["+data=choice(x,y)", "~z"], [["+data=x", "~z"], ["+data=y", "~z"]]),
    ],
)
def test_points_of_a_sweep_have_every_option(given: list[str], points: list[list[str]]) -> None:
    assert list(sweep_points(given)) == points


def test_pins_are_plain_values_outside_the_space() -> None:
    overrides = ["model.dropout=0.3", "space.model.units=[1]", "data=wine", "hydra.run.dir=x"]
    assert pinned_paths(overrides) == {"model.dropout"}
    assert mentioned_in_space(overrides) == {"model.units"}
