"""Where runs are to be logged: the config's ``tracking``, checked without importing a tracker."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from runner.config.schema import MlflowSettings, Tracking, explain
from runner.errors import RequestError, about
from runner.secrets import MASK, mask

LOCAL_DATABASE = "sqlite:///outputs/mlflow.db"
_URI = "tracking.mlflow.uri"
_FROM_ENVIRONMENT = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_CREDENTIALS = re.compile(r"://[^/?#\s@]*@")
_NOT_IN_A_CONFIG = (
    "holds a user name or password, which would be written with the run; set MLFLOW_TRACKING_URI, "
    "or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment"
)


@dataclass(frozen=True)
class Address:
    """An MLflow database or server.

    Parameters
    ----------
    uri
        Without user name and password; of a database with its file's absolute path.
    username, password
        What stood in it, or None.
    """

    uri: str
    username: str | None = None
    password: str | None = None

    @property
    def database(self) -> Path | None:
        """The database's file; None for a server."""
        is_file = self.uri.startswith(_SQLITE)
        return Path(self.uri.removeprefix(_SQLITE)) if is_file else None

    def __str__(self) -> str:
        return self.uri if self.database is None else os.path.relpath(self.database)

    def __repr__(self) -> str:
        return f"Address({self.uri!r})"


def read_tracking(composed: DictConfig) -> Tracking:
    """Read and check the ``tracking`` of a composed config.

    Raises
    ------
    RequestError
        For an unknown key or a wrong value, a tracker that is not installed, or an address that
        can't be used.
    """
    node = composed.get("tracking")
    try:
        plain: Any = {} if node is None else OmegaConf.to_container(node, resolve=True)
    except OmegaConfBaseException as error:
        raise RequestError(error.full_key or "tracking", str(error).splitlines()[0]) from None
    try:
        tracking = Tracking.model_validate(plain)
    except ValidationError as error:
        problem = explain(error, Tracking)
        raise RequestError(f"tracking.{problem.path}", problem.problem) from None
    check_tracking(tracking)
    return tracking


def check_tracking(tracking: Tracking) -> None:
    """Refuse what can't work, without asking a server.

    Raises
    ------
    RequestError
        For a tracker that is not installed, or an address that can't be used.
    """
    for name in ("mlflow", "tensorboard"):
        if getattr(tracking, name) is not None and importlib.util.find_spec(name) is None:
            raise RequestError("tracking", f"{name} is not installed: pip install 'runner[{name}]'")
    if tracking.mlflow is not None:
        address_of(tracking.mlflow)


def refuse_credentials(overrides: Iterable[str]) -> None:
    """Refuse overrides that spell out a password, before anything could write them down.

    Raises
    ------
    RequestError
        Which does not repeat it.
    """
    for text in overrides:
        if text.lstrip("+").startswith("tracking") and _CREDENTIALS.search(text):
            raise RequestError(_URI, _NOT_IN_A_CONFIG)


def address_of(settings: MlflowSettings) -> Address:
    """The database or server that a config means.

    Raises
    ------
    RequestError
        When it is none, or spells out a password. A config may take the whole address from the
        environment, but no part of it: who wrote the config could have that sent to a server.
    """
    uri = settings.uri
    if uri is None:
        with about(_FROM_ENVIRONMENT):
            return _parsed(os.environ.get(_FROM_ENVIRONMENT) or LOCAL_DATABASE)
    masked = mask(uri)
    if masked == uri and _CREDENTIALS.search(uri):
        raise RequestError(_URI, _NOT_IN_A_CONFIG)
    if masked not in (uri, MASK):
        raise RequestError(_URI, "takes a part from the environment; take all of it from there")
    return _parsed(uri)


def _parsed(uri: str) -> Address:
    if uri.startswith(_SQLITE) and len(uri) > len(_SQLITE) and not set("?#") & set(uri):
        return Address(_SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute()))
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RequestError(_URI, "is no address; write http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise RequestError(
            _URI,
            f"'{_without_credentials(uri)}' must be http://HOST:PORT, https://… or {_SQLITE}FILE",
        )
    shown = f"[{host}]" if ":" in host else host
    place = shown if port is None else f"{shown}:{port}"
    clean = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
    return Address(clean, _unquoted(parts.username), _unquoted(parts.password))


def _unquoted(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _without_credentials(uri: str) -> str:
    return _CREDENTIALS.sub("://***@", uri)
