"""`runner predict`: a run's winner applied to files and folders of new rows."""

from __future__ import annotations

import gzip
import io
import shlex
import shutil
import subprocess
import sys
import zipfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from command import ROOT, CompletedRun, Once, look
from sklearn.datasets import load_digits
from test_docs import blocks

from runner import RequestError, load, run
from runner.app import run_app
from runner.prediction import inputs
from runner.prediction.inputs import open_input

HOUSES = """\
rooms,street,heated,built,sold
3,Elm,True,2001-05-01,yes
5,Oak,False,1999-01-31,no
2,Elm,False,2010-07-15,yes
,Ash,True,1980-03-03,no
4,07,True,2005-11-11,yes
4,Oak,True,1970-12-24,no
5,,False,2002-08-09,yes
2,Ash,False,1960-10-10,no
"""
IMAGES, DIGITS = load_digits().images.astype(np.uint8), load_digits().target


def fill(folder: Path) -> None:
    """A forest on a table, a linear model on images, a small network, a regressor on arrays."""
    lines = HOUSES.splitlines(keepends=True)
    (folder / "houses.csv").write_text("".join(lines[:1] + lines[1:] * 6))
    X = np.arange(60.0).reshape(20, 3) % 7
    np.savez(folder / "arrays.npz", X=X, y=X @ [1.0, 2.0, 3.0])
    quick = ("search=none", "compute.n_jobs=1", "log_level=warning", "cv.n_splits=2")
    with chdir(folder):
        table = ("data=table", "data.path=houses.csv", "data.target=sold")
        forest = ("model=random_forest", "model.n_estimators=9")
        run(*table, *forest, *quick, "hydra.run.dir=table")
        run("data=digits", "model=logistic_regression", *quick, "hydra.run.dir=images")
        network = ("model=mlp", "model.hidden_layer_one=16", "training.epochs=2")
        run("data=digits", *network, *quick, "hydra.run.dir=network")
        arrays = ("data=npz", "data.path=arrays.npz", "data.task=regression", "cv=kfold")
        run(*arrays, "model=hist_gradient_boosting", *quick, "hydra.run.dir=arrays")


@pytest.fixture
def runs(once: Once) -> Path:
    """The folder that holds the runs; tests only read it."""
    return once("predicting", fill)


@pytest.fixture
def houses(folder: Path) -> Path:
    """A folder with a table to predict for, that has no target."""
    as_text = {"street": str}
    frame = pd.read_csv(io.StringIO(HOUSES), dtype=as_text).drop(columns="sold")
    frame.to_csv(folder / "new.csv", index=False)
    return folder


def table(done: CompletedRun) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(done.out))


def refusal(*args: str, cwd: Path, code: int = 2) -> str:
    done = look("predict", *args, cwd=cwd, code=code)
    (line,) = done.err.splitlines()
    assert done.out == ""
    return line.removeprefix("runner: ")


def test_a_table_is_answered_row_by_row(runs: Path, houses: Path) -> None:
    answers = table(look("predict", str(runs / "table"), "new.csv", cwd=houses))
    assert list(answers.columns) == ["prediction", "probability_no", "probability_yes"]
    assert list(answers["prediction"]) == ["yes", "no"] * 4
    likelier = answers["probability_yes"] > answers["probability_no"]
    assert list(likelier) == [True, False] * 4
    assert np.allclose(answers.filter(like="probability").sum(axis=1), 1)


def test_columns_may_be_in_any_order_and_the_target_is_not_used(runs: Path, houses: Path) -> None:
    first = look("predict", str(runs / "table"), "new.csv", cwd=houses)
    frame = pd.read_csv(io.StringIO(HOUSES), dtype=str, keep_default_na=False)
    frame[frame.columns[::-1]].to_csv(houses / "turned.csv", index=False)
    done = look("predict", str(runs / "table"), "turned.csv", cwd=houses)
    assert done.out == first.out
    assert done.err == "columns that the model does not use: 'sold', 'built'\n"
    assert first.err == "columns that the model does not use: 'built'\n"


def test_unseen_categories_and_gaps_are_predicted_for(runs: Path, houses: Path) -> None:
    rows = "street,rooms,heated\nMaple,3,true\n,,\nElm,NA,FALSE\n07,4,1\n"
    (houses / "odd.csv").write_text(rows)
    answers = table(look("predict", str(runs / "table"), "odd.csv", cwd=houses))
    assert len(answers) == 4
    assert not answers.isna().any(axis=None)
    # Number or not, a category is what stands in the file: 07 was one of those in training.
    assert answers["prediction"].iloc[3] == "yes"
    model = load(runs / "table")
    frame = pd.DataFrame({"street": ["Maple", None], "rooms": [3, np.nan], "heated": [True, None]})
    assert np.array_equal(model.predict_proba(frame), answers.filter(like="proba").to_numpy()[:2])


def test_batches_change_nothing(runs: Path, houses: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Types are those of the training data, whatever a batch happens to hold."""
    whole = look("predict", str(runs / "table"), "new.csv", "-o", "whole.csv", cwd=houses)
    monkeypatch.setattr(inputs, "_BATCH_ROWS", 1)
    look("predict", str(runs / "table"), "new.csv", "-o", "parts.csv", cwd=houses)
    look("predict", str(runs / "table"), "new.csv", "-o", "parts.parquet", cwd=houses)
    pd.read_csv(houses / "new.csv", dtype={"street": str}).to_parquet(houses / "new.parquet")
    look("predict", str(runs / "table"), "new.parquet", "-o", "from_parquet.csv", cwd=houses)
    expected = (houses / "whole.csv").read_text()
    assert whole.out == ""
    assert (houses / "parts.csv").read_text() == expected
    assert (houses / "from_parquet.csv").read_text() == expected
    parquet = pd.read_parquet(houses / "parts.parquet")
    assert parquet.equals(pd.read_csv(io.StringIO(expected), dtype={"prediction": "str"}))
    assert sorted(path.suffix for path in houses.iterdir()) == [".csv"] * 4 + [".parquet"] * 2


def test_compressed_and_parquet_tables(runs: Path, houses: Path) -> None:
    expected = look("predict", str(runs / "table"), "new.csv", cwd=houses).out
    (houses / "new.csv.gz").write_bytes(gzip.compress((houses / "new.csv").read_bytes()))
    frame = pd.read_csv(houses / "new.csv", dtype={"street": str})
    frame.to_csv(houses / "new.tsv", sep="\t", index=False)
    frame.astype({"street": "category"}).set_index("rooms").to_parquet(houses / "indexed.parquet")
    frame.set_index(frame.index[::-1]).to_parquet(houses / "unnamed.parquet")
    for name in ("new.csv.gz", "new.tsv", "indexed.parquet", "unnamed.parquet"):
        assert look("predict", str(runs / "table"), name, cwd=houses).out == expected, name


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("room,street,heated\n3,Elm,True\n", "has no column 'rooms'; did you mean 'room'?"),
        ("street,heated\nElm,True\n", "has no column 'rooms'; it has street, heated"),
        ("a,b,heated\n1,2,True\n", "has no columns 'rooms', 'street', but has 'a', 'b'"),
        (
            "rooms,street,heated,id,x\n3,Elm,True,1,2\n",
            "has columns that the training data had not: 'id', 'x'",
        ),
        ("rooms,street,heated\n3,Elm,True\nmany,Elm,True\n", "row 2 has 'many' in 'rooms'"),
        ("rooms,street,heated\n3,Elm,perhaps\n", "row 1 has 'perhaps' in 'heated'"),
        ("rooms,street,heated\n3,Elm\n", "line 2 of 'odd.csv' has 2 fields"),
        ("rooms,street,heated\n", "has a header but no rows"),
        ("rooms;street;heated\n3;Elm;True\n", "commas separate columns, not ';'"),
        ("", "'odd.csv' is empty"),
        ("\0\0", "looks like binary data"),
    ],
)
def test_other_rows_are_refused_in_one_line(
    runs: Path, houses: Path, rows: str, words: str
) -> None:
    (houses / "odd.csv").write_text(rows)
    message = refusal(str(runs / "table"), "odd.csv", cwd=houses)
    assert words in message
    assert "odd.csv" in message
    assert "data.path" not in message


def test_a_column_is_left_out_on_request(runs: Path, houses: Path) -> None:
    expected = look("predict", str(runs / "table"), "new.csv", cwd=houses).out
    frame = pd.read_csv(houses / "new.csv", dtype={"street": str})
    frame.assign(id=7, x="a").to_csv(houses / "more.csv", index=False)
    ignored = ("--ignore", "id", "--ignore", "x")
    assert look("predict", str(runs / "table"), "more.csv", *ignored, cwd=houses).out == expected
    message = refusal(str(runs / "table"), "more.csv", "--ignore", "ix", cwd=houses)
    assert "has no column 'ix' to ignore" in message


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("table", "now.csv"), "no file 'now.csv'"),
        (("table", "new.csv", "-o", "out.txt"), "'out.txt' must end in .csv or .parquet"),
        (("table", "new.csv", "-o", "new.csv"), "--output: 'new.csv' is the input"),
        (("table", "new.csv", "-o", "no/out.csv"), "there is no folder 'no'"),
        (("table", "notes.txt"), "has '.txt'; allowed are .csv"),
        (("nothing", "new.csv"), "there is no folder"),
        (("table", "new.csv", "--array", "X"), "names an array of an .npz file"),
        (("images", "new.csv"), "has 4 columns; the model takes rows of shape (8, 8)"),
        (("table", "new.csv", "--ignored", "x"), "did you mean '--ignore'?"),
        (("table",), "see runner predict --help"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    runs: Path, houses: Path, args: tuple[str, ...], words: str
) -> None:
    (houses / "notes.txt").write_text("notes")
    name, *rest = args
    assert words in refusal(str(runs / name), *rest, cwd=houses)


def test_nearest_file_is_named(runs: Path, houses: Path) -> None:
    message = refusal(str(runs / "table"), "mew.csv", cwd=houses)
    assert message.endswith("did you mean 'new.csv'?")


def test_what_has_no_model_is_refused(runs: Path, folder: Path) -> None:
    run_folder = Path(shutil.copytree(runs / "table", folder / "failed"))
    shutil.rmtree(run_folder / "model")
    (folder / "new.csv").write_text(HOUSES)
    assert "has no saved model" in refusal("failed", "new.csv", cwd=folder)
    shutil.copytree(runs / "table", folder / "damaged")
    (folder / "damaged" / "model" / "parts.skops").write_bytes(b"PK")
    assert "is damaged" in refusal("damaged", "new.csv", cwd=folder)


def test_a_model_folder_is_enough(runs: Path, houses: Path) -> None:
    expected = look("predict", str(runs / "table"), "new.csv", cwd=houses).out
    shutil.copytree(runs / "table" / "model", houses / "copied")
    assert look("predict", "copied", "new.csv", cwd=houses).out == expected


def test_arrays_in_numpys_formats(runs: Path, folder: Path) -> None:
    expected = load(runs / "images").predict(IMAGES[:50])
    np.save(folder / "rows.npy", IMAGES[:50])
    np.savez_compressed(folder / "one.npz", whatever=IMAGES[:50])
    np.savez(folder / "keras.npz", x_train=IMAGES[50:60], y_train=[1], x_test=IMAGES[:50])
    np.save(folder / "columns.npy", np.asfortranarray(IMAGES[:50]))
    np.save(folder / "floats.npy", IMAGES[:50].astype(float))
    pd.DataFrame(IMAGES[:50].reshape(50, 64)).to_csv(folder / "pixels.csv", index=False)
    for name in ("rows.npy", "one.npz", "keras.npz", "columns.npy", "floats.npy", "pixels.csv"):
        done = look("predict", str(runs / "images"), name, cwd=folder)
        assert list(table(done)["prediction"]) == list(expected), name
        assert done.err == (
            "of the arrays x_train, y_train, x_test, 'x_test' is taken\n" if "keras" in name else ""
        )
    done = look("predict", str(runs / "images"), "keras.npz", "--array", "x_train", cwd=folder)
    assert len(table(done)) == 10
    assert done.err == ""


def test_arrays_of_another_kind_are_refused(runs: Path, folder: Path) -> None:
    np.save(folder / "wide.npy", np.zeros((5, 8, 9)))
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    np.save(folder / "texts.npy", np.full((5, 8, 8), "a"))
    np.save(folder / "none.npy", np.zeros((0, 8, 8)))
    np.savez(folder / "two.npz", a=IMAGES[:5], b=IMAGES[:5])
    (folder / "short.npy").write_bytes(_bytes_of(IMAGES[:5])[:-70])
    (folder / "zip.npz").write_text("no archive")
    with zipfile.ZipFile(folder / "other.npz", "w") as archive:
        archive.writestr("a.txt", "text")
    images = str(runs / "images")
    assert "rows of shape (8, 8)" in refusal(images, "wide.npy", cwd=folder)
    assert "Python objects" in refusal(images, "objects.npy", cwd=folder)
    assert "numbers are needed" in refusal(images, "texts.npy", cwd=folder)
    assert "has no rows" in refusal(images, "none.npy", cwd=folder)
    assert "name one with --array" in refusal(images, "two.npz", cwd=folder)
    assert "no array 'c'" in refusal(images, "two.npz", "--array", "c", cwd=folder)
    assert "is not a .npz file" in refusal(images, "zip.npz", cwd=folder)
    assert "has no arrays" in refusal(images, "other.npz", cwd=folder)
    done = look("predict", images, "short.npy", "-o", "out.csv", cwd=folder, code=2)
    assert "is damaged" in done.err
    assert not (folder / "out.csv").exists()


def _bytes_of(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _png(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(tf.io.encode_png(pixels).numpy())


def test_a_folder_of_images(runs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = folder / "photos"
    photos.mkdir()
    for number, image in enumerate(IMAGES[:12]):
        _png(photos / f"{number:02}.png", image[..., None])
    grey_as_colour = np.repeat(IMAGES[12][..., None], 3, axis=2)
    _png(photos / "12.png", grey_as_colour)
    opaque = np.concatenate([grey_as_colour, np.full((8, 8, 1), 255, np.uint8)], axis=2)
    _png(photos / "13.PNG", opaque)
    (photos / "notes.txt").write_text("notes")
    monkeypatch.setattr(inputs, "_BATCH_ROWS", 5)
    done = look("predict", str(runs / "images"), "photos", cwd=folder)
    answers = table(done)
    assert list(answers["file"]) == [f"{n:02}.png" for n in range(13)] + ["13.PNG"]
    expected = load(runs / "images").predict(IMAGES[[*range(13), 12]])
    assert list(answers["prediction"]) == list(expected)
    assert done.err == "no .png images, passed over: notes.txt\n"
    one = look("predict", str(runs / "images"), "photos/03.png", cwd=folder)
    assert table(one)["prediction"].tolist() == [expected[3]]


def test_other_images_are_refused(runs: Path, folder: Path) -> None:
    images = str(runs / "images")
    _png(folder / "wide.png", np.zeros((8, 9, 1), np.uint8))
    assert "wide.png: is 8 pixels high and 9 wide" in refusal(images, "wide.png", cwd=folder)
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[0, 0, 0] = 9
    _png(folder / "red.png", colours)
    assert "has 3 channels" in refusal(images, "red.png", cwd=folder)
    _png(folder / "glass.png", np.zeros((8, 8, 4), np.uint8))
    assert "transparent" in refusal(images, "glass.png", cwd=folder)
    (folder / "text.png").write_text("no image")
    assert "is no PNG image" in refusal(images, "text.png", cwd=folder)
    _png(folder / "cut.png", IMAGES[0][..., None])
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:50])
    assert "cut.png: is damaged" in refusal(images, "cut.png", cwd=folder)
    (folder / "none").mkdir()
    assert "has no .png images" in refusal(images, "none", cwd=folder)
    assert "holds images" in refusal(str(runs / "table"), "red.png", cwd=folder)


def test_pixels_on_another_scale_are_warned_of(runs: Path, folder: Path) -> None:
    np.save(folder / "bright.npy", (IMAGES[:5] * 15).astype(np.uint8))
    done = look("predict", str(runs / "images"), "bright.npy", cwd=folder)
    assert done.err == "pixels go up to 240 here, and to 16 in the training images\n"


def test_a_network_predicts_what_it_predicted_in_its_run(runs: Path, folder: Path) -> None:
    np.savez(folder / "all.npz", X=IMAGES)
    answers = table(look("predict", str(runs / "network"), "all.npz", cwd=folder))
    model = load(runs / "network")
    probabilities = answers.filter(like="probability").to_numpy()
    assert np.allclose(probabilities, model.predict_proba(IMAGES), atol=1e-6)
    assert list(answers["prediction"]) == list(model.predict(IMAGES))
    assert np.mean(answers["prediction"] == DIGITS) > 0.5


def test_a_regressor_has_predictions_alone(runs: Path, folder: Path) -> None:
    rows = np.load(runs / "arrays.npz")["X"]
    pd.DataFrame(rows, columns=["a", "b", "c"]).to_csv(folder / "rows.csv", index=False)
    answers = table(look("predict", str(runs / "arrays"), "rows.csv", cwd=folder))
    assert list(answers.columns) == ["prediction"]
    assert np.array_equal(answers["prediction"], load(runs / "arrays").predict(rows))


def test_what_the_model_cannot_predict_is_a_failure(
    runs: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without preprocessing can't fill gaps."""
    with chdir(folder):
        linear = ("model=logistic_regression", "preprocess=none", "search=none")
        run("data=iris", *linear, "hydra.run.dir=bare", "compute.n_jobs=1", "log_level=warning")
    model = load(folder / "bare")
    frame = pd.DataFrame(np.full((1, 4), np.nan), columns=list(model.rows.columns))
    frame.to_csv(folder / "gaps.csv", index=False)
    message = refusal("bare", "gaps.csv", cwd=folder, code=1)
    assert "the model can't predict for these rows" in message


def test_loaded_models_are_scikit_learns(runs: Path) -> None:
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.inspection import permutation_importance

    model = load(runs / "table")
    frame = pd.read_csv(runs / "houses.csv")
    assert is_classifier(model)
    assert is_regressor(load(runs / "arrays"))
    assert list(model.classes_) == ["no", "yes"]
    assert clone(model).predict(frame).tolist() == model.predict(frame).tolist()
    X, y = frame[["rooms", "street", "heated"]], frame["sold"]
    assert model.score(X, y) == 1
    importances = permutation_importance(model, X, y, n_repeats=2, random_state=0)
    assert importances.importances_mean.shape == (3,)
    assert repr(model) == "SavedModel(classification, rows of 3 columns)"
    assert not hasattr(load(runs / "arrays"), "predict_proba")
    with pytest.raises(RequestError, match="X: has no column 'rooms'; did you mean 'room'"):
        model.predict(X.rename(columns={"rooms": "room"}))
    with pytest.raises(RequestError, match="X: has rows of shape"):
        load(runs / "arrays").predict(np.zeros((2, 5)))


def test_the_model_card_says_what_it_is(runs: Path) -> None:
    card = (runs / "table" / "model" / "README.md").read_text()
    assert card.startswith("# `random_forest`, trained on `table`\n")
    assert "38 training rows and 10 test rows" in card
    assert "columns `rooms`, `street`, `heated`\n- classes `no`, `yes`" in card
    assert "| this model |" in card
    assert "runner predict RUN INPUT" in card
    assert "`scikit-learn 1." in card


@pytest.mark.slow
def test_docs_commands_run_as_they_stand(folder: Path) -> None:
    page = ROOT / "docs" / "predict.md"
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"rooms": random.integers(1, 9, 60), "street": ["Elm", "Oak", "Ash"] * 20})
    frame["price"] = 100.0 * frame["rooms"] + random.normal(size=60)
    frame.to_csv(folder / "houses.csv", index=False)
    frame.drop(columns="price").to_csv(folder / "new.csv", index=False)
    frame.assign(visited="2026-01-01").to_csv(folder / "visits.csv", index=False)
    lines = "".join(blocks(page, "sh")).splitlines()
    assert len(lines) == 4
    for line in lines:
        _, *args = shlex.split(line)
        if args[0] == "predict":
            look(*args, cwd=folder)
        else:
            with chdir(folder):
                assert run_app([*args, "compute.n_jobs=1"]) == 0
    assert len(pd.read_parquet(folder / "predictions.parquet")) == 60
    assert len(pd.read_csv(folder / "predictions.csv")) == 60


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(runs: Path, folder: Path) -> None:
    # Not getrusage, which counts what this process had when it forked.
    code = (
        "from pathlib import Path; from runner.verbs.predict import predict; "
        f"predict([{str(runs / 'table')!r}, 'big.csv', '-o', 'out.csv']); "
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )

    def peak_mb(n_rows: int) -> float:
        row = "3,Elm,True\n"
        (folder / "big.csv").write_text("rooms,street,heated\n" + row * n_rows)
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return int(done.stdout) / 1024

    small = peak_mb(1000)
    assert peak_mb(1_000_000) < small + 120


def test_open_input_reads_nothing_before_it_is_asked(runs: Path, houses: Path) -> None:
    source = open_input(houses / "new.csv", load(runs / "table"))
    (houses / "new.csv").unlink()
    assert source.n_rows == 8
