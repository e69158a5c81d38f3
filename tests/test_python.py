"""The runner from Python: run, compose and load, and what they leave behind, which is nothing."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import ROOT, Once, look
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError
from test_docs import blocks

from runner import ExperimentError, RequestError, Run, compose, load, run
from runner.config.edits import overrides_for
from runner.results.run_directory import RunDirectory

QUICK = ("model=logistic_regression", "compute.n_jobs=1")


def fill(folder: Path) -> None:
    with chdir(folder):
        run("data=iris", *QUICK, "search.n_iter=2", "hydra.run.dir=run")


@pytest.fixture
def finished(once: Once) -> Run:
    """A run with a search; tests only read it."""
    return Run.read(RunDirectory(once("from_python", fill) / "run"))


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def of_the_process() -> dict[str, Any]:
    """What a call must leave as it was."""
    root = logging.getLogger()
    return {
        "cwd": os.getcwd(),
        "argv": list(sys.argv),
        "streams": (sys.stdout, sys.stderr),
        "handlers": [(handler, handler.level) for handler in root.handlers],
        "level": root.level,
        "records": logging.getLogRecordFactory(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
        "warnoptions": list(sys.warnoptions),
    }


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, runner; "
        "heavy = {'hydra', 'omegaconf', 'sklearn', 'pandas', 'numpy', 'tensorflow', 'rich'}; "
        "print(*sorted(heavy & set(sys.modules))); "
        "assert {'run', 'compose', 'load', 'Run'} <= set(dir(runner))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_result_says_what_result_json_says(finished: Run) -> None:
    record = json.loads((finished.directory / "result.json").read_text())
    assert finished.cv_mean == record["best"]["cv_mean"]
    assert finished.best_params == record["best"]["params"]
    assert finished.test == record["best"]["test"]
    assert finished.test_ci95 is not None
    assert list(finished.test_ci95) == record["best"]["test_ci95"]
    assert len(finished.trials) == 2
    assert finished.trials["mean_test_score"].max() <= finished.cv_mean
    with pytest.raises(AttributeError):
        finished.directory = Path()  # type: ignore[misc]


def test_a_result_shows_as_a_table(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as Jupyter's kernel does
    text, page = repr(finished), finished._repr_html_()
    for shown in ("baseline", "tuned", f"{finished.cv_mean:.4f}", str(finished.directory)):
        assert shown in text
        assert shown in page
    assert "\x1b" not in text
    assert page.startswith("<table><tr><th></th><th>CV accuracy</th>")


def test_texts_from_configs_are_no_markup(finished: Run) -> None:
    evil = Run(Path("<script>"), finished.result, finished.trials)
    assert "<script>" not in evil._repr_html_()
    assert "&lt;script&gt;" in evil._repr_html_()


@pytest.mark.slow
def test_runs_leave_the_process_as_it_was(here: Path) -> None:
    before = of_the_process()
    first = run("data=iris", *QUICK, "search=none", "log_level=error", "hydra.run.dir=first")
    assert of_the_process() == before
    second = run("data=iris", *QUICK, "search=none", "hydra.run.dir=second")
    assert of_the_process() == before
    assert second.cv_mean == first.cv_mean
    for directory in (first.directory, second.directory):
        log = (directory / "run.log").read_text()
        assert log.count("1 candidates × 3 folds") == 1
        assert "INFO runner.experiment: " in log
        assert json.loads((directory / "state.json").read_text())["status"] == "completed"
    compose("data=iris")
    with pytest.raises(RequestError):
        run("data=irs")
    assert of_the_process() == before


def test_messages_go_to_standard_error_or_to_the_callers_logging(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "rows.csv").write_text("a,day,y\n" + "1,2001-01-01,x\n2,2002-02-02,z\n" * 20)
    table = ("data=table", "data.path=rows.csv", "data.target=y", *QUICK, "search=none")
    with monkeypatch.context() as patched:
        patched.setattr(logging.getLogger(), "handlers", [])
        run(*table)
        said = "columns left out: day (dates or times)\n1 candidates × 3 folds\n"
        assert capsys.readouterr().err == said
        run(*table, "log_level=error")
        assert capsys.readouterr().err == ""
        heard: list[str] = []
        listener = logging.Handler()
        listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger().addHandler(listener)
        run(*table)
        assert capsys.readouterr() == ("", "")
        assert heard == said.splitlines()


def test_a_run_from_python_is_one_like_any_other(finished: Run) -> None:
    shown = look("show", str(finished.directory), cwd=finished.directory.parent).out
    assert "iris, logistic_regression, search random, seed 0, completed" in shown
    assert "runner data=iris model=logistic_regression compute.n_jobs=1 search.n_iter=2" in shown
    overrides = OmegaConf.load(finished.directory / ".hydra" / "overrides.yaml")
    assert list(overrides) == ["data=iris", *QUICK, "search.n_iter=2"]


def test_what_can_not_be_run_is_refused_and_leaves_nothing(here: Path) -> None:
    for wrong, words in (
        (("data=irs",), "did you mean 'iris'?"),
        (("data=iris", "seed=-1"), "seed"),
        (("data=iris", "model=svm,mlp"), "several values need a sweep"),
        (("-m", "data=iris"), "flags are for the command line"),
        (("--cfg", "job"), "flags are for the command line"),
        (("hydra.mode=MULTIRUN", "data=iris"), "sweeps are run from the command line"),
        (("data=iris", *QUICK, "hydra.launcher._target_=os.system"), "os.system"),
    ):
        with pytest.raises(RequestError) as caught:
            run(*wrong)
        assert words in str(caught.value)
    assert list(here.iterdir()) == []


def test_a_notebook_shows_a_refusal_in_one_line() -> None:
    with pytest.raises(RequestError) as caught:
        compose("model.droput=0.3", "modle=mlp")
    assert caught.value._render_traceback_() == [f"runner: {caught.value}"]


def test_a_failure_is_recorded_and_raised(here: Path) -> None:
    """Without preprocessing, a linear model can't take gaps."""
    (here / "gaps.csv").write_text("a,b,y\n" + "1,,x\n2,3,z\n" * 20)
    table = ("data=table", "data.path=gaps.csv", "data.target=y", "preprocess=none")
    with pytest.raises(ExperimentError, match="every fit failed") as caught:
        run(*table, *QUICK, "search=none", "hydra.run.dir=failed")
    assert json.loads((here / "failed" / "result.json").read_text())["status"] == "failed"
    assert json.loads((here / "failed" / "state.json").read_text())["status"] == "failed"
    assert str(caught.value) in (here / "failed" / "run.log").read_text()
    with pytest.raises(RequestError, match="has no saved model; the run is failed"):
        load(here / "failed")


def test_edits_of_a_config_are_overrides(here: Path) -> None:
    config = compose("data=iris", "model=random_forest", "compute.n_jobs=1")
    assert isinstance(config, DictConfig)
    assert config.model.n_estimators == 200
    assert config.hydra.overrides == ["data=iris", "model=random_forest", "compute.n_jobs=1"]
    config.model.n_estimators = 7
    config.space.model = {"max_depth": [1, 2]}
    config.data.name = "my irises"
    result = run(config, "search.n_iter=2", "log_level=warning")
    assert result.result.name["data"] == "my irises"
    assert {"model.n_estimators=7", 'data.name="my irises"'} < set(result.result.overrides)
    assert list(result.trials["model.max_depth"]) in ([1, 2], [2, 1])
    assert load(result.directory).estimator.model_.n_estimators == 7


def test_edits_are_checked(here: Path) -> None:
    config = compose("data=iris", *QUICK)
    with pytest.raises(ConfigAttributeError):
        config.modle = 1
    config.seed = "x"
    with pytest.raises(RequestError, match="seed"):
        run(config)
    with pytest.raises(RequestError, match="none that compose"):
        run(OmegaConf.create({"data": "iris"}))


def test_differences_as_overrides() -> None:
    composed = {"a": 1, "b": {"c": [1], "d": None, "e": "${a}"}, "space": {"x": {"low": 0}}}
    edited = {"a": 1.0, "b": {"c": [1, 2], "e": "${a}"}, "space": {"x": {"low": 1, "high": 2}}}
    assert overrides_for(edited, composed) == [
        "a=1.0",
        "b.c=[1,2]",
        "~b.d",
        "space.x={low:1,high:2}",
    ]
    assert overrides_for(composed, composed) == []
    with pytest.raises(RequestError, match="b: can't write"):
        overrides_for({"b": np.array}, {"b": 1})


def test_a_run_in_a_thread(here: Path) -> None:
    results: list[Run] = []
    work = threading.Thread(
        target=lambda: results.append(run("data=iris", *QUICK, "search=none", "log_level=warning"))
    )
    work.start()
    work.join()
    assert results[0].cv_mean > 0.9


@pytest.mark.slow
def test_docs_snippets_run_as_they_stand(here: Path) -> None:
    names: dict[str, Any] = {}
    for snippet in blocks(ROOT / "docs" / "python.md", "python"):
        exec(snippet, names)
    assert isinstance(names["result"], Run)
    assert len(names["model"].predict(names["wines"].data)) == 178
    runs = list(here.glob("outputs/runs/*/*/result.json"))
    assert len(runs) == 2


def test_trials_are_a_data_frame(finished: Run) -> None:
    assert isinstance(finished.trials, pd.DataFrame)
    assert list(finished.trials["rank"]) in ([1, 2], [2, 1], [1, 1])
