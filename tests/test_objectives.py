"""Sweeps judged by several objectives, or by another than the score."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import optuna
import pytest
from command import run_command, summary, sweep_of

STUDY = (
    *("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4"),
    *("data=iris", "compute.n_jobs=1", "plots=false"),
)
BROKEN = """
from sklearn.linear_model import LogisticRegression

class Broken(LogisticRegression):
    def __init__(self, C=1.0):
        super().__init__(C=C)

    def fit(self, X, y):
        raise ValueError("broken")
"""
BOTH = "sweep.objectives=[accuracy,fit_s]"
SPACE = ("model=random_forest", "space=none", "space.model.n_estimators={low:1,high:60}")


def study_of(folder: Path) -> optuna.Study:
    storage = f"sqlite:///{sweep_of(folder) / 'study.db'}"
    return optuna.load_study(study_name="sweep", storage=storage)


@pytest.mark.slow
def test_score_and_time_give_a_pareto_front(tmp_path: Path) -> None:
    done = run_command(*STUDY, *SPACE, BOTH, cwd=tmp_path)
    assert done.code == 0, done.err
    study, record = study_of(tmp_path), summary(tmp_path)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    results = [
        json.loads((sweep_of(tmp_path) / str(i) / "result.json").read_text()) for i in range(4)
    ]
    for trial, result in zip(study.trials, results, strict=True):
        assert trial.values == [result["best"]["cv"]["accuracy"], result["timing"]["fit_s"]]
        assert 0 < result["timing"]["fit_s"] < result["timing"]["search_s"]
    assert record["objectives"] == [
        {"name": "accuracy", "direction": "maximize"},
        {"name": "fit_s", "direction": "minimize"},
    ]
    front = {trial.number for trial in study.best_trials}
    assert {job["number"] for job in record["pareto"]} == front
    with (sweep_of(tmp_path) / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {int(row["path"]) for row in rows if row["pareto"] == "true"} == front
    assert (
        f"Pareto front of accuracy (maximize), fit_s (minimize): {len(front)} of 4 jobs" in done.out
    )


def test_a_study_in_which_every_job_fails_ends_in_lines(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "broken.yaml").write_text("_target_: broken.Broken\nC: 1.0\n")
    request = ("model=broken", "space=none", "space.model.C={low:0.1,high:1.0}")
    done = run_command(*STUDY, *request, cwd=tmp_path, env={"RUNNER_ALLOW": "broken.*"})
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "every job failed, so there is no best one" in done.err
    assert done.err.splitlines()[-1].startswith("job 3 failed: ")
    assert [job["status"] for job in summary(tmp_path)["jobs"]] == ["failed"] * 4


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ("sweep.objectives=[accuracy,fit_time]",),
            "'fit_time' is neither in scoring (accuracy) nor fit_s",
        ),
        (("sweep.objectives=[accuracy,accuracy]",), "names one twice"),
        ((BOTH, "hydra.sweeper.direction=[maximize]"), "has 1 directions, but sweep.objectives 2"),
        ((BOTH, "hydra.sweeper.direction=[max,min]"), "must be of maximize, minimize, got 'max'"),
        ((BOTH, "hydra/sweeper/sampler=cmaes"), "cmaes takes one objective"),
    ],
)
def test_mistakes_in_objectives_get_one_line(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    done = run_command(*STUDY, *SPACE, *arguments, "sweep.on_error=stop", cwd=tmp_path)
    assert done.code == 2, done.err
    assert len(done.err.splitlines()) == 1
    assert problem in done.err


@pytest.mark.slow
def test_a_single_objective_has_the_direction_of_its_kind(tmp_path: Path) -> None:
    for name, direction in (("f1_macro", "MAXIMIZE"), ("fit_s", "MINIMIZE")):
        (tmp_path / name).mkdir()
        scoring = ("scoring=[accuracy,f1_macro]", f"sweep.objectives=[{name}]")
        done = run_command(*STUDY, *SPACE, *scoring, cwd=tmp_path / name)
        assert done.code == 0, done.err
        assert study_of(tmp_path / name).direction.name == direction


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "nsgaii", "grid"])
def test_samplers_take_several_objectives(sampler: str, tmp_path: Path) -> None:
    space = ("model=random_forest", "space=none", "space.model.n_estimators=[1,10,40]")
    done = run_command(*STUDY, *space, BOTH, f"hydra/sweeper/sampler={sampler}", cwd=tmp_path)
    assert done.code == 0, done.err
    assert summary(tmp_path)["pareto"]


@pytest.mark.slow
def test_any_sweep_can_be_judged_by_several_objectives(tmp_path: Path) -> None:
    request = ("-m", "data=iris", "model=random_forest,logistic_regression,svm", "search=none")
    scoring = ("scoring=[accuracy,neg_log_loss]", "sweep.objectives=[accuracy,fit_s]")
    done = run_command(*request, *scoring, "model=random_forest,logistic_regression", cwd=tmp_path)
    assert done.code == 0, done.err
    assert summary(tmp_path)["pareto"]


@pytest.mark.slow
def test_on_error_stop_ends_a_study_after_its_first_failure(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n\n"
        "class Broken(LogisticRegression):\n"
        "    def fit(self, X, y):\n"
        "        raise ValueError('broken')\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "broken.yaml").write_text("_target_: broken.Broken\n")
    space = ("model=broken", "space=none", "space.model.C={low:0.1,high:1.0}")
    done = run_command(
        *STUDY, *space, "sweep.on_error=stop", cwd=tmp_path, env={"RUNNER_ALLOW": "broken.*"}
    )
    assert done.code == 1
    assert "Traceback" not in done.err
    assert [job["number"] for job in summary(tmp_path)["jobs"]] == [0]
