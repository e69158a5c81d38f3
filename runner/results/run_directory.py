"""The run directory: every path of the contract in one place, and the record in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runner.errors import RequestError
from runner.results.atomic import write_text
from runner.results.jsonable import plain, to_json
from runner.results.schema import Result

SCHEMA = 1

_RESULT = TypeAdapter(Result)


@dataclass(frozen=True)
class RunDirectory:
    """Where the files of one run are; creates nothing by itself.

    Parameters
    ----------
    path
        The run's folder.
    """

    path: Path

    @property
    def hydra(self) -> Path:
        """Hydra's own record: config, overrides, settings."""
        return self.path / ".hydra"

    @property
    def config(self) -> Path:
        """The resolved config, for people."""
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def record(self) -> Path:
        """Every finished fit, written as it ends."""
        return self.path / "fits.jsonl"

    @property
    def curves(self) -> Path:
        """Learning curves of networks, a line per fit, written as it ends."""
        return self.path / "curves.jsonl"

    @property
    def state(self) -> Path:
        """Who is or was writing here, and what for."""
        return self.path / "state.json"

    @property
    def states(self) -> Path:
        """States of training that may be continued; gone when the run is complete."""
        return self.path / "states"

    @property
    def result(self) -> Path:
        """The record that tools read; its presence says that the run has ended."""
        return self.path / "result.json"

    @property
    def trials(self) -> Path:
        """One row per candidate."""
        return self.path / "trials.csv"

    @property
    def best_overrides(self) -> Path:
        """The best parameters as command-line overrides, one a line."""
        return self.path / "best.overrides"

    @property
    def model(self) -> Path:
        """Folder of the refitted winner."""
        return self.path / "model"

    @property
    def card(self) -> Path:
        """What the model is, for whoever gets that folder."""
        return self.model / "README.md"

    @property
    def report(self) -> Path:
        """The self-contained page."""
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        """Folder of the report's plots, each as PNG and SVG."""
        return self.path / "plots"

    @property
    def tensorboard(self) -> Path:
        """Folder of event files."""
        return self.path / "tensorboard"

    def write_text(self, path: str | Path, text: str) -> None:
        """Write a file of this run atomically; `path` is relative to the run's folder."""
        write_text(self.path / path, text)

    def write_result(self, result: Result) -> None:
        """Write ``result.json`` atomically, as strict JSON (NaN and infinities as null)."""
        # The schema comes first, where a reader looks for it.
        record = {"schema": result.schema, **plain(result.without_secrets())}
        write_text(self.result, to_json(record, indent=2) + "\n")

    def read_result(self) -> Result:
        """Read ``result.json``.

        Null in a numeric field is NaN. Unknown fields are ignored, so that records of a later
        version with the same schema can be read.

        Raises
        ------
        RequestError
            When there is no record, it isn't JSON, its schema is unknown, or a field is wrong.
        """
        record = self._read_json()
        schema = record.get("schema") if isinstance(record, dict) else None
        if schema != SCHEMA:
            raise self._unreadable(f"has schema {schema!r}; this version reads schema {SCHEMA}")
        try:
            return _RESULT.validate_python(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self._unreadable(f"is not a record of a run: {where}: {first['msg']}") from error

    def _read_json(self) -> object:
        try:
            return json.loads(self.result.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._unreadable("is missing; is this the folder of a finished run?") from error
        except ValueError as error:
            raise self._unreadable(f"is not valid JSON: {error}") from error

    def _unreadable(self, problem: str) -> RequestError:
        return RequestError(None, f"{self.result} {problem}")
