"""A run as TensorBoard's event files: learning curves, scores, and sessions of the HParams tab.

The files are written with TensorBoard's own messages, without TensorFlow.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from runner.config.overrides import is_searchable
from runner.config.schema import TensorboardSettings
from runner.results.atomic import write_bytes
from runner.results.jsonable import to_json
from runner.secrets import mask
from runner.tracking.facts import Curves, RunFacts, SweepFacts, role_of, varying_paths
from runner.tracking.tracker import TrackingError

_PREFIX = "events.out.tfevents."


@dataclass(frozen=True)
class Session:
    """What becomes a run in TensorBoard, in a folder of its own.

    ``hparams`` maps a name to a number, a truth value or a text; ``scores`` are single values, by
    name.
    """

    folder: str
    hparams: Mapping[str, Any]
    scores: Mapping[str, float]
    curves: Curves
    succeeded: bool
    started: float
    ended: float


class TensorboardTracker:
    """See `Tracker`. Runs are written to their own folders when they have ended, and only then."""

    name, follows = "tensorboard", False

    def __init__(self, settings: TensorboardSettings) -> None:
        self._settings = settings
        self._last = ""

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        yield

    def problem(self) -> str | None:
        return None

    def prepare(self) -> None:
        """Nothing: it is imported when a run has ended."""

    def where(self) -> str:
        return f"{self._last} (tensorboard --logdir {self._last})"

    def log_sweep(self, sweep: SweepFacts) -> None:
        """Nothing: TensorBoard finds the jobs' files below the sweep's folder."""
        self._last = os.path.relpath(sweep.path)

    def log_run(self, run: RunFacts, briefly: bool = False) -> None:
        if run.entry.status == "running":
            return
        folder = run.directory.tensorboard
        self._last = os.path.relpath(folder)
        try:
            for session in sessions_of(run, self._settings.candidates and not briefly):
                _write(folder / session.folder, session)
        except Exception as error:
            raise TrackingError(f"can't write '{folder}': {error}") from error


def sessions_of(run: RunFacts, with_candidates: bool) -> Iterator[Session]:
    """Winner and baseline, then the other candidates."""
    candidates = [c for c in run.candidates if with_candidates and not role_of(run, c)]
    searched = {path for judged in (run.best, run.baseline) if judged for path in judged.params}
    searched |= set(varying_paths(run.candidates))
    asked = {path for path in run.entry.overridden if is_searchable(path) and path in run.config}
    common: dict[str, Any] = {"data": run.entry.data, "model": run.entry.model}
    common |= {"seed": run.entry.seed, **{path: run.config[path] for path in sorted(asked)}}
    for folder, judged in (("best", run.best), ("baseline", run.baseline)):
        if judged is not None:
            hparams = _hparams({**common, **judged.params})
            times = (run.started, run.ended)
            yield Session(folder, hparams, judged.scores, judged.curves, True, *times)
    for candidate in candidates:
        own = {path: candidate.params[path] for path in searched if path in candidate.params}
        scores = {f"cv/{name}": sum(s) / len(s) for name, s in candidate.scores.items() if s}
        yield Session(
            f"candidates/{candidate.number:04d}",
            _hparams({**common, **own}),
            scores,
            candidate.curves,
            candidate.status == "completed",
            candidate.started,
            candidate.ended,
        )


def _hparams(values: Mapping[str, Any]) -> dict[str, Any]:
    return {path: _plain(mask(value)) for path, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else to_json(value)


def _write(folder: Path, session: Session) -> None:
    """Write a session's event file, in place of any that says something else."""
    content = _event_file(session)
    name = f"{_PREFIX}{int(session.started)}.{blake2b(content, digest_size=8).hexdigest()}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / name).exists():
        write_bytes(folder / name, content)
    for other in folder.glob(f"{_PREFIX}*"):
        if other.name != name:
            other.unlink()


def _event_file(session: Session) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
    from tensorboard.plugins.hparams.plugin_data_pb2 import (
        HParamsPluginData,
        SessionEndInfo,
        SessionStartInfo,
    )
    from tensorboard.summary.writer.record_writer import RecordWriter

    def hparams_summary(tag: str, data: Any) -> Any:
        # The same content, byte for byte, whenever it is written.
        content = data.SerializeToString(deterministic=True)
        kind = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content)
        described = SummaryMetadata(plugin_data=kind)
        value = Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
        return Summary(value=[value])

    start = SessionStartInfo(start_time_secs=session.started)
    for name, value in session.hparams.items():
        kind = "number_value" if isinstance(value, int | float) else "string_value"
        kind = "bool_value" if isinstance(value, bool) else kind
        setattr(start.hparams[name], kind, value)
    status = STATUS_SUCCESS if session.succeeded else STATUS_FAILURE
    end = SessionEndInfo(status=status, end_time_secs=session.ended)

    events = [Event(wall_time=session.started, file_version="brain.Event:2")]
    data = HParamsPluginData(session_start_info=start)
    summary = hparams_summary(metadata.SESSION_START_INFO_TAG, data)
    events.append(Event(wall_time=session.started, summary=summary))
    for tag, step, value in _scalars(session.scores, session.curves):
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        events.append(Event(wall_time=session.ended, step=step, summary=summary))
    data = HParamsPluginData(session_end_info=end)
    summary = hparams_summary(metadata.SESSION_END_INFO_TAG, data)
    events.append(Event(wall_time=session.ended, summary=summary))

    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return file.getvalue()


def _scalars(
    scores: Mapping[str, float], curves: Mapping[str, Sequence[float]]
) -> Iterator[tuple[str, int, float]]:
    for name, score in scores.items():
        yield name, 0, score
    for name, values in curves.items():
        for epoch, value in enumerate(values, start=1):
            if math.isfinite(value):
                yield f"epoch/{name}", epoch, value
