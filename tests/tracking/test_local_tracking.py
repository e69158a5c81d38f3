"""Runs in a local MLflow database and in TensorBoard's event files, at once and later."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from command import Once, look, run_command
from mlflow_server import children, files, read_back, top

from runner.results.run_directory import RunDirectory
from runner.search.curves import read_curves
from runner.tracking.facts import read_run

RUN = (
    *("data=iris", "model=mlp", "model.hidden_layer_one=8", "model.hidden_layer_two=4"),
    *("training.epochs=3", "cv=holdout", "compute.n_jobs=1", "plots=false"),
    *("space=none", "space.optimizer.learning_rate=[0.01,0.1]", "search=grid"),
)


@pytest.fixture(scope="module")
def made(once: Once) -> Path:
    """A folder with one run that was logged to both."""

    def fill(folder: Path) -> None:
        done = run_command(*RUN, "tracking=[mlflow,tensorboard]", cwd=folder)
        assert done.code == 0, done.err
        assert done.err.count("logged to ") == 2
        assert not (folder / "mlruns").exists()

    return once("tracked", fill)


@pytest.fixture(scope="module")
def run(made: Path) -> RunDirectory:
    (path,) = made.glob("outputs/runs/*/*")
    return RunDirectory(path)


def test_local_database_has_the_run(made: Path, run: RunDirectory) -> None:
    runs = read_back(f"sqlite:///{made}/outputs/mlflow.db")
    whole, result = top(runs), run.read_result()
    assert result.best is not None
    assert whole.status == "FINISHED"
    assert whole.metrics["test/accuracy"] == result.best.test["accuracy"]
    assert len(children(runs, whole)) == 3
    assert "report.html" in files(f"sqlite:///{made}/outputs/mlflow.db", whole)


def test_curves_are_a_line_for_each_fit_of_a_network(run: RunDirectory) -> None:
    curves = list(read_curves(run.curves))
    assert [each.refit for each in curves].count(None) == 3
    assert {each.refit for each in curves} == {None, "best", "baseline"}
    for each in curves:
        assert {len(values) for values in each.curves.values()} == {3}
    facts = read_run(run)
    assert [candidate.status for candidate in facts.candidates] == ["completed"] * 3
    assert all(len(candidate.curves["loss"]) == 3 for candidate in facts.candidates)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def hparams(folder: Path) -> tuple[dict[str, Any], int]:
    """What the HParams tab knows of a session: its parameters, and how it ended."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(folder)).Reload()
    data = events.PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(data[metadata.SESSION_START_INFO_TAG])
    end = metadata.parse_session_end_info_plugin_data(data[metadata.SESSION_END_INFO_TAG])
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.hparams.items()}
    return values, end.status


def test_event_files_have_scores_curves_and_sessions(run: RunDirectory) -> None:
    result = run.read_result()
    assert result.best is not None
    assert result.baseline is not None
    refits = {each.refit: each.curves for each in read_curves(run.curves)}
    for name, evaluation in (("best", result.best), ("baseline", result.baseline)):
        found = scalars(run.tensorboard / name)
        assert found["test/accuracy"] == [(0, pytest.approx(evaluation.test["accuracy"]))]
        assert found["cv/accuracy"] == [(0, pytest.approx(evaluation.cv_mean))]
        losses = refits[name]["loss"]  # type: ignore[index]
        assert found["epoch/loss"] == [(i, pytest.approx(v)) for i, v in enumerate(losses, 1)]
        values, status = hparams(run.tensorboard / name)
        rate = "optimizer.learning_rate"
        assert values[rate] == pytest.approx(evaluation.params[rate])
        assert (values["data"], values["model"], values["training.epochs"]) == ("iris", "mlp", 3)
        assert status == 1  # STATUS_SUCCESS
    sessions = {path.parent for path in run.tensorboard.rglob("*tfevents*")}
    assert len(sessions) == 2 + 3 - len({result.best.cv_mean, result.baseline.cv_mean})


def test_tracking_later_is_the_same_as_at_once(made: Path, folder: Path) -> None:
    copy = folder / "work"
    shutil.copytree(made, copy)
    (path,) = copy.glob("outputs/runs/*/*")
    before = {p: p.read_bytes() for p in (path / "tensorboard").rglob("*") if p.is_file()}
    stated = str(path.relative_to(copy))
    done = look("track", stated, "tracking=tensorboard", cwd=copy)
    assert "logged to" in done.out
    shutil.rmtree(path / "tensorboard")
    look("track", stated, "tracking=tensorboard", cwd=copy)
    after = {p: p.read_bytes() for p in (path / "tensorboard").rglob("*") if p.is_file()}
    assert after == before


def test_event_files_are_framed_as_tensorflow_frames_them(run: RunDirectory) -> None:
    (path,) = (run.tensorboard / "best").iterdir()
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        file.read(4)
        assert b"brain.Event:2" in file.read(length)
