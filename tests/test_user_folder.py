"""A folder of the user's own, elsewhere, swaps in data and models without touching the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from command import CONSOLE_SCRIPT, CompletedRun, run_command

MY_MODELS = '''\
"""Models and data of a user who knows Keras and has never seen the runner's code."""

import keras
import numpy as np


def resnet_mini(meta, units: int = 8, blocks: int = 1, activation="relu"):
    """A dense network with skip connections, not compiled."""
    inputs = keras.Input(meta["X_shape_"][1:])
    x = keras.layers.Dense(units)(inputs)
    for _ in range(blocks):
        x = keras.layers.add([x, keras.layers.Dense(units, activation=activation)(x)])
    outputs = keras.layers.Dense(meta["n_classes_"], activation="softmax")(x)
    return keras.Model(inputs, outputs)


def compiled(units=8, learning_rate=0.05):
    """A compiled network that takes no meta."""
    layers = [keras.layers.Dense(units, activation="relu"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(keras.optimizers.Adam(learning_rate), loss="sparse_categorical_crossentropy")
    return model


def no_network(meta):
    return "not a model"
'''
MY_DATA = """\
import numpy as np


def wells(n: int, noise: float = 0.5, seed: int = 0):
    random = np.random.default_rng(seed)
    y = np.resize([0, 1, 2], n)
    X = random.normal(scale=noise, size=(n, 4)) + y[:, None]
    return X, np.array(["dry", "oil", "gas"])[y]
"""
CONF = {
    "data/wells.yaml": "_target_: my_data.wells\nn: 90\n",
    "model/resnet_mini.yaml": "_target_: my_models.resnet_mini\nunits: 8\n",
    "model/compiled.yaml": "_target_: my_models.compiled\n",
    "model/no_network.yaml": "_target_: my_models.no_network\n",
    "data/mistyped.yaml": "_target_: my_data.welz\n",
    "model/naive_bayes.yaml": "_target_: sklearn.naive_bayes.GaussianNB\n",
    "space/resnet_mini.yaml": "model:\n  units: [4, 8]\n  blocks: [1, 2]\n",
}
ALLOW = {"RUNNER_ALLOW": "my_models.* my_data.*"}
PYPROJECT = '[tool.runner]\nallow = ["my_models.*", "my_data.*"]\n'
QUICK = ["training.epochs=2", "cv.n_splits=2", "compute.n_jobs=1", "plots=false"]

Runner = Callable[..., CompletedRun]


@pytest.fixture
def user_folder(folder: Path) -> Path:
    (folder / "my_models.py").write_text(MY_MODELS)
    (folder / "my_data.py").write_text(MY_DATA)
    for name, text in CONF.items():
        path = folder / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def runner(user_folder: Path) -> Runner:
    """The console script, run in the user's folder."""

    def _run(*args: str, env: dict[str, str] | None = None) -> CompletedRun:
        return run_command(*args, cwd=user_folder, env=env, program=[str(CONSOLE_SCRIPT)])

    return _run


def _assert_refused(done: CompletedRun, *says: str) -> None:
    assert done.code == 2, done.err
    assert len(done.err.splitlines()) == 1, done.err
    for text in says:
        assert text in done.err
    assert not (done.cwd / "outputs").exists()


def test_own_data_and_model_with_the_environment_allowing_them(runner: Runner) -> None:
    done = runner("data=wells", "model=resnet_mini", "search.n_iter=2", *QUICK, env=ALLOW)
    assert done.code == 0, done.err
    result = done.result
    assert result["status"] == "completed"
    assert result["name"] == {"data": "wells", "model": "resnet_mini", "search": "random"}
    assert result["data"]["n_train"] + result["data"]["n_test"] == 90
    assert result["data"]["n_classes"] == 3
    # The folder's own default space, found by the model's name.
    trials = pd.read_csv(done.directory / "trials.csv")
    assert {"model.units", "model.blocks"} <= set(trials.columns)
    assert len(trials) == 2


@pytest.mark.slow
def test_own_folder_allows_in_its_pyproject(runner: Runner, user_folder: Path) -> None:
    (user_folder / "pyproject.toml").write_text(PYPROJECT)
    # `blocks` and `noise` stand in no YAML file; they are the functions' own keyword arguments.
    overrides = ["model.blocks=2", "data.noise=0.1", "data.n=60"]
    done = runner("data=wells", "model=resnet_mini", "search=none", *overrides, *QUICK)
    assert done.code == 0, done.err
    assert done.result["data"]["n_train"] + done.result["data"]["n_test"] == 60
    assert done.result["status"] == "completed"


def test_keyword_that_no_yaml_lists_needs_no_plus(runner: Runner) -> None:
    done = runner("data=wells", "data.noise=0.1", "training.epochs=0", env=ALLOW)
    _assert_refused(done, "training.epochs:")  # and so not data.noise


def test_own_modules_are_refused_unless_allowed(runner: Runner) -> None:
    for args, path, module in [
        (["data=wells"], "data._target_", "my_data"),
        (["data=iris", "model=resnet_mini"], "model._target_", "my_models"),
    ]:
        done = runner(*args)
        _assert_refused(
            done,
            f"{path}:",
            f'RUNNER_ALLOW="{module}.*"',
            f'[tool.runner] allow = ["{module}.*"]',
            "pyproject.toml",
        )
        assert done.imported == ()


def test_a_config_cannot_allow_anything(runner: Runner) -> None:
    for key in ("hydra.job.env_set.RUNNER_ALLOW", "tool.runner.allow"):
        done = runner("data=iris", "model=resnet_mini", f"++{key}=my_models.*")
        assert done.code == 2, done.err
        assert not (done.cwd / "outputs").exists()
        assert done.imported == ()


def test_allowing_one_name_allows_no_other(runner: Runner) -> None:
    done = runner("data=wells", env={"RUNNER_ALLOW": "my_models.*"})
    _assert_refused(done, "data._target_:", "'my_data.wells'")
    done = runner("data=wells", env={"RUNNER_ALLOW": "my_dat"})
    _assert_refused(done, "data._target_:", "'my_data.wells'")


def test_broken_pyproject_is_named(runner: Runner, user_folder: Path) -> None:
    (user_folder / "pyproject.toml").write_text("[tool.runner\n")
    _assert_refused(runner("data=wells"), "pyproject.toml", "TOML")
    (user_folder / "pyproject.toml").write_text('[tool.runner]\nallow = "my_data.*"\n')
    _assert_refused(runner("data=wells"), "pyproject.toml", "allow", "list")


def test_mistakes_with_own_parts(runner: Runner) -> None:
    _assert_refused(runner("data=wels", env=ALLOW), "data:", "did you mean 'wells'")
    _assert_refused(runner("data=wells", "data.nn=3", env=ALLOW), "data.nn:", "'n'")
    _assert_refused(runner("data=wells", "data.n=many", env=ALLOW), "data.n:", "'many'")
    done = runner("data=mistyped", env=ALLOW)
    _assert_refused(done, "data._target_:", "did you mean 'wells'")


@pytest.mark.slow
def test_mistake_in_the_arguments_of_an_own_model(runner: Runner) -> None:
    # Importing the user's module imports Keras; even so there is one line, without TensorFlow's.
    done = runner("data=iris", "model=resnet_mini", "model.units=big", env=ALLOW)
    _assert_refused(done, "model.units:", "'big'")


def test_model_without_a_space_says_how_to_add_one(runner: Runner) -> None:
    done = runner("data=iris", "model=compiled", env=ALLOW)
    _assert_refused(done, "space:", "nothing to search", "space.model.units=", "search=none")


@pytest.mark.slow
def test_model_that_comes_compiled_is_taken_as_it_is(runner: Runner) -> None:
    searched = ["space.model.units=[4]", "search=grid", "training.epochs=15"]
    done = runner("data=iris", "model=compiled", *QUICK, *searched, env=ALLOW)
    assert done.code == 0, done.err
    # Learning rate 0.05 is the factory's own; the runner's default would learn little in this time.
    assert done.result["baseline"]["cv_mean"] > 0.8
    assert len(pd.read_csv(done.directory / "trials.csv")) == 1


@pytest.mark.slow
def test_factory_that_returns_no_model_fails_the_run(runner: Runner) -> None:
    done = runner("data=iris", "model=no_network", "search=none", *QUICK, env=ALLOW)
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    assert "no_network returned str" in done.err.splitlines()[-1]
    assert done.result["status"] == "failed"


def test_scikit_learn_class_by_its_target_alone(runner: Runner) -> None:
    done = runner("data=iris", "model=naive_bayes", "space.model.var_smoothing=[1e-9,1e-3]", *QUICK)
    assert done.code == 0, done.err
    assert done.result["best"]["cv_mean"] > 0.85
    assert done.imported == ()
    assert len(pd.read_csv(done.directory / "trials.csv")) == 2


def test_own_option_comes_before_the_built_in_one_of_that_name(
    runner: Runner, user_folder: Path
) -> None:
    (user_folder / "conf/model/svm.yaml").write_text("_target_: sklearn.svm.NuSVC\nnu: 0.2\n")
    done = runner("data=iris", "model=svm", "--cfg", "job")
    assert done.code == 0, done.err
    assert "NuSVC" in done.out
    assert "test_size" in done.out  # the rest is the built-in config


@pytest.mark.slow
def test_own_config_counts_only_when_named(runner: Runner, user_folder: Path) -> None:
    own = "defaults: [runner, _self_]\nseed: 77\nscoring: f1_macro\n"
    (user_folder / "conf/config.yaml").write_text(own)
    assert "seed: 0" in runner("--cfg", "job").out.splitlines()
    named = runner("--config-name", "config", "--cfg", "job").out.splitlines()
    assert "seed: 77" in named
    assert "scoring: f1_macro" in named


def test_own_config_runs_when_named(runner: Runner, user_folder: Path) -> None:
    own = "defaults: [runner, {override /data: iris}, {override /model: naive_bayes}, _self_]\n"
    (user_folder / "conf/config.yaml").write_text(f"{own}cv: {{n_splits: 4}}\n")
    done = runner("--config-name=config", "search=none", "compute.n_jobs=1")
    assert done.code == 0, done.err
    assert done.result["name"]["model"] == "naive_bayes"
    assert len(done.result["best"]["cv_scores"]) == 4


def test_outputs_land_in_the_users_folder(runner: Runner, user_folder: Path) -> None:
    done = runner("data=iris", "model=naive_bayes", "search=none", "cv.n_splits=2")
    assert done.code == 0, done.err
    assert done.directory.is_relative_to(user_folder / "outputs" / "runs")
    expected = {".hydra", "config.yaml", "run.log", "result.json", "trials.csv", "best.overrides"}
    assert expected | {"model", "report.html", "plots"} <= {
        path.name for path in done.directory.iterdir()
    }


@pytest.mark.slow
def test_warning_about_columns_left_out_is_shown_and_logged(
    runner: Runner, user_folder: Path
) -> None:
    dates = pd.date_range("2024-01-01", periods=60).astype(str)
    wells = pd.DataFrame({"day": dates, "depth": range(60), "good": ["y", "n"] * 30})
    wells.to_csv(user_folder / "wells.csv", index=False)
    table = ["data=table", "data.path=wells.csv", "data.target=good"]
    done = runner(*table, "model=naive_bayes", "search=none", *QUICK)
    assert done.code == 0, done.err
    assert sum("day" in line for line in done.err.splitlines()) == 1
    assert "day (dates or times)" in (done.directory / "run.log").read_text()


@pytest.mark.slow
def test_values_from_the_environment_are_masked_in_the_config(
    runner: Runner, user_folder: Path
) -> None:
    named = "data.name=${oc.env:WELLS_SECRET}"
    done = runner("data=iris", "model=svm", "search=none", named, env={"WELLS_SECRET": "hunter2"})
    assert done.code == 0, done.err
    config = (done.directory / "config.yaml").read_text()
    assert "hunter2" not in config
    assert "***" in config
