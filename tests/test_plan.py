"""`runner plan` says what a run would do, in the run's own words where it would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import MNIST, commands_of, look, run_command

from runner.config.compose import compose_config, parse_config
from runner.config.overrides import protect_space
from runner.planning.proposals import propose
from runner.preparation import prepare

FOREST = ["data=iris", "model=random_forest", "space=none", "compute.n_jobs=1"]
TREES = ["search.resource=model.n_estimators", "search.min_resource=3"]
SLEEPY = '''\
"""A classifier whose fits take as long as they are told to."""

import time

from sklearn.dummy import DummyClassifier


class Sleepy(DummyClassifier):
    def __init__(self, sleep_s=0.02):
        super().__init__(strategy="prior")
        self.sleep_s = sleep_s

    def fit(self, X, y):
        time.sleep(self.sleep_s)
        return super().fit(X, y)
'''


def planned(*overrides: str, cwd: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(look("plan", *overrides, "--format=json", cwd=cwd).out)
    assert not (cwd / "outputs").exists()
    return plan


@pytest.fixture
def sleepy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model that sleeps for as long as the config says."""
    (folder / "sleepy_models.py").write_text(SLEEPY)
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "model" / "sleepy.yaml").write_text(
        "# Sleeps.\n_target_: sleepy_models.Sleepy\nsleep_s: 0.1 # seconds\n"
    )
    monkeypatch.setenv("RUNNER_ALLOW", "sleepy_models.*")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.mark.slow
def test_candidates_are_those_of_the_run(folder: Path) -> None:
    overrides = [
        *FOREST,
        "space.model.n_estimators=[2,3,4]",
        "space.model.max_depth={low:1,high:9}",
    ]
    plan = planned(*overrides, "search.n_iter=4", "cv.n_splits=2", cwd=folder)
    counts = {"n_candidates": 4, "n_folds": 2, "n_fits": 8, "n_baseline_fits": 2, "n_refits": 2}
    assert {name: plan[name] for name in counts} == counts
    assert (plan["n_train"], plan["n_test"], plan["shape"]) == (120, 30, [4])
    assert plan["n_combinations"] == 27
    assert plan["epochs"] is None
    done = run_command(*overrides, "search.n_iter=4", "cv.n_splits=2", cwd=folder)
    assert done.code == 0, done.err
    (directory,) = folder.glob("outputs/runs/*/*")
    trials = pd.read_csv(directory / "trials.csv")
    result = json.loads((directory / "result.json").read_text())
    assert result["trials"]["n_fits"] == plan["n_fits"]
    tried = trials[list(plan["space"])].sort_values(list(plan["space"]))
    told = pd.DataFrame(plan["candidates"])[list(plan["space"])].sort_values(list(plan["space"]))
    assert tried.to_numpy().tolist() == told.to_numpy().tolist()


@pytest.mark.parametrize(
    ("search", "n_candidates", "n_fits"),
    [
        (["search=grid"], 9, 18),
        (["search=none"], 1, 2),
        (["search=optuna", "search.n_iter=5"], 5, 10),
        # 6 candidates with 3 trees, 2 of them with 9.
        (["search=halving", "search.n_iter=6", *TREES], 6, 16),
    ],
)
def test_every_search_is_counted(
    search: list[str], n_candidates: int, n_fits: int, folder: Path
) -> None:
    space = ["space.model.max_depth=[1,2,3,4,5,6,7,8,9]", "model.n_estimators=9", "cv.n_splits=2"]
    plan = planned(*FOREST, *space, *search, cwd=folder)
    assert (plan["n_candidates"], plan["n_fits"]) == (n_candidates, n_fits)
    assert plan["n_baseline_fits"] == (0 if search == ["search=none"] else 2)
    assert plan["expected"]["search_s"] > 0


def test_a_huge_grid_is_planned_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.planning.clock._PATIENCE_S", 0.1)
    values = ",".join(map(str, range(2, 102)))
    space = [f"space.model.{name}=[{values}]" for name in ("min_samples_leaf", "max_leaf_nodes")]
    space.append("space.model.max_depth=[1,2,3,4,5,6,7,8,9,10]")
    overrides = [*FOREST, *space, "model.n_estimators=1", "search=grid"]
    proposals = propose(prepare(parse_config(compose_config(protect_space(overrides)))))
    assert len(proposals.candidates) == 2000
    assert proposals.share == pytest.approx(0.02)
    assert len({one["model.max_depth"] for one in proposals.candidates}) == 10
    plan = planned(*overrides, cwd=folder)
    assert plan["n_candidates"] == 100_000
    assert plan["n_fits"] == 300_000
    assert plan["expected"]["search_s"] > 300


def test_other_searches_are_timed_on_the_config_as_it_is(folder: Path) -> None:
    plan = planned(
        *(*FOREST, "space.model.max_depth=[1,2,3,4]", "model.n_estimators=9", "search.n_iter=4"),
        "search._target_=sklearn.model_selection.HalvingRandomSearchCV",
        *("+search.resource=model.n_estimators", "+search.max_resources=9"),
        cwd=folder,
    )
    assert plan["n_candidates"] == 4
    assert any("not known beforehand" in note for note in plan["notes"])


@pytest.mark.slow
def test_duration_is_that_of_fits_folds_and_processes(sleepy: Path) -> None:
    space = "space.model.sleep_s=[0.05,0.1,0.15]"
    overrides = ["data=iris", "model=sleepy", space, "search=grid"]
    alone = planned(*overrides, "compute.n_jobs=1", cwd=sleepy)["expected"]
    slept_s = (0.05 + 0.1 + 0.15) * 3
    assert slept_s < alone["search_s"] < slept_s * 3
    assert 0.1 * 3 < alone["baseline_s"] < 0.1 * 3 * 3
    assert 0.1 < alone["refit_s"] < 0.1 * 4
    assert alone["n_jobs"] == 1
    assert alone["total_s"] > alone["search_s"] + alone["baseline_s"] + alone["refit_s"]
    shared = planned(*overrides, "compute.n_jobs=3", cwd=sleepy)["expected"]
    assert shared["n_jobs"] == 3
    # Three processes take a third of the time, after they have started, as programs or forked.
    assert 0.2 < shared["search_s"] - slept_s / 3 < 1.0
    programs = planned(*overrides, "compute.n_jobs=3", "compute.fork=false", cwd=sleepy)
    assert programs["expected"]["search_s"] > 1 + slept_s / 3
    assert shared["baseline_s"] < alone["baseline_s"] / 2
    assert 1.5 * alone["memory_mb"] < shared["memory_mb"] < 4.1 * alone["memory_mb"]
    limited = planned(*overrides, "compute.n_jobs=1", "search.time_budget_s=0.2", cwd=sleepy)
    assert limited["expected"]["search_s"] < 0.2 + 0.15 * 3
    assert any("search.time_budget_s=0.2 is enough for about" in w for w in limited["warnings"])
    timed_out = planned(*overrides, "compute.n_jobs=1", "search.trial_timeout=0.12", cwd=sleepy)
    assert any("search.trial_timeout=0.12" in warning for warning in timed_out["warnings"])


def test_what_may_not_be_meant_is_warned_of(folder: Path) -> None:
    few = ["data=iris", "model=svm", "space=none", "space.model.C=[1,10]", "compute.n_jobs=99"]
    warnings = planned(*few, "data.test_size=0.1", "search.n_iter=5", cwd=folder)["warnings"]
    assert "the space has 2 combinations only, fewer than search.n_iter=5" in warnings
    assert "15 test rows are few: the test scores will say little" in warnings
    assert any("99 threads in all are more than the" in warning for warning in warnings)
    many = [*few[:3], "space.model.degree={low:1,high:20}", "search.n_iter=2"]
    warnings = planned(*many, "compute.n_jobs=1", cwd=folder)["warnings"]
    assert "the space has 20 combinations, search.n_iter=2 tries 10.0% of them" in warnings
    assert not any("test rows" in warning for warning in warnings)


def test_classes_that_folds_lack_are_warned_of(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rock = np.array(["sand"] * 100 + ["lime"] * 97 + ["salt"] * 3)
    wells = pd.DataFrame({"depth": rng.normal(size=200), "rock": rock})
    wells.to_csv(folder / "wells.csv", index=False)
    table = ["data=table", "data.path=wells.csv", "data.target=rock", "model=svm", "search=none"]
    plan = planned(*table, "cv=kfold", "cv.n_splits=10", "compute.n_jobs=1", cwd=folder)
    (warning,) = [text for text in plan["warnings"] if "'salt'" in text]
    assert "too few for these folds: they lack it in" in warning


def test_what_the_run_would_say_is_said(folder: Path) -> None:
    plan = planned("data=iris", "model=svm", "model.C=3", "compute.n_jobs=1", cwd=folder)
    assert "model.C is set on the command line, so it is not searched" in plan["notes"]
    assert list(plan["space"]) == ["model.gamma"]
    assert plan["n_combinations"] is None


def test_fits_that_fail_are_told_and_nothing_is_expected(folder: Path) -> None:
    wells = pd.DataFrame({"depth": [1.0, None, 3.0, 4.0] * 10, "good": ["y", "n"] * 20})
    wells.to_csv(folder / "wells.csv", index=False)
    table = ["data=table", "data.path=wells.csv", "data.target=good", "preprocess=none"]
    plan = planned(*table, "model=svm", "search=none", cwd=folder)
    assert plan["expected"] is None
    assert any("no fit could be timed" in text and "NaN" in text for text in plan["warnings"])


@pytest.mark.parametrize(
    "line",
    [
        "model.droput=0.3",
        "data=wine model=cnn",
        "-m model=mlp,cnm",
        "hydra.run.dir=full",
    ],
)
def test_a_mistake_is_answered_as_the_run_would(line: str, folder: Path) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    run = look(*line.split(), cwd=folder, code=2)
    plan = look("plan", *line.split(), cwd=folder, code=2)
    assert plan.err == run.err
    assert plan.err.startswith("runner: ")
    assert plan.out == ""


def test_only_what_runs_can_be_planned(folder: Path) -> None:
    refused = look("plan", "--cfg", "job", cwd=folder, code=2)
    assert refused.err == "runner: plan is for runs and sweeps, not for --cfg\n"
    assert "'jsn' must be one of table, json; did you mean 'json'?" in (
        look("plan", "--format=jsn", cwd=folder, code=2).err
    )


def test_a_sweep_is_its_jobs(folder: Path) -> None:
    over = ["data=iris,wine", "model=svm,logistic_regression"]
    plan = planned("-m", *over, "search=none", cwd=folder)
    assert plan["n_jobs"] == 4
    assert plan["jobs"][2] == ["data=wine", "model=svm", "search=none"]
    assert plan["outputs"].startswith("outputs/sweeps/")
    text = look("plan", "-m", *over, "search=none", cwd=folder).out
    assert "4 jobs" in text
    assert "data=wine model=logistic_regression search=none" in text


def test_jobs_that_a_sampler_proposes_are_counted(folder: Path) -> None:
    over = ["hydra/sweeper=optuna", "data=iris", "model=svm", "hydra.sweeper.n_trials=7"]
    plan = planned("-m", *over, cwd=folder)
    assert (plan["n_jobs"], plan["jobs"], plan["sampler"]) == (7, None, "tpe")
    assert "as tpe proposes" in look("plan", "-m", *over, cwd=folder).out


def test_commands_of_the_page_run(folder: Path) -> None:
    commands = commands_of("docs/plan.md")
    assert len(commands) == 4
    outs = [look(*arguments, cwd=folder).out for arguments in commands]
    assert "random_forest on wine: 4 candidates × 3 folds = 12 fits" in outs[0]
    assert json.loads(outs[1])["n_candidates"] == 4
    assert "mlp on iris: 2 candidates × 3 folds = 6 fits, of 20 epochs" in outs[3]
    assert not list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["data=digits"],
        ["data=mnist", f"data.path={MNIST}", "data.limit=4000"],
        ["data=wine", "model=random_forest"],
    ],
    ids=["digits", "mnist", "wine"],
)
def test_the_plan_comes_near_the_run(overrides: list[str], folder: Path) -> None:
    if "data=mnist" in overrides and not MNIST.exists():
        pytest.skip(f"{MNIST} is not here")
    told = json.loads(run_command("plan", *overrides, "--format=json", cwd=folder).out)["expected"]
    timing = run_command(*overrides, cwd=folder, timeout_s=900).result["timing"]
    # Within 1.5 on a quiet machine; the suite's may be busy.
    assert 0.5 < told["search_s"] / timing["search_s"] < 2
    assert 0.5 < told["total_s"] / timing["total_s"] < 2
