"""Values that a config took from the environment, passwords perhaps, and so are never written.

Which variables they are is itself kept in the environment: worker processes inherit it, and a name
gives nothing away.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

MASK = "***"
# The password in an address, as of a database: whatever it is, it is none of a reader's business.
_IN_ADDRESS = re.compile(r"(?<=://)([^\s:/@]*):(?!\$\{)[^\s@]+@")
_NAMES = "RUNNER_MASKED"
_SEPARATOR = "="  # which no variable's name can hold
_SHORTEST = 6

T = TypeVar("T")

_told: tuple[str, ...] = ()


def remember(name: str) -> None:
    """Note that a config used the environment variable `name`."""
    names = _remembered()
    if name not in names:
        os.environ[_NAMES] = _SEPARATOR.join([*names, name])


def values() -> tuple[str, ...]:
    """The values remembered, for a worker that does not share this process's environment."""
    return tuple(os.environ.get(name, "") for name in _remembered())


def learn(told: tuple[str, ...]) -> None:
    """Remember values that another process's environment holds."""
    global _told
    _told = told


def mask(value: T) -> T:
    """Blot out remembered values, and passwords in addresses, in a text or every text in a list
    or mapping.

    Numbers, truth values, paths that exist and texts of under six characters are left: they are no
    secrets, and blotting them out would spoil what is written.
    """
    masked: T = _masked(value, _secrets((*values(), *_told)))
    return masked


def holds_password(text: str) -> bool:
    """Whether a text holds an address with a password in plain words."""
    return _IN_ADDRESS.search(text) is not None


def guard_output() -> None:
    """Blot out remembered values in all that this process logs or prints."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Guarded):
            setattr(sys, name, _Guarded(stream))
    logging.setLogRecordFactory(_guarded_record)


def _remembered() -> list[str]:
    return os.environ.get(_NAMES, "").split(_SEPARATOR) if os.environ.get(_NAMES) else []


@cache
def _secrets(values: tuple[str, ...]) -> tuple[str, ...]:
    """Every way in which `values` are spelled in texts, longest first."""
    parts = {part for value in values for part in (value, *value.splitlines())}
    spellings = {
        spelling
        for part in parts
        if not _is_innocent(part)
        for spelling in (part, repr(part)[1:-1], json.dumps(part)[1:-1])
    }
    return tuple(sorted(spellings, key=lambda text: (-len(text), text)))


def is_number(text: str | None) -> bool:
    """Whether `text` is only a number or a truth value."""
    if text is None or text.strip().lower() in ("true", "false"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_innocent(text: str) -> bool:
    if len(text.strip()) < _SHORTEST or is_number(text):
        return True
    try:
        return Path(text).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long, no home, NUL
        return False


def _masked(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return _IN_ADDRESS.sub(rf"\1:{MASK}@", value) if "://" in value else value
    if isinstance(value, dict):
        return {key: _masked(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_masked(item, secrets) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


class _Guarded:
    """A text stream whose writes are masked; everything else is the stream's own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(mask(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _guarded_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    # A message that can't be formatted is left to its handler, which reports it.
    with contextlib.suppress(TypeError, ValueError, KeyError):
        record.msg, record.args = mask(record.getMessage()), None
    if record.exc_info and record.exc_info[0]:
        # Formatters take this text where it is there.
        record.exc_text = mask(logging.Formatter().formatException(record.exc_info))
    return record


if _remembered():
    # A worker process: it knows from its start.
    guard_output()
