"""What a run, a sweep and a candidate are in MLflow's terms: parameters, metrics, tags, files."""

from __future__ import annotations

import getpass
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from runner import __version__
from runner.results.jsonable import to_json
from runner.results.verdict import verdict
from runner.secrets import mask
from runner.tracking.facts import Candidate, Curves, Judged, RunFacts, SweepFacts, role_of

ID, SWEEP, LOGGED = "runner.id", "runner.sweep", "runner.logged"
PARENT = "mlflow.parentRunId"
# MLflow's own limits.
_MOST_PARAM, _MOST_TAG, _MOST_KEY = 6000, 5000, 250
_NOT_IN_KEYS = re.compile(r"[^\w./ :-]")
_LOG = "run.log"
_RUN_FILES = (
    "result.json",
    "trials.csv",
    "best.overrides",
    "config.yaml",
    "curves.jsonl",
    "report.html",
    _LOG,
    "plots",
    "model",
)
_SWEEP_FILES = ("leaderboard.csv", "sweep.json", "report.html", "plots")


@dataclass(frozen=True)
class Point:
    """A value of a metric; ``at`` is in seconds since 1970.

    It is the same whenever the value is logged: with another time, MLflow would have it twice.
    """

    key: str
    value: float
    step: int
    at: float


@dataclass(frozen=True)
class Item:
    """What becomes one run in MLflow.

    ``files`` are those to copy, each with the folder it goes to (``""`` for the top one);
    ``n_children`` how many candidates are logged below it.
    """

    id: str
    name: str
    status: str
    started: float
    ended: float
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[Point, ...]
    files: tuple[tuple[Path, str], ...] = ()
    n_children: int = 0

    def digest(self) -> str:
        """Name all that is logged of it: what has not changed is not logged again."""
        # The log grows with every word about logging itself.
        files = [(to, p.name, _digest_of(p)) for p, to in self.files if p.name != _LOG]
        points = [(p.key, p.value, p.step) for p in self.points]
        content = [self.name, self.status, dict(self.params), dict(self.tags), points, files]
        text = json.dumps([*content, self.n_children], sort_keys=True)
        return blake2b(text.encode(), digest_size=8).hexdigest()


def run_item(run: RunFacts, with_files: bool, n_children: int) -> Item:
    """A run: its config, the scores and learning curves of winner and baseline, its files."""
    at, entry = run.started, run.entry
    points = [Point(_key(name), value, 0, at) for name, value in run.scores.items()]
    for prefix, judged in (("", run.best), ("baseline/", run.baseline)):
        if judged is not None:
            points += _judged_points(prefix, judged, at)
    params = {path: value for path, value in run.config.items() if not _is_left_out(path)}
    if run.best is not None:
        params |= {f"best/{path}": value for path, value in run.best.params.items()}
    tags = {
        **_common_tags(entry.overrides),
        ID: run.id,
        "runner.directory": str(run.directory.path.absolute()),
        "runner.status": entry.status,
        "data": entry.data,
        "data.fingerprint": entry.fingerprint or "",
        "model": entry.model,
        "search": entry.search,
        "error": entry.error or "",
        "mlflow.note.content": verdict(run.result) if run.result is not None else "",
    }
    if run.result is not None and run.result.environment.get("git_commit"):
        tags["mlflow.source.git.commit"] = str(run.result.environment["git_commit"])
    is_job = run.sweep is not None and run.name.isdecimal()
    is_over = entry.status != "running"
    return Item(
        run.id,
        f"job {run.name}" if is_job else run.name,
        entry.status,
        run.started,
        run.ended,
        _params(params),
        _tags(tags),
        tuple(points),
        tuple(_files(run.directory.path, _RUN_FILES)) if with_files and is_over else (),
        n_children,
    )


def sweep_item(sweep: SweepFacts, with_files: bool) -> Item:
    """A sweep: what was asked for, how many jobs there are, who won, and its files."""
    is_over = sweep.status != "running"
    jobs = [job for job in sweep.record.get("jobs") or () if isinstance(job, dict)]
    ended = max(
        (os.stat(path).st_mtime for path, _ in _files(sweep.path, ("sweep.json",))),
        default=sweep.started,
    )
    scores: dict[str, float] = {}
    tags = {**_common_tags(sweep.arguments), ID: sweep.id, "runner.status": sweep.status}
    tags["runner.directory"] = str(sweep.path.absolute())
    if is_over:
        scores["jobs"] = float(len(jobs))
        scores["jobs_failed"] = float(sum(job.get("status") == "failed" for job in jobs))
        winner = sweep.record.get("winner")
        if isinstance(winner, dict):
            tags["winner"] = f"job {winner.get('number')}"
            best = next((job for job in jobs if job.get("number") == winner.get("number")), {})
            scores |= {
                f"winner/{name}": float(best[key])
                for name, key in (("cv", "cv_mean"), ("cv_std", "cv_std"), ("test", "test"))
                if isinstance(best.get(key), int | float)
            }
    return Item(
        sweep.id,
        f"sweep {sweep.path.absolute().name}",
        sweep.status,
        sweep.started,
        ended,
        _params({"overrides": " ".join(sweep.arguments)}),
        _tags(tags),
        tuple(Point(name, value, 0, sweep.started) for name, value in scores.items()),
        tuple(_files(sweep.path, _SWEEP_FILES)) if with_files and is_over else (),
    )


def candidate_item(run: RunFacts, candidate: Candidate) -> Item:
    """A candidate: all its hyper-parameters, its score on each fold, and its mean curves."""
    points = []
    for name, scores in candidate.scores.items():
        for step, score in enumerate(scores, start=1):
            mean = sum(scores[:step]) / step
            points.append(Point(_key(f"fold/{name}"), score, step, candidate.started))
            points.append(Point(_key(f"cv/{name}"), mean, step, candidate.started))
    if run.entry.status != "running":
        # Means over the folds so far would leave several values for an epoch.
        points += _curve_points("", candidate.curves, candidate.started)
    tags = {
        **_common_tags(()),
        ID: f"{run.id}-{candidate.id}",
        "candidate": candidate.id,
        "role": role_of(run, candidate),
        "error": candidate.error,
    }
    return Item(
        f"{run.id}-{candidate.id}",
        f"candidate {candidate.number}",
        candidate.status,
        candidate.started,
        candidate.ended,
        _params(candidate.params),
        _tags(tags),
        tuple(points),
    )


def _judged_points(prefix: str, judged: Judged, at: float) -> list[Point]:
    points = [Point(_key(prefix + name), value, 0, at) for name, value in judged.scores.items()]
    return [*points, *_curve_points(prefix, judged.curves, at)]


def _curve_points(prefix: str, curves: Curves, at: float) -> list[Point]:
    return [
        Point(_key(f"{prefix}epoch/{name}"), value, epoch, at)
        for name, values in curves.items()
        for epoch, value in enumerate(values, start=1)
        if math.isfinite(value)
    ]


def _is_left_out(path: str) -> bool:
    return path.startswith(("tracking.", "compute.")) or path in ("log_level", "plots")


def _common_tags(overrides: Iterable[str]) -> dict[str, str]:
    return {
        "mlflow.source.name": " ".join(["runner", *overrides]),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "runner.version": __version__,
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in some containers
        return str(os.getuid())


def _params(values: Mapping[str, Any]) -> dict[str, str]:
    return {_key(path): _text(value)[:_MOST_PARAM] for path, value in values.items()}


def _tags(values: Mapping[str, str]) -> dict[str, str]:
    return {_key(name): mask(value)[:_MOST_TAG] for name, value in values.items() if value}


def _text(value: object) -> str:
    value = mask(value)
    return value if isinstance(value, str) else to_json(value)


def _key(name: str) -> str:
    return _NOT_IN_KEYS.sub("_", name)[:_MOST_KEY]


def _files(folder: Path, names: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Plain files only: what a link leads to is none of the run's."""
    for name in names:
        path = folder / name
        if path.is_symlink():
            continue
        if path.is_file():
            yield path, ""
        for parent, folders, files in os.walk(path):
            folders.sort()
            for file in sorted(files):
                inner = Path(parent, file)
                if not inner.is_symlink():
                    yield inner, Path(parent).relative_to(folder).as_posix()


def _digest_of(path: Path) -> str:
    content = blake2b(digest_size=8)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            content.update(chunk)
    return content.hexdigest()
