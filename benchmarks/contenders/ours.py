"""The runner's own command, in a folder that is thrown away."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.contenders.report import report
from benchmarks.workloads import MNIST, WORKLOADS, Workload
from runner.__main__ import main as run_command
from runner.config.overrides import to_override
from runner.results.trials import read_trials


def overrides(workload: Workload) -> list[str]:
    """The command line that runs the workload."""
    model = "random_forest" if not workload.is_network else workload.model
    lines = [f"data={workload.data}", f"model={model}", "search=grid", "space=none"]
    lines += [to_override(f"model.{name}", value) for name, value in workload.fixed.items()]
    for name, values in workload.space.items():
        section = "optimizer" if name == "learning_rate" else "model"
        lines.append(to_override(f"space.{section}.{name}", values))
    if workload.is_network:
        lines += [
            f"training.epochs={workload.epochs}",
            f"training.batch_size={workload.batch_size}",
        ]
    if workload.data == "mnist":
        lines.append(f"data.path={MNIST}")
    if workload.limit is not None:
        lines.append(f"data.limit={workload.limit}")
    return lines


def main() -> None:
    workload = WORKLOADS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.argv = ["runner", *overrides(workload), "-q"]
        try:
            run_command()
        except SystemExit as ended:
            if ended.code:
                raise
        (result,) = Path().glob("outputs/runs/*/*/result.json")
        search_s = json.loads(result.read_text())["timing"]["search_s"]
        report(search_s, read_trials(result.with_name("trials.csv"))["mean_test_score"])
        os.chdir("/")


if __name__ == "__main__":
    main()
