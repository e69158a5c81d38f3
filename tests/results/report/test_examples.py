"""The rows that were predicted worst."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd
from PIL import Image

from runner.results.report.examples import MOST, worst_predictions
from runner.results.report.predictions import Fitted

TRUE = np.array(["cat", "dog", "dog", "cat"])


def texts(section) -> list[list[str]]:
    (table,) = section.tables
    return [list(table.header), *([cell.text for cell in row] for row in table.rows)]


def test_wrong_rows_are_shown_with_the_surest_first():
    chances = np.array([[0.4, 0.6], [0.2, 0.8], [0.9, 0.1], [0.7, 0.3]])
    fitted = Fitted(np.array(["dog", "dog", "cat", "cat"]), chances)
    X = pd.DataFrame({"size": [1, 2, 3, 4], "note": ["a", None, "c" * 200, "d"]})
    assert texts(worst_predictions(X, TRUE, fitted, ["cat", "dog"])) == [
        ["row", "true", "predicted", "probability", "size", "note"],
        ["2", "dog", "cat", "90.0%", "3", "c" * 80 + "…"],
        ["0", "cat", "dog", "60.0%", "1", "a"],
    ]


def test_without_probabilities_wrong_rows_come_in_order():
    fitted = Fitted(np.array(["dog"] * 4))
    rows = texts(worst_predictions(np.arange(8).reshape(4, 2), TRUE, fitted, ["cat", "dog"]))
    assert rows == [
        ["row", "true", "predicted", "feature 0", "feature 1"],
        ["0", "cat", "dog", "0", "1"],
        ["3", "cat", "dog", "6", "7"],
    ]


def test_regression_shows_the_rows_that_are_furthest_off():
    y_true = np.arange(40.0)
    y_pred = y_true + np.where(y_true == 7, 5, y_true / 1000)
    section = worst_predictions(np.zeros((40, 1)), y_true, Fitted(y_pred[:, None]), None)
    rows = texts(section)[1:]
    assert [row[0] for row in rows[:2]] == ["7", "39"]
    assert rows[0][1:3] == ["7", "12"]
    assert len(rows) == MOST


def test_no_wrong_row_is_no_section():
    assert worst_predictions(np.zeros((4, 1)), TRUE, Fitted(TRUE), ["cat", "dog"]).is_empty


def test_images_are_shown_as_images():
    images = np.zeros((4, 8, 8), dtype=np.uint8)
    images[2, :4] = 16
    section = worst_predictions(images, TRUE, Fitted(np.array(["cat"] * 4)), ["cat", "dog"])
    pictures = [_image(picture.source) for picture in section.pictures]
    assert [picture.lines for picture in section.pictures] == [
        [f"row {row}", "true dog", "predicted cat"] for row in (1, 2)
    ]
    # Spread over the greys, all pictures alike.
    assert (pictures[0].min(), pictures[0].max()) == (0, 0)
    assert (pictures[1][0, 0], pictures[1][7, 7]) == (255, 0)


def test_colours_and_large_images_are_shown_in_little():
    images = np.random.default_rng(0).uniform(size=(4, 300, 200, 3))
    section = worst_predictions(images, TRUE, Fitted(np.array(["dog"] * 4)), ["cat", "dog"])
    assert [_image(picture.source).shape for picture in section.pictures] == [(128, 85, 3)] * 2


def _image(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))
