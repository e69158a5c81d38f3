"""Types for a factory's arguments that say what is allowed, and what they do."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import Field

from runner.config.targets import hints


class OnlyDropout:
    """Marks an argument that does nothing but set the rate of Keras Dropout layers.

    Candidates that differ only in such arguments share one compiled model.
    """


Units = Annotated[int, Field(ge=1)]
DropoutRate = Annotated[float, Field(ge=0, lt=1), OnlyDropout()]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def only_dropout(factory: Any) -> set[str]:
    """Names of the factory's arguments that are marked with `OnlyDropout`."""
    return {
        name
        for name, annotation in hints(factory).items()
        if any(isinstance(part, OnlyDropout) for part in get_args(annotation))
    }
