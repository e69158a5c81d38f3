"""Tasks of joblib on a cluster: shared data, deaths, and what a worker makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from joblib import Parallel, delayed

from runner.clusters import worker
from runner.clusters.agreement import Probe, disagreement, facts
from runner.clusters.cluster import WorkerLostError
from runner.clusters.parallel import Station, fits_on
from runner.clusters.worker import Terms
from runner.errors import ExperimentError


class OneProcess:
    """A cluster whose workers are threads of this process; some of them die."""

    def __init__(self, deaths: int = 0) -> None:
        self.deaths, self.n_shared, self.n_recovered, self.sizes = deaths, 0, 0, []

    def share(self, value: Any) -> Any:
        self.n_shared += 1
        return [value]

    def is_shared(self, handle: Any) -> bool:
        return True

    def run(self, task: Callable[..., Any], *handles: Any) -> Any:
        sent = cloudpickle.dumps(task)
        self.sizes.append(len(sent))
        if self.deaths > 0:
            self.deaths -= 1
            raise WorkerLostError("it is gone")
        return cloudpickle.loads(sent)(*(value for (value,) in handles))

    def cancel(self) -> None:
        pass

    def recover(self) -> None:
        self.n_recovered += 1


@pytest.fixture(autouse=True)
def _fresh_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(worker, "_begun", None)
    return iter([None])


def terms(**given: Any) -> Terms:
    return Terms(threads=1, is_network=False, device="cpu", **given)


def mean(rows: np.ndarray, index: int, scale: float = 1.0) -> float:
    return float(rows[index].mean() * scale)


def means(cluster: OneProcess, n_jobs: int = 2, retries: int = 1, **given: Any) -> list[float]:
    rows = np.arange(2e5).reshape(4, -1)
    with fits_on(Station(cluster, terms(**given)), [rows], n_jobs, retries):
        return Parallel(n_jobs=n_jobs)(delayed(mean)(rows, i, scale=2.0) for i in range(4))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_shared_values_are_sent_once_and_stand_for_themselves(n_jobs: int) -> None:
    cluster = OneProcess()
    rows = np.arange(2e5).reshape(4, -1)
    assert means(cluster, n_jobs) == [2 * float(row.mean()) for row in rows]
    assert cluster.n_shared == 1
    assert len(cluster.sizes) == 4
    assert max(cluster.sizes) < 10_000


def test_a_death_costs_its_task_only() -> None:
    cluster = OneProcess(deaths=1)
    assert means(cluster) == means(OneProcess())
    assert cluster.n_recovered == 1
    assert len(cluster.sizes) == 5


def test_deaths_beyond_the_retries_are_raised() -> None:
    with pytest.raises(WorkerLostError):
        means(OneProcess(deaths=100), retries=2)


def test_a_worker_with_other_versions_that_joins_later_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"a worker has numpy .* in place of 0.1"):
        means(OneProcess(), facts={**facts(), "numpy": "0.1"})


class UnpicklableError(Exception):
    def __reduce__(self) -> str:
        raise TypeError("can't be pickled")


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (lambda: ValueError("no"), ValueError),
        (lambda: UnpicklableError("no"), RuntimeError),
        (lambda: KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_a_task_raises_is_raised_here(
    error: Callable[[], BaseException], raised: type[BaseException]
) -> None:
    def fail() -> None:
        raise error()

    cluster = OneProcess()
    with pytest.raises(raised), fits_on(Station(cluster, terms()), [], 2, 1):
        Parallel(n_jobs=2)(delayed(fail)() for _ in range(1))
    assert cluster.n_recovered == 0


def test_nested_work_stays_in_the_worker() -> None:
    def inner() -> set[str]:
        named = Parallel(n_jobs=2)(delayed(lambda: type(_backend()).__name__)() for _ in range(2))
        return set(named)

    def _backend() -> Any:
        from joblib.parallel import get_active_backend

        return get_active_backend()[0]

    with fits_on(Station(OneProcess(), terms()), [], 2, 1):
        (names,) = Parallel(n_jobs=2)(delayed(inner)() for _ in range(1))
    assert names == {"SequentialBackend"}


def test_secrets_are_known_to_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner import secrets

    monkeypatch.setattr(secrets, "_told", ())

    def masked() -> str:
        return secrets.mask("it is swordfish")

    with fits_on(Station(OneProcess(), terms(secrets=("swordfish",))), [], 2, 1):
        assert Parallel(n_jobs=2)(delayed(masked)() for _ in range(1)) == ["it is ***"]


def test_own_modules_are_imported_as_they_are_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path])

    def version() -> int:
        import own_parts_of_mine

        return int(own_parts_of_mine.VERSION)

    found = []
    for number in (1, 22):
        (tmp_path / "own_parts_of_mine.py").write_text(f"VERSION = {number}\n")
        station = Station(OneProcess(), terms(folder=tmp_path))
        with fits_on(station, [], 2, 1):
            found += Parallel(n_jobs=2)(delayed(version)() for _ in range(1))
    assert found == [1, 22]


def test_stopping_cancels_what_has_not_begun() -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(OneProcess):
        def run(self, task: Callable[..., Any], *handles: Any) -> Any:
            began.set()
            go_on.wait(10)
            return super().run(task, *handles)

        def cancel(self) -> None:
            self.deaths = 100
            go_on.set()

    cluster = Slow()

    def interrupted() -> None:
        with fits_on(Station(cluster, terms()), [], 2, retries=5):
            tasks = (delayed(mean)(np.ones((1, 1)), 0) for _ in range(9))
            running = Parallel(n_jobs=2, return_as="generator")(tasks)
            assert began.wait(10)
            raise KeyboardInterrupt
        del running

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(cluster.sizes) <= 2
    assert cluster.n_recovered == 0


def test_a_worker_must_agree_and_see_the_files(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    path.write_text("seen")
    assert disagreement(Probe(facts(), path, "seen")) == ""
    assert "does not see" in disagreement(Probe(facts(), path, "other"))
    assert "does not see" in disagreement(Probe(facts(), tmp_path / "none", "seen"))
    others = {**facts(), "keras": "1.0", "python": "3.12.0"}
    problem = disagreement(Probe(others, path, "seen"))
    assert problem.startswith("has python 3.11")
    assert "in place of 3.12.0, keras" in problem
