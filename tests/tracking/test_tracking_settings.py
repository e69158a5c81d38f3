"""``tracking=``: what composes, what is refused and how, and what is known without a server."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from command import ACCEPTED, attempt_all, commands_of, look, refusal
from hypothesis import given
from hypothesis import strategies as st

from runner.config.compose import compose_config, parse_config
from runner.config.schema import MlflowSettings, Tracking
from runner.errors import RequestError
from runner.results.run_directory import RunDirectory
from runner.search.curves import append_curves, read_curves
from runner.tracking.facts import own_id, read_run
from runner.tracking.mlflow_items import run_item
from runner.tracking.settings import address_of, read_tracking

FINE = {
    ("tracking=none",): (),
    ("tracking=[]",): (),
    ("tracking=[mlflow,tensorboard]",): ("mlflow", "tensorboard"),
    ("tracking=mlflow", "tracking.mlflow.uri=sqlite:///here.db"): ("mlflow",),
    ("experiment=tracked",): ("mlflow", "tensorboard"),
}
BAD = {
    ("tracking=mlfow",): "there is no option 'mlfow'; did you mean 'mlflow'?",
    ("tracking=[mlflow,tb]",): "there is no option 'tb'; options: mlflow, none, tensorboard",
    ("tracking=3",): "must name options: mlflow, none, tensorboard",
    ("model=[mlp,cnn]",): "must name one option",
    ("tracking=mlflow", "tracking.mlflow.timeout_s=0"): (
        "tracking.mlflow.timeout_s: must be greater than 0, got 0"
    ),
    ("tracking=mlflow", "tracking.mlflow.url=http://h"): "tracking.mlflow.url: unknown key",
    ("tracking=mlflow", "tracking.mlflow.uri=ftp://h"): (
        "tracking.mlflow.uri: 'ftp://h' must be http://HOST:PORT, https://… or sqlite:///FILE"
    ),
    ("tracking=mlflow", "tracking.mlflow.uri=http://me:sesame@h"): "holds a user name or password",
    ("tracking=mlflow", "tracking.mlflow.uri='http://me:sesame@h/?x'"): "user name or password",
    ("-m", "seed=1,2", "tracking=mlflow", "tracking.mlflow.uri=http://me:sesame@h"): "password",
    ("-m", "tracking=mlflow", "tracking.mlflow.uri=http://h,http://me:sesame@h"): "password",
}
EXPERIMENT = "# @package _global_\ndefaults:\n  - override /tracking: [mlflow, tensorboard]\n"


@pytest.fixture
def with_experiment(folder: Path) -> Path:
    (folder / "conf" / "experiment").mkdir(parents=True)
    (folder / "conf" / "experiment" / "tracked.yaml").write_text(EXPERIMENT)
    return folder


def test_one_several_and_none_compose(
    with_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(with_experiment)
    for overrides, expected in FINE.items():
        composed = compose_config(overrides)
        tracking = read_tracking(composed)
        assert tracking == parse_config(composed).tracking
        assert tuple(name for name, chosen in tracking if chosen is not None) == expected
    commands = commands_of("docs/tracking.md")
    assert len(commands) == 4
    for overrides in commands:
        assert read_tracking(compose_config(overrides)) != Tracking()


@pytest.mark.slow
def test_mistakes_are_one_line_before_anything_starts(folder: Path) -> None:
    quick = ("data=iris", "model=logistic_regression", "search=none")
    lines = {str(number): (*quick, *args) for number, args in enumerate(BAD)}
    lines["sweep"] = ("-m", *quick, "seed=1,2", "tracking=[mlflow,tensorboard]")
    done = attempt_all(lines, folder)
    assert done.pop("sweep").code == ACCEPTED
    for attempt, problem in zip(done.values(), BAD.values(), strict=True):
        assert attempt.code == 2, (problem, attempt)
        assert problem in attempt.err
        assert len(attempt.err.splitlines()) == 1
        assert "sesame" not in attempt.err + attempt.out
        assert attempt.left_behind == ()


def test_both_are_there_with_their_settings() -> None:
    composed = compose_config(["tracking=[mlflow,tensorboard]", "tracking.mlflow.experiment=wells"])
    tracking = parse_config(composed).tracking
    assert tracking.mlflow is not None
    assert tracking.mlflow.experiment == "wells"
    assert tracking.tensorboard is not None
    assert parse_config(compose_config([])).tracking.mlflow is None


def test_missing_package_is_told_with_its_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = compose_config(["tracking=tensorboard"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'runner\[tensorboard\]'"):
        read_tracking(composed)


def test_address_comes_from_the_config_the_environment_or_the_folder(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert address_of(MlflowSettings()).database == folder / "outputs" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:open%20sesame@host:5000/base/")
    address = address_of(MlflowSettings())
    assert (address.uri, address.password) == ("https://host:5000/base", "open sesame")
    assert "sesame" not in f"{address} {address!r}"
    assert address_of(MlflowSettings(uri="http://h")).uri == "http://h"


def test_only_a_whole_address_may_come_from_the_environment_of_a_config(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUNNER_TEST_URI", "http://me:sesame@host:5000")
    monkeypatch.setenv("RUNNER_TEST_KEY", "abracadabra")

    def settings(uri: str) -> MlflowSettings:
        composed = compose_config(["tracking=mlflow", f"tracking.mlflow.uri='{uri}'"])
        found = parse_config(composed).tracking.mlflow
        assert found is not None
        return found

    assert address_of(settings("${oc.env:RUNNER_TEST_URI}")).uri == "http://host:5000"
    for uri in ("http://evil/${oc.env:RUNNER_TEST_KEY}", "http://${oc.env:RUNNER_TEST_KEY}:x@evil"):
        with pytest.raises(RequestError, match="all of it from there"):
            address_of(settings(uri))


def test_track_refuses_what_it_cannot_do(folder: Path) -> None:
    assert "there is no folder 'nowhere'" in refusal("track", "nowhere", cwd=folder)
    run = folder / "run"
    (run / ".hydra").mkdir(parents=True)
    assert "tracking=none; say where" in refusal("track", "run", cwd=folder)
    assert "not about tracking" in refusal("track", "run", "seed=3", cwd=folder)
    told = refusal("track", "run", "tracking.mlflow.uri=http://me:sesame@h", cwd=folder)
    assert "password" in told
    assert "sesame" not in told


def test_settings_of_a_foreign_run_send_nothing_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNER_TEST_KEY", "abracadabra")
    hydra = folder / "run" / ".hydra"
    hydra.mkdir(parents=True)
    (hydra / "config.yaml").write_text(
        "tracking: {mlflow: {uri: 'http://127.0.0.1:1/${oc.env:RUNNER_TEST_KEY}'}}\n"
    )
    assert "all of it from there" in refusal("track", "run", cwd=folder)


def test_an_unfinished_run_is_tracked_as_it_stands(folder: Path) -> None:
    run = folder / "run"
    (run / ".hydra").mkdir(parents=True)
    facts = read_run(RunDirectory(run))
    assert facts.entry.status == "interrupted"
    assert facts.candidates == []
    look("track", "run", "tracking=tensorboard", cwd=folder)
    # The id stays what it is, wherever the folder goes.
    moved = run.rename(folder / "moved")
    assert own_id(moved) == facts.id
    assert json.loads((moved / "tracking.json").read_text()) == {"id": facts.id}


def test_links_in_a_run_are_not_followed(folder: Path) -> None:
    (folder / "secret").write_text("sesame")
    run = folder / "run"
    (run / "model").mkdir(parents=True)
    (run / ".hydra").mkdir()
    (run / "result.json").symlink_to(folder / "secret")
    (run / "model" / "card").symlink_to(folder / "secret")
    (run / "plots").symlink_to(folder)
    (run / "model" / "own").write_text("own")
    (run / "result.json").unlink()
    (run / "trials.csv").symlink_to(folder / "secret")
    item = run_item(read_run(RunDirectory(run)), with_files=True, n_children=0)
    assert [(path.name, to) for path, to in item.files] == [("own", "model")]


VALUES = st.one_of(st.floats(width=32), st.integers(-5, 5).map(float))


@given(
    st.lists(
        st.tuples(
            st.text(max_size=5),
            st.dictionaries(st.text(max_size=8), st.lists(VALUES, max_size=4), min_size=1),
        ),
        max_size=4,
    )
)
def test_curves_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory,
    fits: list[tuple[str, dict[str, list[float]]]],
) -> None:
    path = tmp_path_factory.mktemp("curves") / "curves.jsonl"
    for candidate, curves in fits:
        append_curves(path, candidate, "fold", curves)
    read = list(read_curves(path))
    assert [each.candidate for each in read] == [candidate for candidate, _ in fits]
    for each, (_, curves) in zip(read, fits, strict=True):
        expected = {
            name: [np.float32(value) if math.isfinite(value) else None for value in values]
            for name, values in curves.items()
        }
        found = {
            name: [value if value is None else np.float32(value) for value in values]
            for name, values in each.curves.items()
        }
        assert found == expected


@given(st.binary(max_size=60))
def test_damaged_lines_of_curves_are_passed_over(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes
) -> None:
    path = tmp_path_factory.mktemp("curves") / "curves.jsonl"
    path.write_bytes(damage)
    append_curves(path, "a", "fold", {"loss": [1.0]})
    assert list(read_curves(path))[-1].curves == {"loss": [1.0]}
