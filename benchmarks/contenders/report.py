"""What every contender says when it is done."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Sequence


def report(search_s: float, scores: Sequence[float]) -> None:
    """Print seconds of the search alone, mean CV score of each candidate, and peak memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = {"search_s": search_s, "scores": list(map(float, scores)), "peak_mib": peak}
    sys.stdout.write(f"\nRESULT {json.dumps(answer)}\n")
