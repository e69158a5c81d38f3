"""Feature preparation, fitted on the training rows of each fold alone."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

Kind = Literal["auto", "standard", "minmax", "none"]


class ImageScaler(TransformerMixin, BaseEstimator):
    """Scale whole images with one number for all pixels.

    Parameters
    ----------
    kind
        ``auto`` and ``minmax`` bring the training images to [0, 1]; ``standard`` to zero mean and
        unit variance; ``none`` leaves values as they are. The result is float32.
    flatten
        Return rows of shape (n, pixels) for models that take rows.
    leave_bytes
        Return 8-bit images as they are: a network scales each batch by itself, with ``offset_`` and
        ``scale_``, and a quarter of the memory holds them meanwhile.
    """

    def __init__(
        self, kind: Kind = "auto", flatten: bool = False, leave_bytes: bool = False
    ) -> None:
        self.kind = kind
        self.flatten = flatten
        self.leave_bytes = leave_bytes

    def fit(self, X: np.ndarray, y: Any = None) -> Self:
        self.offset_, self.scale_ = 0.0, 1.0
        if self.kind == "standard":
            self.offset_, self.scale_ = float(X.mean()), float(X.std())
        elif self.kind != "none":
            low = float(X.min())
            self.offset_ = low if low < 0 or self.kind == "minmax" else 0.0
            self.scale_ = float(X.max()) - self.offset_
        self.scale_ = self.scale_ or 1.0
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        if self.leave_bytes and X.dtype == np.uint8:
            return X
        scaled = np.asarray(X, dtype=np.float32)
        if self.offset_:
            scaled = scaled - np.float32(self.offset_)
        scaled = scaled * np.float32(1.0 / self.scale_)
        return scaled.reshape(len(scaled), -1) if self.flatten else scaled


def make_preprocessor(kind: Kind, X: np.ndarray | pd.DataFrame, takes_rows: bool) -> Any:
    """Build the unfitted transformer for features like `X`.

    Parameters
    ----------
    kind
        Option of the ``preprocess`` group.
    X
        Images of shape (n, height, width[, channels]), rows of shape (n, features), or a frame.
    takes_rows
        Whether the model wants rows, so that images are flattened.
    """
    if isinstance(X, pd.DataFrame):
        return _for_frame(kind, X)
    if X.ndim > 2:
        return ImageScaler(kind, flatten=takes_rows, leave_bytes=not takes_rows)
    return _numbers(kind)


def _numbers(kind: Kind) -> Pipeline | str:
    if kind == "none":
        return "passthrough"
    scaler = MinMaxScaler() if kind == "minmax" else StandardScaler()
    # A column can be missing throughout one fold; it must not change the number of features.
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), scaler)


def _for_frame(kind: Kind, frame: pd.DataFrame) -> ColumnTransformer:
    numeric = [
        name
        for name, dtype in frame.dtypes.items()
        if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
    ]
    others = [name for name in frame.columns if name not in set(numeric)]
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),
    )
    return ColumnTransformer(
        [("numbers", _numbers(kind), numeric), ("categories", categories, others)],
        sparse_threshold=0.0,
    )
