"""A search on a cluster gives the same numbers as one here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cluster_processes import (
    FOREST,
    LEARNER,
    NETWORK,
    Processes,
    assert_quiet,
    cluster,
    finished,
    outcome,
    own,
    start_dask,
)
from command import run_command

pytest.importorskip("distributed")


def test_a_search_on_dask_gives_the_same_numbers(tmp_path: Path) -> None:
    here = finished(*LEARNER, "compute.n_jobs=1", cwd=tmp_path / "local")
    there = finished(*LEARNER, *own("dask"), cwd=tmp_path / "dask")
    assert outcome(here) == outcome(there)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["local", "dask", "ray"])
def test_networks_score_the_same_everywhere(
    backend: str, on_this_machine: Callable[[str], Path], tmp_path: Path
) -> None:
    run = finished(*NETWORK, *own(backend), cwd=tmp_path)
    assert outcome(run) == outcome(on_this_machine("network"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_networks_score_the_same_on_a_cluster_that_runs_already(
    backend: str, on_this_machine: Callable[[str], Path], processes: Processes, tmp_path: Path
) -> None:
    where = cluster(backend, processes)
    run = finished(*NETWORK, *where, cwd=tmp_path / "first")
    assert outcome(run) == outcome(on_this_machine("network"))
    # It is still there, for a run of another kind.
    again = finished(*FOREST, *where, cwd=tmp_path / "second")
    assert outcome(again) == outcome(on_this_machine("forest"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_one_worker_is_enough(backend: str, tmp_path: Path) -> None:
    here = finished(*LEARNER, "compute.n_jobs=1", cwd=tmp_path / "local")
    compute = (f"compute={backend}", "compute.n_jobs=1")
    there = finished(*LEARNER, *compute, cwd=tmp_path / "there")
    assert outcome(here) == outcome(there)


@pytest.mark.slow
@pytest.mark.parametrize("search", ["halving", "optuna", "grid"])
def test_every_search_works_on_a_cluster(search: str, tmp_path: Path) -> None:
    space = ("space=none", "space.model.C=[0.1,1.0,10.0]")
    request = ("data=iris", "model=logistic_regression", f"search={search}", *space)
    if search == "halving":
        request = (*NETWORK, "search=halving", "training.epochs=9")
    if search == "optuna":
        request = (*request, "search/pruner=median", "search.n_iter=4")
    here = finished(*request, "compute.n_jobs=1", cwd=tmp_path / "local")
    there = finished(*request, *own("dask"), cwd=tmp_path / "dask")
    assert outcome(here) == outcome(there)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_threads_of_a_fit_are_as_configured(backend: str, tmp_path: Path) -> None:
    (tmp_path / "asking.py").write_text(
        "import keras, tensorflow as tf\n"
        "def asking(meta):\n"
        "    n = tf.config.threading.get_intra_op_parallelism_threads()\n"
        "    open(f'threads-{n}', 'w').close()\n"
        "    return keras.Sequential([keras.Input(meta['X_shape_'][1:]),"
        " keras.layers.Dense(3, 'softmax')])\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "asking.yaml").write_text("_target_: asking.asking\n")
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nallow = ["asking.*"]\n')
    request = ("data=iris", "model=asking", "search=none", "training.epochs=1")
    finished(*request, f"compute={backend}", "compute.threads=2", "compute.n_jobs=1", cwd=tmp_path)
    assert {path.name for path in tmp_path.glob("threads-*")} == {"threads-2"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_sweep_on_a_cluster(launcher: str, processes: Processes, tmp_path: Path) -> None:
    request = ("-m", "data=iris", "model=logistic_regression,svm", "search.n_iter=2")
    found = []
    address = start_dask(processes)
    for name, where in (
        ("local", ("compute.n_jobs=1",)),
        ("dask", ("compute=dask", f"compute.address={address}", f"hydra/launcher={launcher}")),
    ):
        (tmp_path / name).mkdir()
        done = run_command(*request, *where, cwd=tmp_path / name)
        assert done.code == 0, done.err
        found.append([outcome(job) for job in jobs_of(tmp_path / name)])
    assert found[0] == found[1]
    assert len(found[0]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_jobs_of_a_sweep_share_a_cluster_of_its_own(backend: str, tmp_path: Path) -> None:
    request = ("-m", "data=iris", "model=logistic_regression,svm", "search.n_iter=2")
    done = run_command(*request, *own(backend), cwd=tmp_path)
    assert done.code == 0, done.err
    assert_quiet(done.err)
    assert len(jobs_of(tmp_path)) == 2


def jobs_of(folder: Path) -> Sequence[Path]:
    return sorted(path.parent for path in folder.glob("outputs/sweeps/*/*/*/result.json"))
