"""What the runner itself costs when there is a lot to do, as tables in Markdown.

    python -m benchmarks.scale [--quick] [PART …]

Fits are a stand-in's, which take a known time (`benchmarks/stand_in.py`). All else is real: runs
are commands, each a process of its own. `--quick` does a tenth of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.results.comparison.leaderboard import write_leaderboard
from runner.results.run_directory import RunDirectory
from runner.search.record import FitEntry, FitRecord

_ROOT = Path(__file__).resolve().parents[1]
_ALLOWED = {"RUNNER_ALLOW": "benchmarks.stand_in.*", "PYTHONPATH": str(_ROOT)}
_MODEL = "_target_: benchmarks.stand_in.StandIn\nfit_s: 0.0\nx: 0.0\n"
_RUN = ("model=stand_in", "data=wine", "preprocess=none", "cv=holdout", "plots=false")
_SPACE = "space.model.x={low:0.001,high:1.0}"
_FIT_S = 0.1

Table = Iterator[Sequence[object]]
"""Rows, of which the first is the header."""


@dataclass(frozen=True)
class Done:
    """A command that has ended: its folder, its seconds, and the most memory that it had."""

    folder: Path
    whole_s: float
    peak_mib: float

    @property
    def run(self) -> RunDirectory:
        (result,) = self.folder.glob("outputs/*/*/*/result.json")
        return RunDirectory(result.parent)

    @property
    def timing(self) -> dict[str, float]:
        timing: dict[str, float] = json.loads(self.run.result.read_text())["timing"]
        return timing


class Started:
    """A runner command under way, in a folder that has the stand-in as a model."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        (folder / "conf/model").mkdir(parents=True, exist_ok=True)
        (folder / "conf/model/stand_in.yaml").write_text(_MODEL)
        self._folder, self._started = folder, time.perf_counter()
        self._said = (folder / "said.txt").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runner", *arguments],
            cwd=folder,
            env={**os.environ, **_ALLOWED},
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> Done:
        _, status, usage = os.wait4(self._process.pid, 0)
        whole_s = time.perf_counter() - self._started
        with self._said:
            self._said.seek(0)
            if status:
                raise SystemExit(self._said.read().decode()[-2000:])
        return Done(self._folder, whole_s, usage.ru_maxrss / 1024)


def search(folder: Path, n_iter: int, *arguments: str) -> Done:
    return Started(folder, *_RUN, _SPACE, f"search.n_iter={n_iter}", *arguments).wait()


def workers(folder: Path, share: float) -> Table:
    """Fits per second, by the number of worker processes; the fits sleep, or take no time."""
    yield (
        *("workers", f"fits/s, of {1000 * _FIT_S:.0f} ms", "most possible", "reached"),
        *("fits/s, of 0 ms", "ms each", "start, s"),
    )
    for n_jobs in (1, 2, 4, 8):
        rates, start_s = [], 0.0
        for fit_s, n_fits in ((_FIT_S, 100 * n_jobs), (0.0, 2000)):
            n = max(20, int(n_fits * share))
            fits = (f"compute.n_jobs={n_jobs}", f"model.fit_s={fit_s}")
            done = search(folder / f"{n_jobs}-{fit_s}", n, *fits)
            began, ended = span(done.run.record)
            rates.append(n / (ended - began))
            start_s = done.timing["search_s"] - (ended - began)
        most = n_jobs / _FIT_S
        yield n_jobs, rates[0], most, f"{rates[0] / most:.0%}", rates[1], 1000 / rates[1], start_s


def span(record: Path) -> tuple[float, float]:
    """When the first fit of a search began and the last one ended, the baseline's aside."""
    times = [entry.at for entry in FitRecord(record) if entry.params["model.x"] != 0.0]
    return min(times), max(times)


def candidates(folder: Path, share: float) -> Table:
    """A random search of fits that take no time, on one fold, in one process."""
    yield (
        *("candidates", "whole, s", "search, s", "ms each", "afterwards, s", "memory, MiB"),
        *("fits.jsonl, MB", "reading it, s", "trials.csv, MB", "report.html, MB"),
    )
    for n_iter in (100, 1000, 10_000):
        n = max(10, int(n_iter * share))
        done = search(folder / str(n), n, "compute.n_jobs=1")
        search_s = done.timing["search_s"]
        yield (
            *(n, done.whole_s, search_s, 1000 * search_s / n),
            *(done.timing["total_s"] - search_s, done.peak_mib),
            *(megabytes(done.run.record), seconds(list, FitRecord(done.run.record))),
            *(megabytes(done.run.trials), megabytes(done.run.report)),
        )


def proposals(folder: Path, share: float) -> Table:
    """What proposing costs: Optuna's TPE, in batches of 4, fits that take no time."""
    yield "candidates", "in memory: search, s", "ms each", "SQLite: search, s", "ms each"
    for n_iter in (100, 1000, 3000):
        n = max(10, int(n_iter * share))
        row: list[object] = [n]
        for storage in ("null", "sqlite:///studies.db"):
            where = folder / f"{n}-{storage[:6]}"
            how = ("search=optuna", "compute.n_jobs=1", f"search.storage={storage}")
            search_s = search(where, n, *how).timing["search_s"]
            row += [search_s, 1000 * search_s / n]
        yield row


def shared(folder: Path, share: float) -> Table:
    """Runs that share a study, side by side; fits sleep, and batches are of one candidate."""
    yield "database", "runs", "candidates", "candidates/s", "most possible", "reached"
    for name, storage in _databases(folder):
        for n_runs in (1, 2, 4):
            n = max(8, int(100 * n_runs * share))
            study = ("search=optuna", "search.batch_size=1", f"search.study=of-{n_runs}")
            under_way = [
                Started(
                    folder / f"{name}-{n_runs}-{number}",
                    *(*_RUN, _SPACE, *study, f"search.n_iter={n}", f"model.fit_s={_FIT_S}"),
                    *("search/sampler=random", "compute.n_jobs=1", f"search.storage={storage}"),
                )
                for number in range(n_runs)
            ]
            spans = [span(started.wait().run.record) for started in under_way]
            # While all of them were there: each starts and ends at a time of its own.
            began = max(began for began, _ in spans)
            ended = min(ended for _, ended in spans)
            records = [FitRecord(path) for path in folder.glob(f"{name}-{n_runs}-*/**/fits.jsonl")]
            n_within = sum(
                entry.status == "completed" and began <= entry.at <= ended
                for entry in itertools.chain.from_iterable(records)
            )
            rate, most = n_within / (ended - began), n_runs / _FIT_S
            yield name, n_runs, n, rate, most, f"{rate / most:.0%}"


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "SQLite", f"sqlite:///{folder / 'studies.db'}"
    sys.path.append(str(_ROOT / "tests"))
    from postgresql import has_postgresql, postgresql

    if has_postgresql():
        with postgresql() as address:
            yield "PostgreSQL", address


def record(folder: Path, share: float) -> Table:
    """The record of fits by itself: ten parameters, one scorer."""
    yield "fits in the record", "MB", "reading it, s", "memory, MiB", "noting one more fit, ms"
    leaves = {f"model.parameter_{number}": 0.1 * number for number in range(10)}
    for n_fits in (10_000, 100_000, 300_000):
        n = int(n_fits * share)
        kept, before = FitRecord(folder / f"{n}.jsonl"), resident_mib()
        for number in range(n):
            _note_fit(kept, number, leaves)
        written_mb = megabytes(kept.path)
        read_s = seconds(kept.n_ended)
        more = [seconds(_begin_and_note_fit, kept, n + more, leaves) for more in range(50)]
        memory_mib = resident_mib() - before
        yield n, written_mb, read_s, memory_mib, 1000 * statistics.median(more)
        kept.path.unlink()


def _begin_and_note_fit(kept: FitRecord, number: int, leaves: dict[str, float]) -> None:
    """All that a fit asks of the record and writes there."""
    kept.find(f"{number:016x}", "fold")
    kept.n_failed()
    kept.usual_fit_s()
    _note_fit(kept, number, leaves)


def _note_fit(kept: FitRecord, number: int, leaves: dict[str, float]) -> None:
    fit = (f"{number:016x}", leaves, f"{number % 5:032x}")
    kept.append(FitEntry.started(*fit))
    kept.append(FitEntry.completed(*fit, f"{number % 5:032x}", {"accuracy": 0.5}, 0.1, []))


def sweep(folder: Path, share: float) -> Table:
    """A sweep whose jobs are one fit that takes no time, one after the other."""
    yield (
        *("jobs", "whole, s", "checking all before the first, s"),
        *("first tenth, s each", "last tenth, s each", "on disk, MB"),
    )
    for n_jobs in (10, 100, 1000):
        n = max(10, int(n_jobs * share))
        jobs = ("search=none", f"model.x=range({n})", "hydra.sweep.dir=sweep")
        started = time.time()
        done = Started(folder / str(n), "-m", *_RUN, *jobs).wait()
        states = [done.folder / "sweep" / str(number) / "state.json" for number in range(n)]
        began = [float(json.loads(state.read_text())["started"]) for state in states]
        each = [later - sooner for sooner, later in itertools.pairwise(began)]
        tenth = max(1, n // 10)
        size = sum(megabytes(path) for path in done.folder.rglob("*") if path.is_file())
        yield (
            *(n, done.whole_s, began[0] - started),
            # The very first imports what the others find imported.
            *(statistics.mean(each[1 : tenth + 1]), statistics.mean(each[-tenth:]), size),
        )
        shutil.rmtree(done.folder)


def compare(folder: Path, share: float) -> Table:
    """Looking at many runs: copies of one, each with a score of its own."""
    yield "runs", "runner compare, s", "runner ls, s", "a sweep's leaderboard, s"
    run = Started(folder / "one", *_RUN, "search=none").wait().run
    for n_runs in (100, 1000, 10_000):
        n = int(n_runs * share)
        copies = folder / str(n)
        for number in range(n):
            _copy(run, copies / str(number), number)
        looks = [Started(folder / "one", verb, str(copies)) for verb in ("compare",)]
        compare_s = looks[0].wait().whole_s
        ls_s = Started(folder / "one", "ls", str(copies)).wait().whole_s
        yield n, compare_s, ls_s, seconds(write_leaderboard, copies)
        shutil.rmtree(copies)


def _copy(run: RunDirectory, folder: Path, number: int) -> None:
    shutil.copytree(run.hydra, folder / ".hydra")
    for path in (run.state, run.config):
        shutil.copy(path, folder / path.name)
    result = json.loads(run.result.read_text())
    result["best"]["cv_mean"] += number * 1e-7
    result["overrides"].append(f"model.x={number}")
    (folder / "result.json").write_text(json.dumps(result, indent=2))


def seconds(call: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


PARTS: dict[str, Callable[[Path, float], Table]] = {
    part.__name__: part for part in (workers, candidates, proposals, shared, record, sweep, compare)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], metavar="PART")
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if len(parts) > 1:
        # What this process takes would count as the most memory that its children had.
        quick = ["--quick"] if options.quick else []
        for name in parts:
            subprocess.run([sys.executable, "-m", "benchmarks.scale", name, *quick], check=True)
        return
    load = os.getloadavg()[0]
    _say(f"\n{os.cpu_count()} cores, load {load:.1f} at the start; {platform.platform()}.")
    for name in parts:
        with tempfile.TemporaryDirectory() as folder:
            _say(f"\n{PARTS[name].__doc__}\n")
            for row in _with_rule(PARTS[name](Path(folder), 0.1 if options.quick else 1.0)):
                _say(f"| {' | '.join(map(_cell, row))} |")


def _with_rule(rows: Table) -> Table:
    header = next(rows)
    yield header
    yield ["---"] * len(header)
    yield from rows


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.1f}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
