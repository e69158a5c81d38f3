"""Run contenders side by side and write the table.

    python -m benchmarks [--rounds 3] [--output benchmarks/results] [WORKLOAD …]

Contenders take turns, round after round, each in a fresh process; the median over rounds counts.
Each workload has a file of its own, written when it is done, so that they can be run one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.workloads import WORKLOADS, Workload
from runner.results.environment import describe_environment

CONTENDERS = ("sklearn", "keras_tuner", "optuna", "ours")


@dataclass(frozen=True)
class Measured:
    """One run of one contender; ``process_s`` is the whole process, imports included."""

    workload: str
    contender: str
    round: int
    process_s: float
    search_s: float
    mean_score: float
    best_score: float
    peak_mib: float


def measure(workload: Workload, contender: str, round_number: int) -> Measured:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.contenders.{contender}", workload.name],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    process_s = time.perf_counter() - started
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        sys.exit(f"{contender} on {workload.name} failed:\n{done.stderr[-2000:]}")
    answer = json.loads(lines[-1].removeprefix("RESULT "))
    return Measured(
        workload.name,
        contender,
        round_number,
        process_s,
        answer["search_s"],
        statistics.mean(answer["scores"]),
        max(answer["scores"]),
        answer["peak_mib"],
    )


def contenders_for(workload: Workload) -> tuple[str, ...]:
    return CONTENDERS if workload.is_network else ("sklearn", "ours")


def table(measured: list[Measured]) -> str:
    """The medians, with spread, and how many times faster ours is."""
    lines = [
        "| workload | contender | search s | whole process s | mean CV | best CV | "
        "search, times ours | process, times ours |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for workload in dict.fromkeys(m.workload for m in measured):
        rows = [m for m in measured if m.workload == workload]
        ours = [m for m in rows if m.contender == "ours"]
        for contender in dict.fromkeys(m.contender for m in rows):
            mine = [m for m in rows if m.contender == contender]
            search, process = _column(mine, "search_s"), _column(mine, "process_s")
            search_ratio = statistics.median(search) / statistics.median(_column(ours, "search_s"))
            process_ratio = statistics.median(process) / statistics.median(
                _column(ours, "process_s")
            )
            lines.append(
                f"| {workload} | {contender} | {_spread(search)} | {_spread(process)} "
                f"| {statistics.median(_column(mine, 'mean_score')):.4f} "
                f"| {statistics.median(_column(mine, 'best_score')):.4f} "
                f"| {search_ratio:.1f} | {process_ratio:.1f} |"
            )
    return "\n".join(lines)


def _column(measured: list[Measured], name: str) -> list[float]:
    return [getattr(m, name) for m in measured]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    chosen = [WORKLOADS[name] for name in options.workloads or WORKLOADS]
    options.output.mkdir(parents=True, exist_ok=True)
    for workload in chosen:
        measured = [
            _reported(measure(workload, contender, round_number))
            for round_number in range(options.rounds)
            for contender in contenders_for(workload)
        ]
        about = {**describe_environment(), "machine": platform.processor() or platform.machine()}
        content = {"environment": about, "measured": [asdict(m) for m in measured]}
        (options.output / f"{workload.name}.json").write_text(json.dumps(content, indent=2))
    known = [options.output / f"{name}.json" for name in WORKLOADS]
    everything = [
        Measured(**one)
        for path in known
        if path.exists()
        for one in json.loads(path.read_text())["measured"]
    ]
    (options.output / "peers.md").write_text(table(everything) + "\n")
    sys.stdout.write(table(everything) + "\n")


def _reported(one: Measured) -> Measured:
    sys.stderr.write(
        f"{one.workload} round {one.round + 1} {one.contender}: search {one.search_s:.1f} s, "
        f"process {one.process_s:.1f} s, mean CV {one.mean_score:.4f}\n"
    )
    return one


if __name__ == "__main__":
    main()
