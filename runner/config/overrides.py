"""Command-line overrides: written from values, and read before Hydra sees them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from runner.errors import RequestError

# Words and numbers that Hydra's grammar reads back as the same string without quotes.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED = {"null", "true", "false", "nan", "inf"}


def parse_override(text: str) -> Override:
    """Parse one override in Hydra's grammar.

    Raises
    ------
    RequestError
        When it can't be read.
    """
    if not text.startswith("~") and (text.partition("=")[0].strip("+ ") == "" or "=" not in text):
        raise RequestError(None, f"can't read the override '{text}': write key=value")
    try:
        return OverridesParser.create().parse_override(text)
    except RecursionError:
        raise RequestError(None, f"can't read the override '{text[:40]}…': too deep") from None
    except HydraException as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        detail = lines[1] if len(lines) > 1 else lines[0]
        raise RequestError(None, f"can't read the override '{text}': {detail}") from None


def parse_value(text: str) -> Any:
    """Read a value in Hydra's override grammar: lists, mappings, numbers, sweeps."""
    value = parse_override(f"value={text}")
    return value._value if value.is_sweep_override() else value.value()


def to_override(path: str, value: Any) -> str:
    """Write ``path=value`` so that Hydra reads the same value back, bit for bit.

    The text holds no spaces unless a string itself does.

    Parameters
    ----------
    path
        Config path.
    value
        None, bool, int, float, str, or lists and mappings (whose keys are words) of them.
    """
    return f"{path}={_write(value)}"


def _write(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _write_string(value)
    if isinstance(value, Mapping) and all(map(is_word, value)):
        return "{" + ",".join(f"{key}:{_write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(_write, value)) + "]"
    raise TypeError(f"can't write {type(value).__name__} as an override")


def is_word(value: Any) -> bool:
    """Whether `value` is a text that Hydra's grammar reads as itself, without quotes."""
    return (
        isinstance(value, str)
        and _PLAIN.fullmatch(value) is not None
        and value.lower() not in _RESERVED
    )


def _write_string(text: str) -> str:
    return text if is_word(text) else _quote(text)


def _quote(text: str) -> str:
    # In quotes, a backslash is special only before a quote (or at the end, before the closing one).
    escaped = re.sub(r"(\\*)(\"|$)", lambda m: m[1] * 2 + ("\\" + m[2] if m[2] else ""), text)
    return f'"{escaped}"'


def protect_space(arguments: Iterable[str]) -> list[str]:
    """Quote lists and mappings given to ``space.*``, so that they replace what stands there.

    Hydra merges containers: a list over a mapping fails, a mapping over a mapping keeps old keys.
    A string replaces, and a space reads strings in the same grammar.
    """
    return [_protected(argument) for argument in arguments]


def _protected(argument: str) -> str:
    key, _, text = argument.partition("=")
    if not key.lstrip("+").startswith("space.") or text[:1] not in ("[", "{"):
        return argument
    parse_override(argument)
    return f"{key}={_quote(text)}"


def sweep_points(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Overrides of single jobs of a sweep.

    Between them they have every group option and every value of ``hydra`` that is swept; of
    anything else, and in the first of them, the first value.
    """
    parsed = [parse_override(text) for text in overrides]
    values = [_swept(override) for override in parsed]
    first = [texts[0] for texts in values]
    yield first
    for index, (override, texts) in enumerate(zip(parsed, values, strict=True)):
        key = override.key_or_group
        if "." not in key or key.startswith("hydra"):
            for text in texts[1:]:
                yield [*first[:index], text, *first[index + 1 :]]


def _swept(override: Override) -> list[str]:
    """An override for each value of a sweep, or for its start where it is a range of numbers."""
    key, _, _ = str(override.input_line).partition("=")
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [f"{key}={text}" for text in override.sweep_string_iterator()]
    if isinstance(value, RangeSweep | IntervalSweep):
        return [f"{key}={value.start}"]
    return [str(override.input_line)]


def is_searchable(path: str) -> bool:
    """Whether a config path can be a hyper-parameter at all."""
    return (
        path.partition(".")[0] in ("model", "optimizer", "training", "preprocess") and "." in path
    )


def pinned_paths(overrides: Iterable[str]) -> set[str]:
    """Config paths that the command line sets outright, which a search must leave alone."""
    paths = set()
    for text in overrides:
        key = parse_override(text).key_or_group
        if is_searchable(key):
            paths.add(key)
    return paths


def mentioned_in_space(overrides: Iterable[str]) -> set[str]:
    """Config paths for which the command line itself gives a space."""
    keys = (parse_override(text).key_or_group for text in overrides)
    return {key.removeprefix("space.") for key in keys if key.startswith("space.")}
