"""From rows of features to what a model takes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def inputs_of(model: keras.Model, x: np.ndarray) -> Any:
    """Features as a model takes them: 8-bit as they are, anything else float32.

    A model with several inputs gets the columns of the rows one after another: each input as many
    as its shape says, in the order of ``model.inputs``, converted to its type.

    Raises
    ------
    ValueError
        When the inputs do not take up all columns, or one is not a row of numbers.
    """
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) < 2:
        return x if x.dtype == np.uint8 else np.asarray(x, np.float32)
    shapes = [tensor.shape[1:] for tensor in inputs]
    widths = [shape[0] if len(shape) == 1 else 0 for shape in shapes]
    if 0 in widths or x.ndim != 2 or sum(widths) != x.shape[1]:
        raise ValueError(
            f"the model's inputs have shapes {', '.join(map(str, shapes))}, which do not share out "
            f"features of shape {x.shape[1:]}; each must be (columns,), and they must add up"
        )
    parts = np.split(x, np.cumsum(widths)[:-1], axis=1)
    columns = [np.asarray(part, tensor.dtype) for part, tensor in zip(parts, inputs, strict=True)]
    return keras.tree.pack_sequence_as(model.input, columns)
