"""From rows of features to what a model takes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from runner.errors import listing


def inputs_of(model: keras.Model, x: np.ndarray) -> Any:
    """Features as a model takes them: 8-bit as they are, anything else float32.

    A model with several inputs gets the columns of the rows one after another, in the order of
    ``model.inputs``: one of shape (k,) takes k columns, one of shape () a single column without an
    axis of its own. Keras converts them to the inputs' types.

    Raises
    ------
    ValueError
        When the inputs do not take up all columns, or one takes more than a row of numbers.
    """
    inputs = getattr(model, "inputs", None) or ()
    x = x if x.dtype == np.uint8 else np.asarray(x, np.float32)
    if len(inputs) < 2:
        return x
    shapes = [tensor.shape[1:] for tensor in inputs]
    widths = [int(np.prod(shape)) for shape in shapes]
    if max(map(len, shapes)) > 1 or x.ndim != 2 or sum(widths) != x.shape[1]:
        raise ValueError(
            f"the model's inputs have shapes {listing(shapes)}, which do not share out features "
            f"of shape {x.shape[1:]}; each must be (columns,), and together they must take them all"
        )
    parts = [
        columns.reshape(-1, *shape)
        for columns, shape in zip(np.split(x, np.cumsum(widths)[:-1], axis=1), shapes, strict=True)
    ]
    return keras.tree.pack_sequence_as(model.input, parts)
