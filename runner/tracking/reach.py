"""Whether an MLflow database or server can be reached, found out within seconds."""

from __future__ import annotations

import os
import socket
import threading
import urllib.error
import urllib.request

from runner.tracking.settings import Address

_WITHIN_S = 2.0


def problem_with(address: Address) -> str | None:
    """Say why nothing can be logged at an address; None where it answers.

    It takes no longer than two seconds, whatever the network or a name server do.
    """
    if address.database is not None:
        return _problem_with_file(address)
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(_ask(address)), daemon=True)
    asking.start()
    asking.join(_WITHIN_S)
    problem = found[0] if found else f"no answer within {_WITHIN_S:g} seconds"
    return problem and f"{address} does not answer ({problem})"


def _ask(address: Address) -> str | None:
    try:
        with urllib.request.urlopen(f"{address.uri}/health", timeout=_WITHIN_S):
            return None
    except urllib.error.HTTPError as error:
        # A proxy may know of no such page, or want to know first who asks.
        return f"status {error.code}" if error.code >= 500 else None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, socket.gaierror):
            return "there is no such host"
        # Certificates are for MLflow to judge: it has settings for them.
        is_network = isinstance(reason, OSError) and not hasattr(reason, "verify_code")
        return (getattr(reason, "strerror", None) or str(reason)) if is_network else None
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _problem_with_file(address: Address) -> str | None:
    assert address.database is not None
    folder = address.database.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"can't make '{os.path.relpath(folder)}': {error.strerror}"
    target = address.database if address.database.exists() else folder
    return None if os.access(target, os.W_OK) else f"can't write '{os.path.relpath(target)}'"
