"""Fits handed to processes, as joblib's workers take them."""

from __future__ import annotations

import pytest

from runner.compute import Pace
from runner.planning.schedule import Schedule, Task


def test_one_process_does_one_task_after_the_other() -> None:
    processes = Schedule(1, start_s=3.0)
    assert processes.run([Task(1.0), Task(2.0)]) == pytest.approx(3.0)
    assert processes.now_s == pytest.approx(6.0)


def test_processes_share_the_tasks_and_a_batch_waits_for_the_one_before() -> None:
    processes = Schedule(2)
    assert processes.run([Task(4.0), Task(1.0), Task(1.0)]) == pytest.approx(4.0)
    assert processes.run([Task(1.0), Task(1.0)]) == pytest.approx(1.0)
    assert processes.now_s == pytest.approx(5.0)


def test_each_process_compiles_an_architecture_once() -> None:
    task = Task(1.0, architecture="wide", compile_s=10.0)
    processes = Schedule(2)
    assert processes.run([task] * 4) == pytest.approx(12.0)
    assert processes.run([task] * 2) == pytest.approx(1.0)
    assert processes.run([Task(1.0, architecture="deep", compile_s=5.0)]) == pytest.approx(6.0)


def test_workers_take_over_when_they_pay() -> None:
    pace = Pace(n_fits=20, n_jobs=2, start_s=5.0, first_compiles=False)
    # 19 fits are left when the first is done: two processes save half of their time.
    assert Schedule(1).run_until_workers_pay([Task(1.0)] * 20, pace) == 1
    assert Schedule(1).run_until_workers_pay([Task(0.1)] * 20, pace) is None


def test_a_network_is_judged_by_its_second_epoch() -> None:
    pace = Pace(n_fits=20, n_jobs=2, start_s=5.0, first_compiles=True)
    task = Task(10.5, "wide", compile_s=2.0, epochs=10, epoch_s=1.0)
    schedule = Schedule(1)
    assert schedule.run_until_workers_pay([task] * 20, pace) == 0
    assert schedule.now_s == pytest.approx(2.0 + 0.5 + 2 * 1.0)
