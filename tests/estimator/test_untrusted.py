"""A saved model from anyone: what is no model, or brings code along, is refused in one line."""

from __future__ import annotations

import functools
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_iris
from sklearn.preprocessing import FunctionTransformer

from runner.errors import RequestError
from runner.estimator.base import ConfigClassifier
from runner.estimator.saved import load_estimator, save_estimator

X, Y = load_iris(return_X_y=True)
IMAGES = load_digits().images[:60].astype(np.uint8)
FOREST = {"model": {"_target_": "sklearn.ensemble.RandomForestClassifier", "n_estimators": 3}}


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    save_estimator(ConfigClassifier(FOREST).fit(X, Y), folder)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    labels = load_digits().target[:60]
    save_estimator(ConfigClassifier({"training": {"epochs": 1}}).fit(IMAGES, labels), folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    def _copy(model: Path) -> Path:
        return Path(shutil.copytree(model, tmp_path / "model", dirs_exist_ok=True))

    return _copy


def refused(folder: Path) -> str:
    with pytest.raises(RequestError) as caught:
        load_estimator(folder)
    assert str(caught.value).isprintable()
    return str(caught.value)


def parts(folder: Path, **changed: Any) -> Path:
    """Replace parts of a saved model."""
    path = folder / "parts.skops"
    known = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    skops.io.dump({**known, **changed}, path)
    return folder


def calls(function: Any) -> FunctionTransformer:
    return FunctionTransformer(function, check_inverse=False)


@pytest.mark.parametrize(
    ("preprocessor", "named"),
    [
        (Path("/"), "pathlib"),
        (calls(np.testing.measure), "numpy.testing"),
        (calls(functools.partial(np.testing.measure, "import os; os.mkdir('pwned')")), "numpy"),
        (calls(np.load), "numpy.load"),
        (calls(shutil.rmtree), "shutil.rmtree"),
        # A function of a trusted package.
        (calls(load_iris), "sklearn.datasets._base.load_iris"),
        (ConfigClassifier(FOREST), "runner.estimator.base.ConfigClassifier"),
    ],
    ids=["path", "measure", "partial", "load", "rmtree", "load_iris", "estimator"],
)
def test_foreign_types_and_functions_are_refused(
    copy: Callable[[Path], Path], forest: Path, preprocessor: Any, named: str
) -> None:
    message = refused(parts(copy(forest), preprocessor_=preprocessor))
    assert "names types that are not trusted" in message
    assert named in message


def test_a_name_that_passes_through_a_trusted_package_is_refused(
    copy: Callable[[Path], Path], forest: Path
) -> None:
    folder = parts(copy(forest), preprocessor_=calls(shutil.rmtree))
    _edit_archive(
        folder / "parts.skops",
        "schema.json",
        lambda text: text.replace(b'"shutil"', b'"sklearn.ensemble._forest"').replace(
            b'"rmtree"', b'"Integral"'
        ),
    )
    message = refused(folder)
    assert "names types that are not trusted: sklearn.ensemble._forest.Integral" in message


def test_own_modules_are_trusted_where_they_are_allowed(
    copy: Callable[[Path], Path], forest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = parts(copy(forest), preprocessor_=calls(json.dumps))
    assert "json.dumps" in refused(folder)
    monkeypatch.setenv("RUNNER_ALLOW", "json.*")
    assert load_estimator(folder).preprocessor_.func is json.dumps


def test_what_is_no_part_of_a_model_is_refused(copy: Callable[[Path], Path], forest: Path) -> None:
    assert "'predict'" in refused(parts(copy(forest), predict=calls(None)))


def _edit_archive(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content[member] = change(content[member])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("file", ["parts.skops", "network.keras"])
@pytest.mark.parametrize("damage", ["cut", "text", "empty", "bomb", "folder"])
def test_damaged_archives_and_bombs_are_refused(
    copy: Callable[[Path], Path], network: Path, file: str, damage: str
) -> None:
    path = copy(network) / file
    content = path.read_bytes()
    if damage == "bomb":
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("more", bytes(200 * len(content)))
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        changed = {"cut": content[: len(content) // 2], "text": b"hello", "empty": b""}
        path.write_bytes(changed[damage])
    message = refused(path.parent)
    assert file in message
    assert ("unpacks to" if damage == "bomb" else "is damaged") in message


def test_a_network_with_code_of_its_own_is_refused(
    copy: Callable[[Path], Path], network: Path, tmp_path: Path
) -> None:
    import keras

    folder = copy(network)
    layers = [keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Lambda(lambda x: x * 2)]
    keras.Sequential(layers).save(folder / "network.keras")
    assert "can't be loaded" in refused(folder)


@pytest.mark.parametrize("module", ["os", "keras.src.utils.file_utils", "subprocess"])
def test_a_network_that_names_another_class_is_refused(
    copy: Callable[[Path], Path], network: Path, module: str
) -> None:
    folder = copy(network)

    def rename(text: bytes) -> bytes:
        config = json.loads(text)
        layer = config["config"]["layers"][-1]
        layer.update(module=module, class_name="system", registered_name="system")
        return json.dumps(config).encode()

    _edit_archive(folder / "network.keras", "config.json", rename)
    assert "can't be loaded" in refused(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "destruction"},
        {"config": []},
        {"seed": "x"},
        {"threads": 0},
        {"threads": [1]},
        {"target": [1]},
        {"target": "xy"},
    ],
    ids=str,
)
def test_a_description_of_other_types_is_refused(
    copy: Callable[[Path], Path], forest: Path, change: dict[str, Any]
) -> None:
    path = copy(forest) / "estimator.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert "holds no saved model" in refused(path.parent)


def test_a_damaged_model_loads_or_is_refused_in_one_line(
    copy: Callable[[Path], Path], forest: Path
) -> None:
    folder = copy(forest)
    kept = {name: (folder / name).read_bytes() for name in ("parts.skops", "estimator.json")}

    @settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.sampled_from(sorted(kept)),
        st.dictionaries(st.floats(0, 1, exclude_max=True), st.integers(0, 255), max_size=4),
    )
    def check(name: str, changes: dict[float, int]) -> None:
        changed = bytearray(kept[name])
        for place, byte in changes.items():
            changed[int(place * len(changed))] = byte
        for file, content in kept.items():
            (folder / file).write_bytes(bytes(changed) if file == name else content)
        try:
            load_estimator(folder)
        except RequestError as error:
            line = str(error)
        else:
            return
        assert line.isprintable()

    check()
