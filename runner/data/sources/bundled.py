"""The real data sets that travel inside scikit-learn; they need no network and no file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Load handwritten digits: images (1797, 8, 8) uint8 with grey levels 0 to 16, targets 0 to 9.

    Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target


def breast_cancer() -> tuple[pd.DataFrame, np.ndarray]:
    """Load breast tumours: (569, 30) measurements, targets ``malignant`` and ``benign``.

    Wolberg, Street and Mangasarian, Breast Cancer Wisconsin (Diagnostic), UCI, 1995.
    """
    return _with_class_names(load_breast_cancer(as_frame=True))


def iris() -> tuple[pd.DataFrame, np.ndarray]:
    """Load iris flowers: (150, 4) lengths in cm, targets are the three species.

    Fisher, The use of multiple measurements in taxonomic problems, 1936.
    """
    return _with_class_names(load_iris(as_frame=True))


def wine() -> tuple[pd.DataFrame, np.ndarray]:
    """Load wines: (178, 13) chemical measurements, targets ``class_0`` to ``class_2``.

    Aeberhard and Forina, Wine, UCI, 1991.
    """
    return _with_class_names(load_wine(as_frame=True))


def diabetes() -> tuple[pd.DataFrame, np.ndarray]:
    """Load diabetes patients: (442, 10) centred measurements, progression after a year (25 to 346).

    Efron, Hastie, Johnstone and Tibshirani, Least Angle Regression, 2004.
    """
    bunch = load_diabetes(as_frame=True)
    return bunch.data, bunch.target.to_numpy()


def _with_class_names(bunch: Any) -> tuple[pd.DataFrame, np.ndarray]:
    return bunch.data, bunch.target_names.astype(object)[bunch.target.to_numpy()]
