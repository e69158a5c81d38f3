"""Every option of every config group runs, small, and leaves a complete, plausible record."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import MNIST, ROOT, Once, run_command

from runner.config.compose import compose_config, parse_config
from runner.config.overrides import protect_space
from runner.experiment import run_experiment
from runner.preparation import prepare
from runner.results.run_directory import RunDirectory
from runner.results.schema import Result
from runner.results.trials import read_trials

TINY = {
    "mlp": ["model.hidden_layer_one=16", "model.hidden_layer_two=8"],
    "deep_mlp": ["model.hidden_units=[8,8]"],
    "cnn": ["model.filters=[4]", "model.dense_units=8"],
    "logistic_regression": ["model.max_iter=20"],
    "random_forest": ["model.n_estimators=5"],
    "hist_gradient_boosting": ["model.max_iter=5"],
    "svm": [],
}
NETWORKS = {"mlp", "deep_mlp", "cnn"}
IMAGES = {"digits", "mnist", "fashion_mnist", "cifar10"}
REGRESSION = {"diabetes", "california_housing"}
DATA = [
    *("digits", "mnist", "fashion_mnist", "cifar10", "breast_cancer", "wine", "iris", "diabetes"),
    *("california_housing", "table", "npz"),
]
# Options that need the network, whatever is given to them.
ONLINE = {"openml"}
QUICK = ["compute.n_jobs=1", "training.epochs=1", "cv=holdout", "search=none"]


@dataclass(frozen=True)
class Done:
    """A finished experiment and its files."""

    result: Result
    directory: RunDirectory

    @property
    def trials(self) -> pd.DataFrame:
        return read_trials(self.directory.trials)


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the experiment that a command line describes, in this process."""

    def _run(*overrides: str, into: str = "run") -> Done:
        config = parse_config(compose_config(protect_space(["plots=false", *overrides])))
        directory = RunDirectory(tmp_path / into)
        directory.path.mkdir()
        return Done(run_experiment(prepare(config), directory), directory)

    return _run


@pytest.fixture(scope="session")
def files(once: Once) -> Path:
    return once("data-files", _write_files)


def _write_files(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name, shape in (("fashion_mnist", (28, 28)), ("cifar10", (32, 32, 3))):
        y = np.resize(np.arange(10, dtype=np.uint8), 120)
        X = random.integers(0, 100, (len(y), *shape)) + 15 * y.reshape(-1, *[1] * len(shape))
        X = X.astype(np.uint8)
        y = y.reshape(-1, 1) if name == "cifar10" else y  # as Keras ships them
        np.savez(folder / name, x_train=X[:90], y_train=y[:90], x_test=X[90:], y_test=y[90:])
    y = np.resize([0, 1, 2], 90)
    np.savez(folder / "npz", X=random.normal(size=(90, 5)) + y[:, None], y=y)
    houses = pd.DataFrame(random.random((90, 8)), columns=[f"feature_{i}" for i in range(8)])
    houses["MedHouseVal"] = houses.feature_0 * 3 + houses.feature_1 + random.random(90) / 10
    houses.to_csv(folder / "california_housing.csv", index=False)
    _wells(random).to_csv(folder / "table.csv", index=False)


def _wells(random: np.random.Generator) -> pd.DataFrame:
    good = np.resize([True, False], 120)
    wells = pd.DataFrame(
        {
            "depth": np.where(good, 20, 40) + random.normal(size=120) * 5,
            "rock": np.where(random.random(120) < 0.3, "clay", np.where(good, "sand", "lime")),
            "cased": np.resize([True, True, False], 120),
            "well": np.resize(list("abcdefgh"), 120),
            "drilled": pd.date_range("2024-01-01", periods=120).strftime("%Y-%m-%d"),
            "year": np.arange(120),
            "good": np.where(good, "yes", "no"),
        }
    )
    wells.loc[::7, "depth"] = np.nan
    wells.loc[::9, "rock"] = None
    return wells


@pytest.fixture
def source(files: Path) -> Callable[[str], list[str]]:
    """The overrides that choose a data option and give it what it needs offline."""

    def _source(name: str) -> list[str]:
        if name == "mnist":
            if not MNIST.exists():
                pytest.skip(f"{MNIST} is not here")
            return ["data=mnist", f"data.path={MNIST}", "data.limit=60"]
        if name == "table":
            return ["data=table", f"data.path={files / 'table.csv'}", "data.target=good"]
        given = next(iter(files.glob(f"{name}.*")), None)
        return [f"data={name}", "data.limit=60", *([f"data.path={given}"] if given else [])]

    return _source


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


def fits(data: str, model: str) -> bool:
    """Whether the model takes such data; test_mistakes.py has the pairs that are refused."""
    if model == "cnn":
        return data in IMAGES
    return not (model == "logistic_regression" and data in REGRESSION)


def assert_complete(done: Done, n_candidates: int, n_splits: int) -> None:
    """The record is whole, its numbers are finite, and they agree with each other."""
    result, directory = done.result, done.directory
    assert result.status == "completed"
    assert directory.read_result() == result
    assert result.best is not None
    assert result.data is not None
    assert len(result.best.cv_scores) == n_splits
    assert math.isfinite(result.best.cv_mean)
    assert result.best.cv_mean == pytest.approx(np.mean(result.best.cv_scores))
    assert set(result.best.test) >= {result.scoring}
    assert all(math.isfinite(value) for value in result.best.test.values())
    assert result.best.test_ci95 is not None
    low, high = result.best.test_ci95
    assert low <= result.best.test[result.scoring or ""] <= high
    assert result.trials is not None
    assert result.trials.n_candidates == n_candidates
    assert result.trials.n_failed == 0
    trials = done.trials
    assert len(trials) == n_candidates
    assert sum(name.startswith("split") for name in trials.columns) == n_splits
    assert np.isfinite(trials["mean_test_score"]).all()
    assert directory.report.stat().st_size > 1000
    assert (directory.model / "estimator.json").exists()


def test_no_option_is_forgotten_here() -> None:
    assert set(options("data")) == {*DATA, *ONLINE}
    assert set(options("model")) == set(TINY)


# Data and models ----------------------------------------------------------------------------------


def _pairs() -> list[Any]:
    """Every pair; only those that bring an option its first turn are not slow."""
    turns: Counter[str] = Counter()
    pairs = []
    for data in DATA:
        models = [model for model in TINY if fits(data, model)]
        for model in sorted(models, key=lambda model: turns[model]):
            is_new = not (turns[data] and turns[model])
            turns.update([data, model])
            marks = () if is_new else (pytest.mark.slow,)
            pairs.append(pytest.param(data, model, marks=marks))
    return pairs


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("data", "model"), _pairs())
def test_data_with_model(
    data: str, model: str, run: Run, source: Callable[[str], list[str]]
) -> None:
    done = run(*source(data), f"model={model}", *TINY[model], *QUICK)
    assert_complete(done, n_candidates=1, n_splits=1)
    assert done.result.name == {"data": data, "model": model, "search": "none"}
    assert done.result.task == ("regression" if data in REGRESSION else "classification")
    assert (done.directory.model / "network.keras").exists() == (model in NETWORKS)


@pytest.mark.parametrize("model", TINY)
def test_model_is_searched_over_its_default_space(model: str, run: Run) -> None:
    done = run(
        *("data=digits", "data.limit=60", f"model={model}", "cv=holdout", "training.epochs=1"),
        *("search.n_iter=1", "compute.n_jobs=1"),
    )
    assert_complete(done, n_candidates=1, n_splits=1)
    assert done.result.baseline is not None
    assert done.result.comparison is not None
    assert done.result.best is not None
    assert done.result.best.cv_mean >= done.result.baseline.cv_mean


@pytest.mark.parametrize("space", ["mlp_wide", "article"])
def test_space_of_another_name(space: str, run: Run) -> None:
    done = run(
        *("data=iris", f"space={space}", "cv=holdout", "search.n_iter=2", "compute.n_jobs=1"),
        "training.epochs=1",
    )
    assert_complete(done, n_candidates=2, n_splits=1)
    # Epochs are set on the command line, so they are not searched.
    assert "training.epochs" not in done.trials.columns


def test_models_learn_what_can_be_learnt(run: Run) -> None:
    done = run("data=digits", "training.epochs=5", "cv=holdout", "search=none")
    assert done.result.best is not None
    assert done.result.best.cv_mean > 0.85
    assert done.result.best.test["accuracy"] > 0.85


# Searches -----------------------------------------------------------------------------------------

FOREST = ["data=iris", "model=random_forest", "cv=holdout", "compute.n_jobs=1", "space=none"]
FOREST_SPACE = ["space.model.n_estimators=[3,5,7]", "space.model.max_depth={low:1,high:4}"]


@pytest.mark.parametrize(
    ("search", "n_candidates"), [("none", 1), ("grid", 12), ("random", 3), ("optuna", 3)]
)
def test_search(search: str, n_candidates: int, run: Run) -> None:
    done = run(*FOREST, *FOREST_SPACE, f"search={search}", "search.n_iter=3")
    assert_complete(done, n_candidates, n_splits=1)
    assert done.result.name["search"] == search
    assert (done.result.comparison is None) == (search == "none")
    if search == "grid":
        assert not done.trials[["model.n_estimators", "model.max_depth"]].duplicated().any()


def test_searches_are_all_tested() -> None:
    assert options("search") == ["grid", "halving", "none", "optuna", "random"]


@pytest.mark.parametrize("sampler", options("search/sampler"))
def test_optuna_sampler(sampler: str, run: Run) -> None:
    space = ["space.model.max_depth={low:1,high:9}", "space.model.max_features={low:0.1,high:1.0}"]
    done = run(
        *(*FOREST, "model.n_estimators=3", *space),
        *("search=optuna", f"search/sampler={sampler}", "search.n_iter=5"),
    )
    assert_complete(done, n_candidates=5, n_splits=1)
    assert len(set(done.trials["model.max_features"])) > 1


def test_halving_over_epochs_gives_the_last_rung_all_epochs(run: Run) -> None:
    done = run(
        *("data=iris", "search=halving", "search.n_iter=4", "training.epochs=4", "cv=holdout"),
        *("search.factor=2", "compute.n_jobs=1", "space=none"),
        "space.optimizer.learning_rate={low:1e-3,high:1e-1,log:true}",
        *TINY["mlp"],
    )
    assert_complete(done, n_candidates=4, n_splits=1)
    trials = done.trials
    assert sorted(trials["training.epochs"]) == [1, 1, 2, 4]
    assert trials.sort_values("rank")["status"].iloc[0] == "completed"
    assert (trials["status"] == "stopped").sum() == 3


def test_halving_over_trees(run: Run) -> None:
    done = run(
        *(*FOREST, "space.model.max_depth=[1,2,3,4]", "search=halving", "search.n_iter=4"),
        *("search.resource=model.n_estimators", "model.n_estimators=9", "search.factor=3"),
    )
    assert_complete(done, n_candidates=4, n_splits=1)
    assert done.trials["model.n_estimators"].max() == 9


def test_any_other_search_by_its_target(run: Run) -> None:
    done = run(
        *(*FOREST, "space.model.max_depth=[1,2,3,4]", "model.n_estimators=9"),
        "search._target_=sklearn.model_selection.HalvingRandomSearchCV",
        *("+search.resource=model.n_estimators", "+search.min_resources=3", "search.n_iter=4"),
        *("+search.max_resources=9", "cv=stratified"),
    )
    assert done.result.status == "completed"
    assert len(done.trials) == 4


def test_conditional_parameter_appears_only_with_its_condition(run: Run) -> None:
    done = run(
        *("data=iris", "space=none", "space.optimizer.name=[adam,sgd]", "search=grid"),
        "space.optimizer.momentum={values:[0.5,0.9],when:{optimizer.name:sgd}}",
        *("training.epochs=1", "cv=holdout", "compute.n_jobs=1", *TINY["mlp"]),
    )
    assert_complete(done, n_candidates=3, n_splits=1)
    trials = done.trials
    with_momentum = trials["optimizer.momentum"].notna()
    assert list(trials.loc[with_momentum, "optimizer.name"]) == ["sgd", "sgd"]
    assert list(trials.loc[~with_momentum, "optimizer.name"]) == ["adam"]


def test_optuna_draws_a_conditional_parameter_only_with_its_condition(run: Run) -> None:
    done = run(
        *("data=iris", "model=svm", "space=none", "space.model.kernel=[rbf,poly]", "cv=holdout"),
        "space.model.degree={low:2,high:4,when:{model.kernel:poly}}",
        *("search=optuna", "search.n_iter=8", "compute.n_jobs=1"),
    )
    assert_complete(done, n_candidates=8, n_splits=1)
    trials = done.trials
    assert set(trials["model.kernel"]) == {"rbf", "poly"}
    assert (trials["model.degree"].notna() == (trials["model.kernel"] == "poly")).all()


def test_spaces_in_hydras_own_notation(run: Run) -> None:
    done = run(
        *(*FOREST, "model.n_estimators=3", "search.n_iter=4"),
        'space.model.max_features="tag(log, interval(0.1, 1.0))"',
        'space.model.max_depth="range(1,4)"',
        'space.model.criterion="gini,entropy"',
    )
    assert_complete(done, n_candidates=4, n_splits=1)
    assert done.trials["model.max_features"].between(0.1, 1.0).all()
    assert set(done.trials["model.max_depth"]) <= {1, 2, 3}
    assert set(done.trials["model.criterion"]) <= {"gini", "entropy"}


def test_null_takes_a_parameter_out_of_the_space(run: Run) -> None:
    done = run(
        *("data=iris", "space.model.dropout=null", "search.n_iter=1", "training.epochs=1"),
        *("cv=holdout", "compute.n_jobs=1"),
    )
    assert "model.dropout" not in done.trials.columns
    assert "model.hidden_layer_one" in done.trials.columns


# Cross-validation ---------------------------------------------------------------------------------

CV = {
    "stratified": ([], 3),
    "kfold": ([], 3),
    "repeated": ([], 9),
    "shuffle": ([], 5),
    "holdout": ([], 1),
    "group": (["data.group=well"], 3),
    "timeseries": (["data.time=drilled"], 3),
}


@pytest.mark.parametrize("cv", options("cv"))
def test_cv(cv: str, run: Run, source: Callable[[str], list[str]]) -> None:
    needed, n_splits = CV[cv]
    done = run(
        *(*source("table"), *needed, "model=logistic_regression", "search=none", f"cv={cv}"),
        "compute.n_jobs=1",
    )
    assert_complete(done, n_candidates=1, n_splits=n_splits)


@pytest.mark.parametrize(
    "cv",
    [
        *("stratified", "holdout"),
        *(pytest.param(cv, marks=pytest.mark.slow) for cv in ("kfold", "repeated", "shuffle")),
    ],
)
def test_cv_of_regression(cv: str, run: Run) -> None:
    done = run(
        *("data=diabetes", "data.limit=60", "model=svm", "search=none", f"cv={cv}"),
        "compute.n_jobs=1",
    )
    assert_complete(done, n_candidates=1, n_splits=CV[cv][1])


def test_order_in_time_may_be_a_number(run: Run, source: Callable[[str], list[str]]) -> None:
    done = run(
        *(*source("table"), "data.time=year", "cv=timeseries", "model=svm", "search=none"),
        "compute.n_jobs=1",
    )
    assert_complete(done, n_candidates=1, n_splits=3)


# Optimizers, training, preprocessing --------------------------------------------------------------


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_optimizer(optimizer: str, run: Run) -> None:
    done = run("data=iris", f"optimizer={optimizer}", *QUICK, *TINY["mlp"])
    assert_complete(done, n_candidates=1, n_splits=1)


@pytest.mark.parametrize(
    "training",
    [
        "training.schedule=cosine",
        "training.schedule=plateau",
        "training.class_weight=balanced",
        "training.fast=false",
        "training.early_stopping.patience=1",
        "training.callbacks=[{_target_: keras.callbacks.EarlyStopping, monitor: loss}]",
    ],
)
def test_training(training: str, run: Run) -> None:
    done = run("data=iris", *QUICK, training, *TINY["mlp"])
    assert_complete(done, n_candidates=1, n_splits=1)


def test_early_stopping_option_trains_no_longer_than_it_helps(run: Run) -> None:
    done = run(
        *("data=iris", "training=early_stopping", "optimizer.learning_rate=0.05", "cv=holdout"),
        *("search=none", "compute.n_jobs=1", *TINY["mlp"]),
    )
    assert_complete(done, n_candidates=1, n_splits=1)
    assert options("training") == ["default", "early_stopping"]


@pytest.mark.parametrize("data", ["wine", pytest.param("digits", marks=pytest.mark.slow)])
@pytest.mark.parametrize("preprocess", options("preprocess"))
def test_preprocess(preprocess: str, data: str, run: Run) -> None:
    limit = ["data.limit=60"]
    done = run(f"data={data}", *limit, f"preprocess={preprocess}", *QUICK, *TINY["mlp"])
    assert_complete(done, n_candidates=1, n_splits=1)


@pytest.mark.parametrize("preprocess", ["auto", "standard", "minmax"])
def test_preprocess_fills_missing_values(
    preprocess: str, run: Run, source: Callable[[str], list[str]]
) -> None:
    done = run(*source("table"), f"preprocess={preprocess}", "model=svm", *QUICK)
    assert_complete(done, n_candidates=1, n_splits=1)


def test_missing_values_stay_for_a_model_that_takes_them(
    run: Run, source: Callable[[str], list[str]]
) -> None:
    model = ["model=hist_gradient_boosting", *TINY["hist_gradient_boosting"]]
    done = run(*source("table"), "preprocess=none", *model, *QUICK)
    assert_complete(done, n_candidates=1, n_splits=1)


# Scoring, experiments -----------------------------------------------------------------------------


def test_several_scorers_with_one_that_decides(run: Run) -> None:
    done = run(
        *("data=iris", "model=logistic_regression", "search.n_iter=2", "compute.n_jobs=1"),
        *("scoring=[accuracy,neg_log_loss]", "refit=neg_log_loss", "cv=holdout"),
    )
    assert_complete(done, n_candidates=2, n_splits=1)
    assert done.result.scoring == "neg_log_loss"
    assert done.result.best is not None
    assert set(done.result.best.test) == {"accuracy", "neg_log_loss"}
    trials = done.trials
    assert list(trials["mean_test_score"]) == list(trials["mean_test_neg_log_loss"])
    assert (trials["mean_test_score"] < 0).all()


@pytest.mark.parametrize(
    ("data", "model", "scoring"),
    [
        ("diabetes", "mlp", "neg_mean_absolute_error"),
        ("iris", "logistic_regression", "roc_auc_ovr"),
        ("wine", "svm", "f1_macro"),
    ],
)
def test_scorer(data: str, model: str, scoring: str, run: Run) -> None:
    chosen = (f"data={data}", f"model={model}", f"scoring={scoring}")
    done = run(*chosen, *QUICK, *TINY[model])
    assert_complete(done, n_candidates=1, n_splits=1)
    assert done.result.scoring == scoring


EXPERIMENTS = {
    "article": [
        *("data.limit=60", "search.n_iter=2", "training.epochs=1", "training.batch_size=32"),
        *(f"data.path={MNIST}", "space.training.batch_size=[32]"),
    ],
    "quick_start": ["data.limit=60", "search.n_iter=2", "training.epochs=1"],
    "trees_on_a_table": ["data.limit=60", "search.n_iter=2", "model.max_iter=5"],
}


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "trees_on_a_table" else name
        for name in options("experiment")
    ],
)
def test_experiment(experiment: str, run: Run) -> None:
    if experiment == "article" and not MNIST.exists():
        pytest.skip(f"{MNIST} is not here")
    n_splits = 9 if experiment == "trees_on_a_table" else 3
    done = run(f"experiment={experiment}", *EXPERIMENTS[experiment], "compute.n_jobs=1")
    assert_complete(done, n_candidates=2, n_splits=n_splits)


# Scores that can be had again ---------------------------------------------------------------------

REPLAYED = {
    "mlp": [
        *("data=digits", "data.limit=100", "training.epochs=2", "search.n_iter=2", "space=none"),
        *("space.model.dropout={low:0.0,high:0.5}", "space.training.batch_size=[16,32]"),
        "space.optimizer.learning_rate={low:1e-4,high:1e-1,log:true}",
        *TINY["mlp"],
    ],
    "deep_mlp": [
        *("data=wine", "model=deep_mlp", "training.epochs=2", "search.n_iter=2", "space=none"),
        *("space.model.hidden_units=[[8],[8,4]]", "space.model.batch_norm=[true,false]"),
    ],
    "random_forest": [
        *("data=iris", "model=random_forest", "search=optuna", "search.n_iter=2", "space=none"),
        *("space.model.max_features={low:0.1,high:1.0}", "model.n_estimators=5"),
    ],
    "halving": [
        *("data=iris", "search=halving", "search.n_iter=3", "training.epochs=3", "space=none"),
        *("space.optimizer.learning_rate={low:1e-3,high:1e-1}", "training.schedule=cosine"),
        *TINY["mlp"],
    ],
}


@pytest.mark.parametrize(
    "case",
    [
        case if case in ("mlp", "random_forest") else pytest.param(case, marks=pytest.mark.slow)
        for case in REPLAYED
    ],
)
def test_best_overrides_give_the_same_scores_to_the_last_bit(case: str, run: Run) -> None:
    overrides = [*REPLAYED[case], "compute.n_jobs=1", "cv.n_splits=2"]
    first = run(*overrides)
    best = first.directory.best_overrides.read_text().split()
    again = run(*overrides, *best, "search=none", into="again")
    assert first.result.best is not None
    assert again.result.best is not None
    assert again.result.best.cv_scores == first.result.best.cv_scores
    assert again.result.best.test == first.result.best.test


@pytest.mark.slow
def test_best_overrides_replay_through_a_shell(folder: Path) -> None:
    overrides = ["data=iris", "model=random_forest", "space=none", "cv.n_splits=2"]
    overrides += TINY["random_forest"]
    space = ["space.model.max_features=[sqrt,0.3]", "space.model.max_depth=[null,2]"]
    done = run_command(*overrides, *space, "search=grid", "compute.n_jobs=1", cwd=folder)
    assert done.code == 0, done.err
    words = " ".join([sys.executable, "-m", "runner", *overrides])
    command = f"{words} $(cat {done.directory}/best.overrides) search=none hydra.run.dir=again"
    subprocess.run(command, shell=True, check=True, cwd=folder, capture_output=True)
    again = RunDirectory(folder / "again").read_result()
    assert again.best is not None
    assert again.best.cv_scores == done.result["best"]["cv_scores"]


@pytest.mark.parametrize(
    ("search", "numbers"),
    [
        ("random", (1, 2)),
        pytest.param("random", (1, 1, 2, 4), marks=pytest.mark.slow),
        pytest.param("grid", (1, 2, 4), marks=pytest.mark.slow),
        pytest.param("halving", (1, 2, 4), marks=pytest.mark.slow),
        pytest.param("optuna", (1, 2, 4), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_number_of_processes_does_not_change_a_score(
    search: str, numbers: tuple[int, ...], run: Run
) -> None:
    overrides = ["data=iris", "training.epochs=2", "cv.n_splits=2", "space=none", *TINY["mlp"]]
    overrides += [f"search={search}", f"search.n_iter={2 if len(numbers) == 2 else 6}"]
    values = "[0.0,0.2,0.5]" if search == "grid" else "{low:0.0,high:0.5}"
    overrides.append(f"space.model.dropout={values}")
    first, *others = (
        run(*overrides, f"compute.n_jobs={n}", into=f"{index}") for index, n in enumerate(numbers)
    )
    for other in others:
        assert _without_times(other) == _without_times(first)
        assert other.result.best == first.result.best
        assert other.result.baseline == first.result.baseline


def _without_times(done: Done) -> list[dict[str, str]]:
    """Rows of trials.csv as text."""
    with done.directory.trials.open(newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name != "mean_fit_time"}
            for row in csv.DictReader(file)
        ]
