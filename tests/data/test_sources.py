"""Bundled data, .npz files, downloads, and the YAML options that name them."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import MNIST, ROOT
from hydra.utils import get_method
from omegaconf import OmegaConf

from runner.data import sources
from runner.data.dataset import DataOptions
from runner.data.load import load_dataset

OPTIONS = sorted((ROOT / "conf/data").glob("*.yaml"))


@pytest.mark.parametrize(
    ("name", "shape", "n", "task"),
    [
        ("digits", (8, 8), 1797, "classification"),
        ("breast_cancer", (30,), 569, "classification"),
        ("wine", (13,), 178, "classification"),
        ("iris", (4,), 150, "classification"),
        ("diabetes", (10,), 442, "regression"),
    ],
)
def test_bundled_data_loads(name, shape, n, task):
    data = load_dataset(getattr(sources, name), DataOptions(name=name))
    assert (data.shape, data.n_train + data.n_test, data.task) == (shape, n, task)


@pytest.mark.skipif(not MNIST.exists(), reason="the shared MNIST file is not here")
def test_mnist_keeps_its_shipped_split():
    data = load_dataset(lambda: sources.mnist(path=str(MNIST)), DataOptions("mnist", limit=1000))
    assert (data.n_train, data.n_test, data.shape) == (1000, 1000, (28, 28))
    assert data.X_train.dtype == np.uint8
    assert np.unique(data.y_train, return_counts=True)[1].min() > 80


@pytest.fixture
def keras_file(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    x = rng.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    y = np.arange(30).reshape(-1, 1) % 3
    np.savez_compressed(path, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    return path


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "npz"])
def test_files_in_keras_format_load(keras_file, name):
    data = load_dataset(
        lambda: getattr(sources, name)(path=str(keras_file)), DataOptions(name=name)
    )
    assert (data.n_train, data.n_test, data.shape) == (20, 10, (32, 32, 3))
    with np.load(keras_file) as file:
        assert np.array_equal(data.X_test, file["x_test"])


@pytest.mark.parametrize("keys", [("X", "y"), ("x", "y")])
def test_npz_takes_plain_arrays_in_any_memory_order(tmp_path, keys):
    X = np.asfortranarray(np.arange(40.0).reshape(20, 2))
    np.savez(tmp_path / "a.npz", **dict(zip(keys, (X, np.arange(20) % 2), strict=True)))
    read_X, read_y = sources.npz(tmp_path / "a.npz")
    assert np.array_equal(read_X, X)
    assert read_y.sum() == 10


def test_other_arrays_in_a_file_are_refused_with_their_names(tmp_path, refused):
    np.savez(tmp_path / "a.npz", features=np.zeros(3), y=np.zeros(3))
    problem = refused("data.path", sources.npz, tmp_path / "a.npz")
    assert "features, y" in problem
    assert "x_train, y_train, x_test, y_test" in problem
    np.savez(tmp_path / "b.npz", X=np.zeros(3), y=np.zeros(3))
    assert "x_train" in refused("data.path", sources.mnist, str(tmp_path / "b.npz"))


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_pickles_in_a_file_are_never_run(tmp_path, refused):
    trace = tmp_path / "trace"
    np.savez(tmp_path / "a.npz", X=np.array([Bomb(trace)], dtype=object), y=np.zeros(1))
    assert "Python objects" in refused("data.path", sources.npz, tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb(trace)))
    assert "not a .npz file" in refused("data.path", sources.npz, tmp_path / "b.npz")
    assert not trace.exists()


def test_what_unpacks_to_too_much_is_refused_unread(tmp_path, refused, monkeypatch):
    monkeypatch.setattr("runner.data.sources.arrays.MAX_BYTES", 2**20)
    np.savez_compressed(tmp_path / "a.npz", X=np.zeros((2**18, 1)), y=np.zeros(2**18))
    assert "unpacks to" in refused("data.path", sources.npz, tmp_path / "a.npz")


def test_a_header_that_claims_more_than_there_is_is_refused(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for key in "Xy":
            header = io.BytesIO()
            claim = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
            np.lib.format.write_array_header_1_0(header, claim)
            archive.writestr(f"{key}.npy", header.getvalue() + bytes(80))
    assert "damaged" in refused("data.path", sources.npz, tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"x,y\n1,2\n", "not a .npz file"),
        (b"\x89PNG\r\n\x1a\n", "PNG image"),
        (b"\x93NUMPY\x01\x00", ".npy"),
    ],
)
def test_a_file_that_is_no_npz_is_refused(tmp_path, refused, content, words):
    (tmp_path / "a.npz").write_bytes(content)
    assert words in refused("data.path", sources.npz, tmp_path / "a.npz")


def test_a_damaged_file_is_refused(keras_file, refused):
    content = bytearray(keras_file.read_bytes())
    content[2000:3000] = bytes(1000)
    keras_file.write_bytes(content)
    assert "damaged" in refused("data.path", sources.npz, keras_file)


def test_a_missing_npz_shows_the_nearest_name(keras_file, refused):
    problem = refused("data.path", sources.mnist, str(keras_file.with_name("image.npz")))
    assert "did you mean 'images.npz'?" in problem


def test_california_housing_reads_a_file(tmp_path):
    frame = pd.DataFrame({"MedInc": [1.5, 2, 3], "MedHouseVal": [0.5, 1, 2]})
    frame.to_csv(tmp_path / "c.csv", index=False)
    X, y = sources.california_housing(path=str(tmp_path / "c.csv"))
    assert list(X.columns) == ["MedInc"]
    assert y.tolist() == [0.5, 1, 2]


def test_openml_needs_one_way_to_name_a_data_set(refused):
    assert "give one of" in refused("data.dataset", sources.openml)
    assert "give one of" in refused("data.dataset", sources.openml, dataset="iris", data_id=61)


@pytest.mark.slow
def test_a_failed_download_is_one_line_with_the_way_out(tmp_path):
    code = (
        "from runner.data import sources as s\n"
        "from runner.errors import RequestError\n"
        "for f in s.mnist, s.california_housing, lambda: s.openml('credit-g'):\n"
        "    try: f()\n"
        "    except RequestError as e: print('LINE', e)\n"
    )
    # Nothing listens there, so the test is the same with and without a network.
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    homes = {"KERAS_HOME": str(tmp_path / "k"), "SCIKIT_LEARN_DATA": str(tmp_path / "s")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **proxies, **homes, "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=ROOT,
        check=True,
    )
    mnist, california, openml = [x for x in done.stdout.splitlines() if x.startswith("LINE")]
    assert mnist.startswith("LINE data.path: could not download mnist")
    assert "data.path=FILE.npz" in mnist
    assert california.startswith("LINE data.path: could not download california_housing")
    assert openml.startswith("LINE data.dataset: could not download 'credit-g'")
    assert "UserWarning" not in done.stderr


def test_sources_import_without_tensorflow():
    code = (
        "import runner.data.load, runner.data.sources, sys; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_every_option_names_a_function_and_its_arguments(path):
    assert path.read_text().startswith("# ")
    config = OmegaConf.load(path)
    function = get_method(config.pop("_target_"))
    assert function.__module__.startswith("runner.data")
    parameters = inspect.signature(function).parameters
    assert set(config) == set(parameters)
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        assert OmegaConf.is_missing(config, name) == required


def test_every_source_is_an_option():
    assert [path.stem for path in OPTIONS] == sorted(sources.__all__)
