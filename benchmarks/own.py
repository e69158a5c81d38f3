"""What the runner costs by itself: steps, starts, candidates, memory, halving.

python -m benchmarks.own [--output benchmarks/results] [MEASURE …]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.search.record import FitEntry, FitRecord

_ROUNDS = 3
_EPOCHS = 81
_SEEDS = 3
_ROUNDING = 1e-9
_DIGITS = ("model.hidden_layer_one=64", "model.hidden_layer_two=64", "compute.n_jobs=1")
_SPACE = (
    "space=none",
    "space.model.dropout={low:0.0,high:0.5}",
    "space.optimizer.learning_rate={low:1e-4,high:1e-1,log:true}",
    "space.training.batch_size=[16,32,64]",
)


def seconds(command: Sequence[str], cwd: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    return time.perf_counter() - started


def startup() -> dict[str, float]:
    """Seconds to help, to the config and to a config error, beside importing TensorFlow."""
    runner = [sys.executable, "-m", "runner"]
    commands = {
        "import tensorflow": [sys.executable, "-c", "import tensorflow"],
        "--help": [*runner, "--help"],
        "--cfg job": [*runner, "--cfg", "job"],
        "config error": [*runner, "training.epochs=0"],
        "data error": [*runner, "data.limit=20"],
    }
    with tempfile.TemporaryDirectory() as folder:
        rounds = [
            {name: seconds(command, folder) for name, command in commands.items()}
            for _ in range(2 * _ROUNDS)
        ]
    return {name: statistics.median(r[name] for r in rounds) for name in commands}


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    """Run the command in this process; return its result with the time of the best fit."""
    from runner.app import run_app

    os.chdir(folder)
    before = set(folder.glob("outputs/runs/*/*"))
    if run_app([*overrides, "-q"]):
        raise SystemExit(f"failed: {overrides}")
    (directory,) = set(folder.glob("outputs/runs/*/*")) - before
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    result["directory"] = directory
    return result


def candidates() -> dict[str, float]:
    """Seconds per candidate of a search of 20 and of 200."""
    per_candidate: dict[int, list[float]] = {20: [], 200: []}
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), "search.n_iter=2", "training.epochs=2", *_DIGITS, *_SPACE)
        for _ in range(_ROUNDS):
            for n_iter, found in per_candidate.items():
                result = run(
                    Path(folder), f"search.n_iter={n_iter}", "training.epochs=2", *_DIGITS, *_SPACE
                )
                found.append(result["timing"]["search_s"] / n_iter)
        os.chdir("/")
    return {f"{n} candidates, s each": statistics.median(s) for n, s in per_candidate.items()}


def memory() -> dict[str, float]:
    """Resident memory (MiB) of one process after 50 and after 300 fits of different candidates."""
    from sklearn.datasets import load_digits

    from runner.estimator.base import ConfigClassifier

    images = load_digits()
    X, y = images.images.astype("uint8")[:600], images.target[:600]
    measured = {}
    for fit in range(1, 301):
        # A new architecture every third fit: graphs come and go.
        model = {"hidden_layer_one": 16 + fit // 3, "hidden_layer_two": 16, "dropout": 0.1}
        model["_target_"] = "runner.models.networks.mlp"
        ConfigClassifier({"model": model, "training": {"epochs": 2}}, seed=fit).fit(X, y).predict(X)
        if fit in (50, 300):
            measured[f"after {fit} fits, MiB"] = _resident_mib()
    measured["peak, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return measured


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def halving() -> dict[str, float]:
    """Time to the random search's best CV score; epochs trained against the fewest possible."""
    from runner.training.session import Session

    trained = [0]
    run_epoch = Session.run_epoch

    def counted(self: Session, *arguments: Any) -> dict[str, float]:
        trained[0] += 1
        return run_epoch(self, *arguments)

    Session.run_epoch = counted  # type: ignore[method-assign]
    answer: dict[str, float] = {}
    common = ("search.n_iter=40", f"training.epochs={_EPOCHS}", "plots=false", *_DIGITS, *_SPACE)
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), "search=random", "search.n_iter=2", "training.epochs=2", *common[2:])
        for seed in range(_SEEDS):
            goal = 0.0
            for search in ("random", "halving", "optuna"):
                started, trained[0] = time.time(), 0
                result = run(Path(folder), f"search={search}", f"seed={seed}", *common)
                course = _course(result["directory"], started)
                best = max(score for _, score in course)
                goal = goal or best - _ROUNDING
                reached = [at for at, score in course if score >= goal]
                name = f"seed {seed}, {search}"
                answer[f"{name}: search s"] = result["timing"]["search_s"]
                answer[f"{name}: best CV"] = best
                answer[f"{name}: s to random's best"] = min(reached, default=float("nan"))
                if search == "halving":
                    answer[f"{name}: epochs trained"] = trained[0] - _epochs_beside(result)
                    answer[f"{name}: fewest possible"] = _fewest_epochs(result["directory"])
        os.chdir("/")
    return answer


def _course(directory: Path, started: float) -> list[tuple[float, float]]:
    """(seconds since the start, mean CV score) of each candidate, when its last fold was done."""
    folds: dict[str, list[Any]] = {}
    for entry in _completed(directory):
        folds.setdefault(entry.candidate, []).append(entry)
    return [
        (
            max(e.at for e in entries) - started,
            statistics.mean(e.scores["accuracy"] for e in entries),
        )
        for entries in folds.values()
    ]


def _completed(directory: Path) -> list[FitEntry]:
    return [e for e in FitRecord(directory / "fits.jsonl") if e.status == "completed"]


def _epochs_beside(result: dict[str, Any]) -> int:
    """Epochs of the baseline's folds, and of refitting it and the winner, if that is another."""
    n_refits = 1 if result["best"]["cv_scores"] == result["baseline"]["cv_scores"] else 2
    return (3 + n_refits) * _EPOCHS


def _fewest_epochs(directory: Path) -> int:
    """Epochs that the search needs when none is trained twice: each candidate's last rung."""
    last: dict[tuple[Any, ...], int] = {}
    for entry in _completed(directory):
        params = {k: v for k, v in entry.params.items() if k != "training.epochs"}
        key = (json.dumps(params, sort_keys=True), entry.fold)
        last[key] = max(last.get(key, 0), entry.params["training.epochs"])
    # The baseline has its own fits, which are no part of the search.
    return sum(last.values()) - 3 * _EPOCHS


def steps() -> dict[str, float]:
    """Microseconds per training step, beside a loop written by hand."""
    from benchmarks.steps import steps as measure

    return measure()


def stacked() -> dict[str, float]:
    """Several fits as one batched computation, beside one after the other."""
    from benchmarks.steps import stacked as measure

    return measure()


MEASURES: dict[str, Callable[[], dict[str, float]]] = {
    "steps": steps,
    "stacked": stacked,
    "startup": startup,
    "candidates": candidates,
    "memory": memory,
    "halving": halving,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], default=[])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    output = options.output.absolute()
    found = {name: MEASURES[name]() for name in options.measures or MEASURES}
    output.mkdir(parents=True, exist_ok=True)
    (output / "own.json").write_text(json.dumps(found, indent=2))
    for name, values in found.items():
        for what, value in values.items():
            sys.stdout.write(f"{name}: {what}: {value:.4g}\n")


if __name__ == "__main__":
    main()
