"""What a run's or sweep's folder says, in whatever state it is, for those who log it elsewhere."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.config.paths import flatten
from runner.results.comparison.entry import Entry, read_entry, read_yaml
from runner.results.comparison.find import find_jobs
from runner.results.jsonable import to_json
from runner.results.run_directory import RunDirectory
from runner.results.schema import Evaluation, Result
from runner.results.state import is_held
from runner.search.curves import FitCurves, read_curves
from runner.search.record import FitEntry, FitRecord

_ID_FILE = "tracking.json"
_SWEEP_FILES = ("request.json", "multirun.yaml", "sweep.json")

Curves = Mapping[str, Sequence[float]]
"""Metric names to a value after each epoch; NaN where that is no finite number."""


@dataclass(frozen=True)
class Candidate:
    """A candidate of a run's search, or its baseline.

    ``number`` counts them from 1 in the order they were begun. ``params`` maps every
    hyper-parameter's config path to its value; ``scores`` a scorer's name to the score of each fold
    done so far; ``curves`` are means over those folds. ``status`` is ``running``, ``completed``,
    ``failed`` or ``interrupted``. Times are in seconds since 1970.
    """

    id: str
    number: int
    params: Mapping[str, Any]
    scores: Mapping[str, Sequence[float]]
    curves: Curves
    status: str
    started: float
    ended: float
    error: str = ""


@dataclass(frozen=True)
class Judged:
    """The winner or the baseline: its parameters, scores by name, and the curves of its refit."""

    params: Mapping[str, Any]
    scores: Mapping[str, float]
    curves: Curves


@dataclass(frozen=True)
class SweepFacts:
    """A sweep: its jobs' folders, and how it stands (`status` as in ``sweep.json``)."""

    id: str
    path: Path
    status: str
    arguments: Sequence[str]
    jobs: Sequence[RunDirectory]
    record: Mapping[str, Any]
    started: float


@dataclass(frozen=True)
class RunFacts:
    """A run.

    ``config`` maps config paths to values, secrets masked; ``sweep`` is the folder of the sweep
    that the run is a job of.
    """

    id: str
    entry: Entry
    result: Result | None
    config: Mapping[str, Any]
    best: Judged | None
    baseline: Judged | None
    candidates: Sequence[Candidate]
    started: float
    ended: float
    sweep: Path | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def directory(self) -> RunDirectory:
        return self.entry.directory

    @property
    def name(self) -> str:
        return self.directory.path.absolute().name


def own_id(folder: Path) -> str:
    """The id by which trackers know a folder's run or sweep again; made when first asked for.

    Raises
    ------
    OSError
        When there is none yet and the folder can't be written.
    """
    path = folder / _ID_FILE
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    # Only one of several processes makes it: jobs of a sweep ask for the sweep's.
    temporary = path.with_name(f".{_ID_FILE}.{uuid.uuid4().hex}.tmp")
    temporary.write_text(to_json({"id": uuid.uuid4().hex}) + "\n", encoding="utf-8")
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    return str(json.loads(path.read_text(encoding="utf-8"))["id"])


def read_run(directory: RunDirectory) -> RunFacts:
    """Read a run's folder.

    Raises
    ------
    RequestError
        When there is a ``result.json`` and it can't be read.
    OSError
        When the folder can't be written, and has no id yet.
    """
    entry = read_entry(directory)
    result = directory.read_result() if directory.result.exists() else None
    curves = list(read_curves(directory.curves))
    refits = {each.refit: _finite_curves(each) for each in curves if each.refit is not None}
    best = baseline = None
    if result is not None and entry.status == "completed":
        best = _judged(result, result.best, refits.get("best", {}))
        baseline = _judged(result, result.baseline, refits.get("baseline", {}))
    candidates = _candidates(directory, curves, is_running=entry.status == "running")
    times = [c.ended for c in candidates]
    with suppress(OSError):
        times.append(directory.result.stat().st_mtime)
    started = entry.started or min((c.started for c in candidates), default=_made(directory.path))
    parent = directory.path.absolute().parent
    config = read_yaml(directory.config)
    return RunFacts(
        own_id(directory.path),
        entry,
        result,
        flatten(config) if isinstance(config, dict) else {},
        best,
        baseline,
        candidates,
        started,
        max([started, *times]),
        parent if any((parent / name).is_file() for name in _SWEEP_FILES) else None,
        _other_scores(result),
    )


def read_sweep(folder: Path, is_over: bool = False) -> SweepFacts:
    """Read a sweep's folder.

    Parameters
    ----------
    is_over
        That the process that holds the folder runs no more jobs.

    Raises
    ------
    OSError
        When the folder can't be written, and has no id yet.
    """
    record, request = _json(folder / "sweep.json"), _json(folder / "request.json")
    arguments = request.get("arguments")
    status = str(record.get("status", "running"))
    is_running = is_held(RunDirectory(folder)) and not is_over
    status = "running" if is_running else "interrupted" if status == "running" else status
    return SweepFacts(
        own_id(folder),
        folder,
        status,
        [str(text) for text in arguments] if isinstance(arguments, list) else [],
        find_jobs(folder),
        record,
        _made(folder / "request.json" if request else folder),
    )


def role_of(run: RunFacts, candidate: Candidate) -> str:
    """``winner`` or ``baseline`` where the candidate is the run's, else nothing."""
    for role, judged in (("winner", run.best), ("baseline", run.baseline)):
        if judged is not None:
            config = {**run.config, **judged.params}
            if all(config.get(path, v) == v for path, v in candidate.params.items()):
                return role
    return ""


def varying_paths(candidates: Iterable[Candidate]) -> list[str]:
    """The hyper-parameters in which candidates differ."""
    values: dict[str, set[str]] = defaultdict(set)
    many = list(candidates)
    for candidate in many:
        for path, value in candidate.params.items():
            values[path].add(json.dumps(value, default=repr))
    counts = {path: sum(path in c.params for c in many) for path in values}
    return [path for path in values if len(values[path]) > 1 or counts[path] < len(many)]


def _candidates(
    directory: RunDirectory, curves: Sequence[FitCurves], is_running: bool
) -> list[Candidate]:
    """Candidates as the record of fits has them, in the order they were begun."""
    entries: dict[str, list[FitEntry]] = defaultdict(list)
    for entry in FitRecord(directory.record):
        entries[entry.candidate].append(entry)
    by_fold: dict[str, dict[str, Curves]] = defaultdict(dict)
    for each in curves:
        if each.refit is None:
            by_fold[each.candidate][each.fold] = _finite_curves(each)
    return [
        _candidate(number, fits, by_fold[candidate], is_running)
        for number, (candidate, fits) in enumerate(entries.items(), start=1)
    ]


def _candidate(
    number: int, fits: Sequence[FitEntry], curves: Mapping[str, Curves], is_running: bool
) -> Candidate:
    latest: dict[str, FitEntry] = {}
    done = []
    for fit in fits:
        known = latest.get(fit.fold)
        if known is None or known.status != "completed":
            latest[fit.fold] = fit
            # In the order that they ended in, so that those to come do not change it.
            done += [fit] if fit.status == "completed" else []
    scores: dict[str, list[float]] = defaultdict(list)
    for fit in done:
        for name, score in fit.scores.items():
            scores[name].append(score)
    failed = [fit for fit in latest.values() if fit.status == "failed"]
    unfinished = any(fit.status == "started" for fit in latest.values())
    status = "failed" if failed else "completed"
    if unfinished:
        status = "running" if is_running else "interrupted"
    return Candidate(
        fits[0].candidate,
        number,
        fits[0].params,
        scores,
        _mean_curves([curves[fit.fold] for fit in done if fit.fold in curves]),
        status,
        min(fit.at for fit in fits),
        max(fit.at for fit in fits),
        failed[-1].error if failed else "",
    )


def _judged(result: Result, evaluation: Evaluation | None, curves: Curves) -> Judged | None:
    if evaluation is None:
        return None
    scoring = result.scoring or "score"
    scores = {f"cv/{name}": mean for name, mean in evaluation.cv.items()}
    scores |= {f"cv/{scoring}": evaluation.cv_mean, f"cv/{scoring}_std": evaluation.cv_std}
    scores |= {f"test/{name}": score for name, score in evaluation.test.items()}
    if evaluation.test_ci95 is not None:
        low, high = evaluation.test_ci95
        scores |= {f"test/{scoring}_low": low, f"test/{scoring}_high": high}
    return Judged(evaluation.params, _finite(scores), curves)


def _other_scores(result: Result | None) -> dict[str, float]:
    """What a result says beside the scores of the winner and the baseline."""
    if result is None:
        return {}
    scores: dict[str, float] = {}
    if result.comparison is not None:
        low, high = result.comparison.ci95
        difference = result.comparison.difference
        scores |= {
            "comparison/difference": difference,
            "comparison/p_value": result.comparison.p_value,
        }
        scores |= {"comparison/difference_low": low, "comparison/difference_high": high}
    if result.trials is not None:
        scores |= {f"trials/{name}": count for name, count in vars(result.trials).items()}
    if result.timing is not None:
        scores |= {f"timing/{name}": seconds for name, seconds in vars(result.timing).items()}
    return _finite(scores)


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items() if math.isfinite(value)}


def _finite_curves(fit: FitCurves) -> Curves:
    return {
        name: [math.nan if value is None else value for value in values]
        for name, values in fit.curves.items()
    }


def _mean_curves(folds: Sequence[Curves]) -> Curves:
    """Means over folds, of each epoch over those that came so far."""
    means: dict[str, list[float]] = {}
    for name in dict.fromkeys(name for fold in folds for name in fold):
        curves = [fold[name] for fold in folds if name in fold]
        epochs = range(max(map(len, curves)))
        reached = [[curve[epoch] for curve in curves if epoch < len(curve)] for epoch in epochs]
        means[name] = [sum(values) / len(values) for values in reached]
    return means


def _json(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _made(path: Path) -> float:
    return os.stat(path).st_mtime
