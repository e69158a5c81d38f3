"""Where data comes from: one function per data option, its keyword arguments are the YAML's keys.

Each returns ``(X, y)``, or ``(X_train, y_train, X_test, y_test)`` where the source ships a test
split of its own. A user's function does the same.
"""

from runner.data.sources.arrays import npz
from runner.data.sources.bundled import breast_cancer, diabetes, digits, iris, wine
from runner.data.sources.images import cifar10, fashion_mnist, mnist
from runner.data.sources.online import california_housing, openml
from runner.data.sources.tables import table

__all__ = [
    "breast_cancer",
    "california_housing",
    "cifar10",
    "diabetes",
    "digits",
    "fashion_mnist",
    "iris",
    "mnist",
    "npz",
    "openml",
    "table",
    "wine",
]
