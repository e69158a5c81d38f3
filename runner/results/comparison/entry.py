"""What a comparison needs to know of one run, finished or not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from runner.errors import RequestError
from runner.results.run_directory import RunDirectory
from runner.results.schema import DataSummary, Result
from runner.results.state import RunState, is_held, read_state

_LOG_LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?P<level>[A-Z]+) [^ ]+: (?P<text>.*)"
)
_LOG_TAIL_BYTES = 8192
# libyaml reads Hydra's settings five times as fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Entry:
    """The facts of one run.

    ``status`` is ``running``, ``interrupted``, ``failed`` or ``completed``; only a completed run
    has scores. ``params`` maps config paths to the winner's values, ``cv`` every scorer's name to
    its cross-validated mean; ``fit_s`` is a fit's mean time; ``started`` is in seconds since 1970.
    What is not known is None, or the empty string for a name.
    """

    directory: RunDirectory
    status: str
    data: str = ""
    model: str = ""
    search: str = ""
    seed: int | None = None
    scoring: str | None = None
    overrides: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    data_summary: DataSummary | None = None
    fingerprint: str | None = None
    cv_mean: float | None = None
    cv_std: float | None = None
    cv_scores: tuple[float, ...] = ()
    cv: Mapping[str, float] = field(default_factory=dict)
    test: float | None = None
    test_ci95: tuple[float, float] | None = None
    started: float | None = None
    total_s: float | None = None
    fit_s: float | None = None
    error: str | None = None

    @property
    def path(self) -> Path:
        return self.directory.path

    @cached_property
    def overridden(self) -> Mapping[str, str]:
        """The overrides' values as text, by key; of several for one key the last counts."""
        return parse_overrides(self.overrides)

    @property
    def number(self) -> int | None:
        """The job's number in its sweep; None where the folder is not named by one."""
        return int(self.path.name) if self.path.name.isdecimal() else None

    @property
    def is_ranked(self) -> bool:
        return self.cv_mean is not None


def read_entry(directory: RunDirectory) -> Entry:
    """Read a run directory in whatever state it is.

    Raises
    ------
    RequestError
        When there is a ``result.json`` and it can't be read.
    """
    state = read_state(directory)
    result = _read_result(directory)
    if result is None:
        return _unfinished(directory, state)
    status = _status(state, result)
    name, error = result.name, result.error or {}
    entry = Entry(
        directory,
        status,
        name.get("data", ""),
        name.get("model", ""),
        name.get("search", ""),
        result.seed,
        result.scoring,
        overrides=tuple(result.overrides),
        data_summary=result.data,
        fingerprint=result.data.fingerprint if result.data else None,
        started=state.started if state else None,
        total_s=_finite(result.timing.total_s) if result.timing else None,
        fit_s=_finite(result.timing.fit_s) if result.timing else None,
    )
    if status == "failed" and error:
        return replace(entry, error=f"{error.get('type', 'error')}: {error.get('message', '')}")
    best = result.best
    if status != "completed" or best is None:
        return entry
    return replace(
        entry,
        params=best.params,
        cv_mean=_finite(best.cv_mean),
        cv_std=_finite(best.cv_std),
        cv_scores=tuple(best.cv_scores),
        cv={name: score for name, score in best.cv.items() if math.isfinite(score)},
        test=_finite(best.test.get(result.scoring or "", math.nan)),
        test_ci95=best.test_ci95,
    )


def parse_overrides(texts: Iterable[str]) -> dict[str, str]:
    """Keys and values of overrides, as text."""
    pairs = (text.partition("=") for text in texts)
    return {key.lstrip("+"): value for key, _, value in pairs}


def read_yaml(path: Path) -> Any:
    """Read a YAML file of a run; None where it is missing or damaged."""
    try:
        return yaml.load(path.read_bytes(), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _read_result(directory: RunDirectory) -> Result | None:
    if not directory.result.exists():
        return None
    try:
        return directory.read_result()
    except OSError as error:
        raise RequestError(None, f"{directory.result} can't be read: {error.strerror}") from None


def _status(state: RunState | None, result: Result) -> str:
    """A run that is being resumed, or was killed while it was, still has its earlier record."""
    if state is None or state.status not in ("running", "interrupted"):
        return result.status
    is_over = state.status == "interrupted" and result.status == "completed"
    return result.status if is_over else state.status


def _unfinished(directory: RunDirectory, state: RunState | None) -> Entry:
    """A run without a record: what Hydra wrote before it began, and how its log ends."""
    texts = read_yaml(directory.hydra / "overrides.yaml")
    overrides = tuple(str(text) for text in texts) if isinstance(texts, list) else ()
    names = _choices(directory) | parse_overrides(overrides)
    error = None
    if state is None and is_held(directory):
        status = "running"
    else:
        error = _last_error(directory.log)
        status = state.status if state else "failed" if error else "interrupted"
    config = read_yaml(directory.config)
    seed = config.get("seed") if isinstance(config, dict) else None
    return Entry(
        directory,
        status,
        names.get("data.name") or names.get("data", ""),
        names.get("model", ""),
        names.get("search", ""),
        seed if isinstance(seed, int) else None,
        overrides=overrides,
        fingerprint=state.data if state else None,
        started=state.started if state else None,
        error=error if status == "failed" else None,
    )


def _choices(directory: RunDirectory) -> dict[str, str]:
    settings = read_yaml(directory.hydra / "hydra.yaml")
    try:
        choices = settings["hydra"]["runtime"]["choices"]
        return {str(group): str(option) for group, option in choices.items()}
    except (KeyError, TypeError, AttributeError):
        return {}


def _last_error(log: Path) -> str | None:
    """The message that a run's log ends with, when it ends with an error."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").split("\n")
    except OSError:
        return None
    last = next((line for line in reversed(lines) if line.strip()), "")
    logged = _LOG_LINE.fullmatch(last)
    if logged is not None:
        return logged["text"] if logged["level"] == "ERROR" else None
    # The end of a traceback; an exception of ours is as clear without its module.
    return last.removeprefix("runner.errors.") or None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
