"""Helpers shared by the tests of loading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runner.data.dataset import DataOptions, Dataset
from runner.data.load import load_dataset
from runner.errors import RequestError


@pytest.fixture(scope="session")
def load() -> Callable[..., Dataset]:
    """Load what was returned: ``load((X, y), test_size=0.3)``."""

    def _load(returned: Any, **options: Any) -> Dataset:
        return load_dataset(lambda: returned, DataOptions(**{"name": "test", **options}))

    return _load


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Return the one line that a call is refused with, having checked its config path."""

    def _refused(path: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
        with pytest.raises(RequestError) as caught:
            call(*args, **kwargs)
        assert caught.value.path == path, str(caught.value)
        assert "\n" not in str(caught.value)
        return caught.value.problem

    return _refused
