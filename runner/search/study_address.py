"""Where a shared study is, and whether it is of the content that it should be."""

from __future__ import annotations

import time
from dataclasses import dataclass

import optuna

from runner.errors import RequestError, listing
from runner.search.database import has_studies, open_storage, read_address
from runner.search.origin import Origin

CONTENT = "content"
"""The attribute of a study that says what it is of."""
_CONTENT_WAIT_S = 5.0


@dataclass(frozen=True)
class StudyAddress:
    """The database of a study, and its name there."""

    storage: str
    name: str

    def check(self, origin: Origin | None) -> None:
        """Reach the database, and look whether the study, if there is one, is of the same content.

        Raises
        ------
        RequestError
            When the database can't be reached, or the study is another one.
        """
        url = read_address(self.storage)
        if not has_studies(url) or origin is None:
            return
        storage = open_storage(url)
        try:
            study = optuna.load_study(study_name=self.name, storage=storage)
            if CONTENT in study.user_attrs or study.get_trials(deepcopy=False):
                check_content(self.name, study, origin)
        except KeyError:
            return  # it is still to be made
        finally:
            storage.engine.dispose()


def is_described(study: optuna.Study) -> bool:
    """Whether a study says what it is of; who has just begun it needs an instant for that."""
    deadline = time.monotonic() + _CONTENT_WAIT_S
    while CONTENT not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            return True  # it was made in another way, and will be refused
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def check_content(name: str, study: optuna.Study, origin: Origin) -> None:
    """Refuse a study that is of something else.

    Raises
    ------
    RequestError
        Naming what differs.
    """
    content = study.user_attrs.get(CONTENT)
    if content is None:
        raise RequestError("search.study", f"'{name}' was not made by this program; name another")
    parts = sorted({*content, *origin.content})
    other = [part for part in parts if content.get(part) != origin.content.get(part)]
    if other:
        raise RequestError(
            "search.study", f"'{name}' is of another {listing(other)}; name another study"
        )
