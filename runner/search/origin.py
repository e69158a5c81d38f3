"""Where candidates and their scores come from, for searches that several processes share."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Origin:
    """What scores follow from, and who finds them.

    Parameters
    ----------
    content
        A fingerprint of each part, by its name; scores of the same content can be compared.
    run
        A name for the run directory, which no two processes hold at a time.
    """

    content: Mapping[str, str]
    run: str

    @classmethod
    def of(cls, parts: Mapping[str, Any], directory: Path | None = None) -> Self:
        """Name parts of a config by their values."""
        where = str(directory.absolute()) if directory else f"{os.getpid()} {os.urandom(4).hex()}"
        content = {name: _fingerprint(part) for name, part in parts.items()}
        return cls(content, f"{socket.gethostname()}:{where}")


def _fingerprint(part: Any) -> str:
    text = json.dumps(part, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
