"""Runs and sweeps on a real MLflow server, which comes and goes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import CompletedRun, run_command, start_command, sweep_of
from mlflow_server import MlflowServer, children, content, files, history, read_back, top
from processes import wait_until

from runner.results.run_directory import RunDirectory
from runner.results.trials import read_trials
from runner.search.curves import read_curves

pytestmark = pytest.mark.slow

NETWORK = (
    *("data=iris", "model=mlp", "model.hidden_layer_one=16", "model.hidden_layer_two=8"),
    *("training.epochs=3", "cv.n_splits=2", "compute.n_jobs=1", "search.n_iter=2"),
)
# About ten seconds of fits in a process.
LONG = (
    *("data=digits", "model=random_forest", "compute.n_jobs=1", "plots=false"),
    *("search=grid", "space=none", "space.model.n_estimators=[300,301,302,303,304,305,306,307]"),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


def track(*words: str, cwd: Path) -> CompletedRun:
    return run_command("track", *words, cwd=cwd)


def test_a_run_its_candidates_curves_and_files_are_on_the_server(
    server: MlflowServer, folder: Path, tmp_path: Path
) -> None:
    name = f"tracking.mlflow.experiment={folder.parent.name}"
    done = run_command(*NETWORK, *server.chosen, name, cwd=folder)
    assert done.code == 0, done.err
    assert "logged to http://127.0.0.1" in done.err
    for noise in ("🏃", "INFO mlflow", "alembic", "Traceback"):
        assert noise not in done.out + done.err
    assert {path.name for path in folder.iterdir()} == {"outputs"}

    runs, result = read_back(server.uri, folder.parent.name), done.result
    run = top(runs)
    assert run.name == done.directory.name
    assert run.status == "FINISHED"
    assert run.params["model.hidden_layer_one"] == "16"
    best = result["best"]
    assert {k: v for k, v in run.params.items() if k.startswith("best/")} == {
        f"best/{path}": value if isinstance(value, str) else json.dumps(value)
        for path, value in best["params"].items()
    }
    assert run.metrics["cv/accuracy"] == best["cv_mean"]
    assert run.metrics["cv/accuracy_std"] == best["cv_std"]
    assert run.metrics["test/accuracy"] == best["test"]["accuracy"]
    low, high = run.metrics["test/accuracy_low"], run.metrics["test/accuracy_high"]
    assert [low, high] == best["test_ci95"]
    assert run.metrics["baseline/test/accuracy"] == result["baseline"]["test"]["accuracy"]
    assert run.metrics["comparison/p_value"] == result["comparison"]["p_value"]

    directory = RunDirectory(done.directory)
    refits = {each.refit: each.curves for each in read_curves(directory.curves) if each.refit}
    for prefix, refit in (("", "best"), ("baseline/", "baseline")):
        curve = list(enumerate(refits[refit]["loss"], start=1))
        assert len(curve) >= 3
        assert history(server.uri, run, f"{prefix}epoch/loss") == curve

    candidates = children(runs, run)
    scores = [*read_trials(directory.trials)["mean_test_score"], result["baseline"]["cv_mean"]]
    found = sorted(each.metrics["cv/accuracy"] for each in candidates)
    assert found == pytest.approx(sorted(scores))
    assert all(len(history(server.uri, each, "fold/accuracy")) == 2 for each in candidates)
    assert all(history(server.uri, each, "epoch/loss") for each in candidates)
    roles = {each.tags["role"]: each for each in candidates if "role" in each.tags}
    assert roles["winner"].metrics["cv/accuracy"] == pytest.approx(best["cv_mean"])
    if best["params"] != result["baseline"]["params"]:
        baseline = roles["baseline"].metrics["cv/accuracy"]
        assert baseline == pytest.approx(result["baseline"]["cv_mean"])

    copied = files(server.uri, run)
    own = {"result.json", "trials.csv", "report.html", "config.yaml", "model/network.keras"}
    assert own <= copied
    assert any(path.startswith("plots/") for path in copied)
    for path in ("result.json", "model/network.keras"):
        sent = content(server.uri, run, path, tmp_path / "down")
        assert sent == (done.directory / path).read_bytes()

    curves = history(server.uri, run, "epoch/loss")
    again = track(str(done.directory), cwd=folder)
    assert again.code == 0, again.err
    assert "logged to" in again.out
    assert [each.id for each in read_back(server.uri, folder.parent.name)] == [r.id for r in runs]
    assert history(server.uri, run, "epoch/loss") == curves


def test_what_was_cut_short_is_completed_and_not_doubled(
    server: MlflowServer, folder: Path
) -> None:
    experiment = folder.parent.name
    chosen = [*server.chosen, f"tracking.mlflow.experiment={experiment}"]
    done = run_command(*NETWORK, *chosen, "search=none", cwd=folder)
    assert done.code == 0, done.err
    before = read_back(server.uri, experiment)
    curve = history(server.uri, top(before), "epoch/loss")
    from mlflow.tracking import MlflowClient

    for run in before:
        MlflowClient(tracking_uri=server.uri).delete_tag(run.id, "runner.logged")
    assert track(str(done.directory), cwd=folder).code == 0
    after = read_back(server.uri, experiment)
    assert [run.id for run in after] == [run.id for run in before]
    assert all("runner.logged" in run.tags for run in after)
    assert history(server.uri, top(after), "epoch/loss") == curve


def test_sweep_is_a_parent_and_its_jobs_are_children(server: MlflowServer, folder: Path) -> None:
    experiment = folder.parent.name
    chosen = [*server.chosen, f"tracking.mlflow.experiment={experiment}"]
    jobs = ("model=logistic_regression,svm", "data=iris", "search=none", "plots=false")
    done = run_command("-m", "hydra/launcher=joblib", *jobs, *chosen, cwd=folder)
    assert done.code == 0, done.err
    runs = read_back(server.uri, experiment)
    sweep = top(runs)
    assert sweep.status == "FINISHED"
    assert {"leaderboard.csv", "sweep.json"} <= files(server.uri, sweep)
    record = json.loads((sweep_of(folder) / "sweep.json").read_text())
    of_sweep = children(runs, sweep)
    assert {run.tags["model"] for run in of_sweep} == {"logistic_regression", "svm"}
    assert {run.status for run in of_sweep} == {"FINISHED"}
    by_name = {run.name: run.metrics["cv/accuracy"] for run in of_sweep}
    assert by_name == {f"job {job['number']}": job["cv_mean"] for job in record["jobs"]}
    assert sweep.metrics["winner/cv"] == max(by_name.values())
    assert all(len(children(runs, job)) == 1 for job in of_sweep)

    assert track(str(sweep_of(folder)), cwd=folder).code == 0
    assert [run.id for run in read_back(server.uri, experiment)] == [run.id for run in runs]


def test_interrupted_run_is_killed_there_and_goes_on_in_the_same_place(
    server: MlflowServer, folder: Path
) -> None:
    experiment = folder.parent.name
    chosen = [*server.chosen, f"tracking.mlflow.experiment={experiment}"]
    process = start_command(*LONG, *chosen, cwd=folder)
    # Candidates are logged while the search goes on.
    wait_until(lambda: len(read_back(server.uri, experiment)) > 1, "a candidate")
    assert {run.status for run in read_back(server.uri, experiment)} <= {"RUNNING", "FINISHED"}
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    (before,) = (run for run in read_back(server.uri, experiment) if run.parent is None)
    assert before.status == "KILLED"
    (directory,) = folder.glob("outputs/runs/*/*")
    resumed = run_command("resume", str(directory), cwd=folder)
    assert resumed.code == 0, resumed.err
    runs = read_back(server.uri, experiment)
    assert top(runs).id == before.id
    assert top(runs).status == "FINISHED"
    assert len(children(runs, before)) == 9
    assert {run.status for run in children(runs, before)} == {"FINISHED"}


def test_failed_run_says_why(server: MlflowServer, folder: Path) -> None:
    experiment = folder.parent.name
    chosen = [*server.chosen, f"tracking.mlflow.experiment={experiment}"]
    broken = ("data=iris", "model=mlp", "optimizer.learning_rate=1e30", "search=none")
    done = run_command(*broken, "training.epochs=2", *chosen, cwd=folder)
    assert done.code == 1
    run = top(read_back(server.uri, experiment))
    assert run.status == "FAILED"
    assert "every fit failed" in run.tags["error"]
    assert {"result.json", "run.log"} <= files(server.uri, run)


def test_server_that_dies_costs_a_line_and_is_caught_up_with(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "own").mkdir()
    server = MlflowServer(tmp_path / "own")
    server.start()
    try:
        process = start_command(*LONG, *server.chosen, cwd=folder, keeps_output=True)
        wait_until(lambda: len(read_back(server.uri)) > 1, "a candidate")
        assert process.poll() is None
        server.kill()
        said = process.communicate(timeout=120)[0].decode()
        assert process.returncode == 0, said
        (directory,) = folder.glob("outputs/runs/*/*")
        # Nothing waited for it.
        assert time.time() - (directory / "result.json").stat().st_mtime < 20
        shown = f"log it with: python -m runner track {directory.relative_to(folder)}"
        assert said.count("tracking=mlflow:") == 1, said
        assert f"{server.uri} does not answer" in said
        assert shown in said
        assert "Traceback" not in said
        assert "Retrying" not in said

        assert track(str(directory), cwd=folder).code == 1
        server.start()
        done = track(str(directory.relative_to(folder)), cwd=folder)
        assert done.code == 0, done.err
        runs = read_back(server.uri)
        assert top(runs).status == "FINISHED"
        assert len(children(runs, top(runs))) == 9
        result = json.loads((directory / "result.json").read_text())
        assert top(runs).metrics["test/accuracy"] == result["best"]["test"]["accuracy"]
    finally:
        server.kill()


def test_sweep_whose_server_died_is_caught_up_with(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "own").mkdir()
    server = MlflowServer(tmp_path / "own")
    sweep = ("-m", "model=logistic_regression,svm", "data=iris", "search=none", "plots=false")
    done = run_command(*sweep, *server.chosen, cwd=folder)
    assert done.code == 0, done.err
    # One line at the start, and one at the end; none from the jobs.
    assert done.err.count("tracking=mlflow:") == 2
    server.start()
    try:
        assert track(str(sweep_of(folder)), cwd=folder).code == 0
        runs = read_back(server.uri)
        assert len(children(runs, top(runs))) == 2
    finally:
        server.kill()
