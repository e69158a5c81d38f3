"""The database that a shared study is kept in: its address, reaching it, and nothing more.

SQLAlchemy comes with Optuna; it is imported only where a study is shared.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import RequestError
from runner.secrets import MASK

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import URL, Engine

_WHERE = "search.storage"
_EXAMPLES = "write postgresql://USER@HOST/DATABASE, or sqlite:///FILE on one machine"
_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_CONNECT_S, _LOCK_S = 10, 60
# A connection whose other end is gone is given up after about a minute, not after hours.
_KEEP_ALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_OPEN_TRIES, _OPEN_WAIT_S = 6, 0.5


def read_address(text: str) -> URL:
    """Read the address of a database.

    Raises
    ------
    RequestError
        When it is none, or of a kind that is not supported, or its driver is not installed.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise RequestError(_WHERE, f"is no address of a database; {_EXAMPLES}") from None
    if url.drivername not in _DRIVERS:
        raise RequestError(_WHERE, f"'{url.drivername}' is not supported; {_EXAMPLES}")
    if "plugin" in url.query or (url.drivername == "sqlite" and url.query):
        raise RequestError(_WHERE, f"takes no options like '?{next(iter(url.query))}='")
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise RequestError(_WHERE, "names no file; write sqlite:///FILE")
    if url.password == MASK:
        raise RequestError(_WHERE, f"'{MASK}' stands for a password that was left out; give it")
    if url.drivername != "sqlite" and importlib.util.find_spec("psycopg") is None:
        raise RequestError(
            _WHERE, "PostgreSQL needs psycopg; install it with: pip install 'runner[postgresql]'"
        )
    return url.set(drivername=_DRIVERS[url.drivername])


def has_studies(url: URL) -> bool:
    """Reach a database, and look whether it holds studies at all; nothing is made there.

    Raises
    ------
    RequestError
        When it can't be reached within seconds, or is no database.
    """
    import sqlalchemy

    if url.drivername == "sqlite":
        file = Path(str(url.database))
        if not file.parent.is_dir():
            raise RequestError(_WHERE, f"there is no folder '{file.parent}'")
        if not file.exists():
            return False
    with refused(url):
        engine = sqlalchemy.create_engine(url, **_engine_options(url))
        try:
            with engine.connect() as connection:
                return bool(sqlalchemy.inspect(connection).has_table("studies"))
        finally:
            engine.dispose()


def open_storage(url: URL) -> RDBStorage:
    """Open Optuna's storage in a database, and make its tables where there are none.

    Raises
    ------
    RequestError
        When that can't be done.
    """
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy import exc

    text = url.render_as_string(hide_password=False)
    in_braces = text.replace("{", "{{").replace("}", "}}")  # Optuna formats it
    momentary: tuple[type[Exception], ...] = (
        *(exc.ProgrammingError, exc.IntegrityError, exc.InternalError, StorageInternalError),
        *((exc.OperationalError,) if url.drivername == "sqlite" else ()),
    )
    with refused(url):
        for tries_left in reversed(range(_OPEN_TRIES)):
            try:
                storage = RDBStorage(in_braces, engine_kwargs=_engine_options(url))
                break
            except momentary:
                # Another process may be making the same tables at this moment.
                if not tries_left:
                    raise
                time.sleep(_OPEN_WAIT_S)
        if url.drivername == "sqlite":
            _set_up_sqlite(storage.engine)
    return storage


def _engine_options(url: URL) -> dict[str, Any]:
    if url.drivername == "sqlite":
        return {"connect_args": {"timeout": _LOCK_S}}
    # What the address itself says comes first.
    defaults = {"connect_timeout": _CONNECT_S, **_KEEP_ALIVE}
    given = {key: value for key, value in defaults.items() if key not in url.query}
    return {"connect_args": given, "pool_pre_ping": True}


def _set_up_sqlite(engine: Engine) -> None:
    """Let no two transactions overlap, and have a disk that is slow to sync be asked less often.

    SQLite has no lock on a row: between reading that a trial is free and claiming it, another
    process could do the same. With its log written ahead, a power failure may take the last moments
    of a study, but leaves it whole; a process that dies takes nothing.
    """
    from sqlalchemy import event

    def set_up(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    engine.dispose()  # connections made before these rules


@contextlib.contextmanager
def refused(url: URL) -> Iterator[None]:
    """Turn what a database answers in the block into one line that names it, password aside."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError) as error:
        shown = url.render_as_string(hide_password=True)
        raise RequestError(_WHERE, f"can't use {shown}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """What a driver said, in one line, without the statement that it was said of."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__
