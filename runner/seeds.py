"""Every random choice gets a seed of its own, by name, from the one seed of the experiment."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *names: object) -> int:
    """Derive the seed of one purpose; independent of when or in which process it is asked for.

    Parameters
    ----------
    seed
        The experiment's seed.
    names
        What the seed is for, e.g. the fold's fingerprint and ``"weights"``.

    Returns
    -------
    int
        In [0, 2**31).
    """
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1
