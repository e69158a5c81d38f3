"""The test rows that were predicted worst: images as images, rows as rows."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from runner.results.report.figure import Array, is_missing
from runner.results.report.page import Cell, Picture, Section, Table
from runner.results.report.predictions import Fitted
from runner.results.verdict import parameter

MOST = 12
_MOST_COLUMNS = 30
_MOST_PIXELS = 128
_LONGEST_CELL = 80


def worst_predictions(
    X: Array | pd.DataFrame, y_true: Array, fitted: Fitted, classes: Sequence[Any] | None
) -> Section:
    """Show the worst of the test rows.

    Of a classifier those that are wrong, the surest first where there are probabilities; of a
    regressor those that are furthest off.

    Parameters
    ----------
    X
        Shape (n_test, …): images when it has more than two axes.
    y_true
        Shape (n_test,).
    classes
        The classes in the order of the probabilities; None for regression.
    """
    rows = _worst(y_true, fitted, classes)
    facts = [_facts(row, y_true, fitted, classes) for row in rows]
    if not rows:
        return Section("Worst predictions")
    if X.ndim > 2:
        images = _as_bytes(np.asarray(X)[rows])
        pictures = [
            Picture(_data_address(image), [f"{name} {text}" for name, text in known])
            for image, known in zip(images, facts, strict=True)
        ]
        return Section("Worst predictions", pictures=pictures)
    return Section("Worst predictions", tables=[_table(X, rows, facts)])


def _worst(y_true: Array, fitted: Fitted, classes: Sequence[Any] | None) -> list[int]:
    if classes is None:
        errors = np.abs(np.asarray(y_true, dtype=float) - np.ravel(fitted.y_pred))
        return [int(row) for row in np.argsort(-errors, kind="stable")[:MOST]]
    wrong = np.flatnonzero(np.asarray(y_true) != np.asarray(fitted.y_pred))
    if fitted.probabilities is not None:
        surest = fitted.probabilities[wrong].max(axis=1)
        wrong = wrong[np.argsort(-surest, kind="stable")]
    return [int(row) for row in wrong[:MOST]]


def _facts(
    row: int, y_true: Array, fitted: Fitted, classes: Sequence[Any] | None
) -> list[tuple[str, str]]:
    """What is known of a row's prediction, by name."""
    true, predicted = _text(y_true[row]), _text(np.ravel(fitted.y_pred)[row])
    known = [("row", str(row)), ("true", true), ("predicted", predicted)]
    if classes is not None and fitted.probabilities is not None:
        known.append(("probability", f"{fitted.probabilities[row].max():.1%}"))
    return known


def _table(X: Array | pd.DataFrame, rows: list[int], facts: list[list[tuple[str, str]]]) -> Table:
    names = [str(name) for name in X.columns] if isinstance(X, pd.DataFrame) else None
    values = X.iloc[rows] if isinstance(X, pd.DataFrame) else pd.DataFrame(np.asarray(X)[rows])
    names = (names or [f"feature {i}" for i in range(values.shape[1])])[:_MOST_COLUMNS]
    # Column by column, since rows of a data frame would turn integers into floats.
    columns = [[_text(value) for value in values.iloc[:, i]] for i in range(len(names))]
    texts = [
        [*(text for _, text in known), *row]
        for known, row in zip(facts, zip(*columns, strict=True), strict=True)
    ]
    header = [*(name for name, _ in facts[0]), *names]
    return Table(header, [[Cell(text) for text in row] for row in texts], is_sortable=True)


def _text(value: Any) -> str:
    if value is None or value is pd.NA or is_missing(value):
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    text = parameter(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


def _as_bytes(images: Array) -> Array:
    """Grey levels or colours from 0 to 255; anything but whole bytes is spread over that range."""
    if images.ndim == 4 and images.shape[-1] not in (3, 4):
        images = images[..., 0]
    levels = np.nan_to_num(images.astype(float))
    low, high = float(levels.min()), float(levels.max())
    if images.dtype == np.uint8 and high > 127:
        low, high = 0.0, 255.0
    return np.asarray((levels - low) * (255 / max(high - low, 1e-12)), dtype=np.uint8)


def _data_address(image: Array) -> str:
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
