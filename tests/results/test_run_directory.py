"""result.json: strict, typed, and there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.errors import RequestError
from runner.results.run_directory import RunDirectory
from runner.results.schema import (
    Comparison,
    DataSummary,
    Evaluation,
    Result,
    Timing,
    TrialCounts,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.floats(allow_nan=False, allow_infinity=False)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
interval = st.tuples(number, number)
evaluation = st.builds(
    Evaluation,
    params=st.dictionaries(text, value, max_size=4),
    cv_mean=number,
    cv_std=number,
    cv_scores=st.lists(number, max_size=4),
    test=st.dictionaries(text, number, max_size=3),
    test_ci95=st.none() | interval,
)
result = st.builds(
    Result,
    status=st.sampled_from(["completed", "failed", "interrupted"]),
    task=st.none() | st.sampled_from(["classification", "regression"]),
    name=st.dictionaries(text, text, max_size=3),
    seed=st.integers(0),
    scoring=st.none() | text,
    overrides=st.lists(text, max_size=3),
    environment=st.dictionaries(text, value, max_size=3),
    data=st.none()
    | st.builds(
        DataSummary,
        shape=st.lists(st.integers(0), max_size=3).map(tuple),
        fingerprint=text,
    ),
    baseline=st.none() | evaluation,
    best=st.none() | evaluation,
    comparison=st.none()
    | st.builds(Comparison, difference=number, ci95=interval, p_value=number, method=text),
    trials=st.none() | st.builds(TrialCounts),
    timing=st.none() | st.builds(Timing, total_s=number, search_s=number, refit_s=number),
    error=st.none() | st.fixed_dictionaries({"type": text, "message": text}),
    schema=st.just(1),
)
EMPTY = Result("completed", None, {}, 0, None, [], {})


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory(tmp_path)


@given(result)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_result_reads_back_as_it_was_written(run, record):
    run.write_result(record)
    assert run.read_result() == record


def test_result_of_a_real_run_reads_back(run, digits_run):
    run.write_result(digits_run.result)
    read = run.read_result()
    assert read.best.cv_mean == digits_run.result.best.cv_mean
    assert read.comparison == digits_run.result.comparison
    assert read.data.shape == (64,)


def test_result_has_the_fields_of_the_contract_with_the_schema_first(run, digits_run):
    run.write_result(digits_run.result)
    record = json.loads(run.result.read_text())
    assert next(iter(record)) == "schema"
    assert record["schema"] == 1
    assert set(record) >= {
        *("status", "task", "name", "data", "seed", "scoring", "overrides", "baseline", "best"),
        *("comparison", "trials", "timing", "environment", "error"),
    }
    assert set(record["best"]) >= {"params", "cv_mean", "cv_std", "test", "test_ci95"}
    assert set(record["comparison"]) == {"difference", "ci95", "p_value", "method"}
    assert set(record["data"]) == {"n_train", "n_test", "shape", "n_classes", "fingerprint"}
    counts = {"n_candidates", "n_fits", "n_failed", "n_restored", "n_pruned", "n_elsewhere"}
    assert set(record["trials"]) == counts
    assert set(record["timing"]) == {"total_s", "search_s", "refit_s", "fit_s"}


def test_undefined_numbers_are_null_on_disk_and_nan_when_read(run):
    scores = [math.nan, np.float32(0.5), math.inf]
    best = Evaluation({"model.x": math.nan}, math.nan, math.inf, scores, {"r2": -math.inf})
    run.write_result(replace(EMPTY, best=best))
    on_disk = json.loads(run.result.read_text(), parse_constant=pytest.fail)["best"]
    assert on_disk["cv_mean"] is None
    assert on_disk["cv_scores"] == [None, 0.5, None]
    read = run.read_result().best
    assert all(math.isnan(score) for score in (read.cv_mean, read.cv_std, read.test["r2"]))
    assert read.params == {"model.x": None}


def test_numpy_values_tuples_and_strange_objects_become_plain_json(run):
    params = {
        "a": np.int64(3),
        "b": np.bool_(True),
        "c": (1, np.float64(0.5)),
        "d": np.arange(2),
        "e": Path("x"),
        "f": {2, 1},
    }
    run.write_result(replace(EMPTY, best=Evaluation(params, 0, 0, [], {})))
    expected = {"a": 3, "b": True, "c": [1, 0.5], "d": [0, 1], "e": "x", "f": [1, 2]}
    assert run.read_result().best.params == expected


def test_file_names_of_odd_bytes_do_not_cost_the_record(run):
    overrides = [os.fsdecode(b"data.path=\xff.csv")]
    run.write_result(replace(EMPTY, overrides=overrides))
    assert run.read_result().overrides == ["data.path=\\udcff.csv"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"schema": 2}', "has schema 2; this version reads schema 1"),
        ("[]", "has schema None"),
        ('{"schema": 1, "status"', "is not valid JSON"),
        ('{"schema": 1, "status": "done"}', "is not a record of a run: status"),
    ],
)
def test_a_record_that_is_none_is_refused_in_one_line(run, content, problem):
    run.result.write_text(content)
    with pytest.raises(RequestError, match=problem) as caught:
        run.read_result()
    assert str(run.result) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_record_is_refused(run):
    with pytest.raises(RequestError, match=r"result\.json is missing"):
        run.read_result()


def test_fields_of_a_later_version_are_ignored(run):
    run.write_result(EMPTY)
    record = json.loads(run.result.read_text()) | {"novelty": 1}
    run.result.write_text(json.dumps(record))
    assert run.read_result() == EMPTY


def test_a_failed_write_leaves_the_earlier_file_and_no_other(run, monkeypatch):
    run.write_text("run.log", "first")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run.write_text("run.log", "second")
    assert run.log.read_text() == "first"
    assert os.listdir(run.path) == ["run.log"]


def test_a_reader_never_meets_half_a_file(run):
    """Another process rewrites the record all the time; every reading is whole."""
    writer = (
        "import sys; from pathlib import Path; from runner.results.atomic import write_text\n"
        "for i in range(200): write_text(Path(sys.argv[1]), f'{i:03d}' * 200_000)"
    )
    run.write_text("result.json", "000" * 200_000)
    process = subprocess.Popen([sys.executable, "-c", writer, str(run.result)])
    seen = set()
    while process.poll() is None:
        content = run.result.read_text()
        assert content == content[:3] * 200_000
        seen.add(content[:3])
    assert process.returncode == 0
    assert len(seen) > 1


def test_a_written_file_has_the_permissions_of_any_other_new_file(run):
    run.write_text("report.html", "")
    (run.path / "other").write_text("")
    assert run.report.stat().st_mode == (run.path / "other").stat().st_mode


def test_every_file_of_the_contract_has_its_path(tmp_path):
    run = RunDirectory(tmp_path)
    paths = [run.hydra, run.config, run.log, run.result, run.trials, run.best_overrides]
    assert [path.name for path in [*paths, run.model, run.report, run.plots]] == [
        *(".hydra", "config.yaml", "run.log", "result.json", "trials.csv", "best.overrides"),
        *("model", "report.html", "plots"),
    ]
    assert {path.parent for path in paths} == {tmp_path}
