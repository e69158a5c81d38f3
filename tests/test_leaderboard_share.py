"""Renewing the leaderboard of a sweep takes a bounded share of its time."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner.results.comparison import leaderboard
from runner.sweeps import job


@pytest.mark.parametrize(("renewal_s", "n_renewals"), [(0.0, 200), (0.025, 4)])
def test_a_leaderboard_that_takes_long_is_renewed_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renewal_s: float, n_renewals: int
) -> None:
    clock, renewals = [100.0], []

    def write(folder: Path, **_: Any) -> None:
        renewals.append(clock[0])
        clock[0] += renewal_s

    monkeypatch.setattr(leaderboard, "write_leaderboard", write)
    monkeypatch.setattr(job, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for _ in range(200):  # jobs of 10 ms
        job._renew_leaderboard(tmp_path, ())
        clock[0] += 0.01
    assert len(renewals) == n_renewals
