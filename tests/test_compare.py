"""`runner compare`, `ls` and `show` over real runs, without importing what trains them."""

from __future__ import annotations

import csv
import io
import json
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import CompletedRun, Once, commands_of, look, refusal, run_command, start_command

QUICK = ("model=logistic_regression", "compute.n_jobs=1", "plots=false")


def fill(folder: Path) -> None:
    """A sweep over data, models and seeds, a sweep with a job that can't run, and a search."""
    over = ("data=iris,wine", "model=logistic_regression,svm", "seed=1,2")
    assert run_command("-m", *over, "search=none", *QUICK[1:], cwd=folder).code == 0
    run_command("-m", "data=iris", *QUICK, "search=none", "model.C=2,-1", cwd=folder)
    assert run_command("data=iris", *QUICK, "search.n_iter=2", "seed=1", cwd=folder).code == 0


@pytest.fixture
def runs(once: Once) -> Path:
    """The folder that holds outputs/; tests only read it."""
    return once("compared", fill)


@pytest.fixture
def sweep(runs: Path) -> str:
    """The first sweep, as a path from the folder."""
    return str(sorted(runs.glob("outputs/sweeps/*/*"))[0].relative_to(runs))


@pytest.fixture
def single(runs: Path) -> str:
    """The run with a search, as a path from the folder."""
    (directory,) = runs.glob("outputs/runs/*/*")
    return str(directory.relative_to(runs))


def light(*args: str, cwd: Path, code: int = 0, env: dict[str, str] | None = None) -> CompletedRun:
    """Run a command that must import nothing heavy."""
    done = run_command(*args, cwd=cwd, env=env)
    assert done.code == code, done.err
    assert done.imported == ()
    return done


def records(*args: str, cwd: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(look("compare", *args, "--format=json", cwd=cwd).out)
    return rows


def blocks(text: str) -> list[list[str]]:
    return [block.splitlines() for block in text.strip().split("\n\n")]


def test_runs_of_other_data_get_tables_of_their_own(runs: Path, sweep: str) -> None:
    iris, wine = blocks(light("compare", sweep, cwd=runs).out)
    assert iris[0] == "iris, accuracy, 120 training and 30 test rows"
    assert wine[0] == "wine, accuracy, 142 training and 36 test rows"
    assert iris[1].split() == ["model", "seed", "CV", "accuracy", "test", "accuracy", "took", "run"]
    assert [line.split()[0] for line in iris[2:6]] == ["1", "2", "3", "3"]
    assert all(f"{sweep}/" in line for line in iris[2:6] + wine[2:6])
    assert "not ranked against each other" in wine[-1]


def test_rows_say_what_result_json_says(runs: Path) -> None:
    rows = records("outputs", cwd=runs)
    assert len(rows) == 11
    for row in rows:
        if row["status"] == "completed":
            result = json.loads((runs / row["path"] / "result.json").read_text())
            assert row["cv_mean"] == result["best"]["cv_mean"]
            assert row["test"] == result["best"]["test"]["accuracy"]
            assert [row["test_low"], row["test_high"]] == result["best"]["test_ci95"]
            assert row["data"] == result["name"]["data"]
    for group in {row["group"] for row in rows}:
        scores = [row["cv_mean"] for row in rows if row["group"] == group and row["rank"]]
        assert scores == sorted(scores, reverse=True)


def test_a_failed_job_has_a_row_with_its_error_and_comes_last(runs: Path) -> None:
    *_, last = records("outputs", "--filter", "data=iris", cwd=runs)
    assert (last["status"], last["rank"], last["cv_mean"]) == ("failed", None, None)
    assert "model.C: must be a float" in last["error"]
    assert last["model.C"] == -1
    shown = look("compare", "outputs", cwd=runs).out
    (line,) = [line for line in shown.splitlines() if "must be a float" in line]
    assert line.startswith("–")
    assert "failed" in line


def test_csv_has_the_columns_of_json(runs: Path) -> None:
    out = look("compare", "outputs", "--format", "csv", cwd=runs).out
    from_csv = list(csv.DictReader(io.StringIO(out)))
    from_json = records("outputs", cwd=runs)
    assert list(from_csv[0]) == list(from_json[0])
    assert [float(row["cv_mean"]) for row in from_csv if row["cv_mean"]] == [
        row["cv_mean"] for row in from_json if row["cv_mean"]
    ]


def test_markdown_has_a_table_for_each_group(runs: Path, sweep: str) -> None:
    lines = look("compare", sweep, "--format", "markdown", cwd=runs).out.splitlines()
    assert [line for line in lines if line.startswith("###")] == [
        "### iris, accuracy, 120 training and 30 test rows",
        "### wine, accuracy, 142 training and 36 test rows",
    ]
    assert len([line for line in lines if line.startswith("| ")]) == 12
    assert len({line.count("|") for line in lines if line.startswith("| ")}) == 1


def test_repeated_seeds_share_a_row_and_the_lead_is_tested_over_all_folds(
    runs: Path, sweep: str
) -> None:
    done = look("compare", sweep, "--group", "seed", cwd=runs)
    iris, _ = blocks(done.out)
    assert [line.split()[0] for line in iris[2:4]] == ["1", "2"]
    assert all("1, 2" in line and "±" in line for line in iris[2:4])
    assert "Nadeau & Bengio" in iris[4]
    assert "over the same 6 folds" in iris[4]
    rows = records(sweep, "--group", "seed", cwd=runs)
    assert [row["n"] for row in rows] == [2, 2, 2, 2]
    each = [row for row in records(sweep, cwd=runs) if row["data"] == "iris"]
    svm = [row["cv_mean"] for row in each if row["model"] == "svm"]
    (grouped,) = [row for row in rows if (row["data"], row["model"]) == ("iris", "svm")]
    assert grouped["cv_mean"] == pytest.approx(sum(svm) / 2)
    assert grouped["cv_spread"] == pytest.approx(abs(svm[0] - svm[1]) / 2**0.5)


def test_a_lead_is_tested_on_the_same_folds_only(runs: Path, sweep: str) -> None:
    one_seed = look("compare", sweep, "--filter", "data=wine", "--filter", "seed=1", cwd=runs).out
    assert "over the same 3 folds" in one_seed
    different = ("--filter", "data=wine", "--filter", "model=svm")
    assert "can't be tested" in look("compare", sweep, *different, cwd=runs).out


def test_sorting_filters_and_top(runs: Path) -> None:
    chosen = ("outputs", "--filter", "model=svm", "--filter", "data!=wine")
    rows = records(*chosen, "--by", "took", cwd=runs)
    assert {(row["model"], row["data"]) for row in rows} == {("svm", "iris")}
    assert [row["total_s"] for row in rows] == sorted(row["total_s"] for row in rows)
    assert len(records(*chosen, "--top", "1", cwd=runs)) == 1
    assert "model.C" in look("compare", "outputs", "--by", "model.C", cwd=runs).out


def test_any_folder_glob_or_file_names_runs_and_each_counts_once(runs: Path, sweep: str) -> None:
    elsewhere = runs / "outputs" / "sweeps"
    absolute = records(str(runs / sweep), cwd=elsewhere)
    assert len(absolute) == 8
    assert all(Path(row["path"]).is_dir() for row in absolute)
    assert len(records(f"{sweep}/*", cwd=runs)) == 8  # not expanded by a shell
    assert len(records(*sorted(map(str, (runs / sweep).iterdir())), cwd=runs)) == 8
    assert len(records(sweep, f"{sweep}/0", sweep + "/../", cwd=runs)) == 10


def test_commands_of_the_page_run(runs: Path) -> None:
    commands = commands_of("docs/compare.md")
    assert len(commands) == 6
    for arguments in commands:
        assert "iris" in look(*arguments, cwd=runs).out


def test_ls_has_a_line_for_each_run_and_sweep_newest_first(runs: Path, sweep: str) -> None:
    out = light("ls", cwd=runs).out
    header, search, failing, first = out.splitlines()
    assert header.split()[:4] == ["state", "data", "model", "search"]
    assert search.startswith("completed  ")
    assert failing.startswith("sweep of 2: 1 completed, 1 failed")
    assert first.startswith("sweep of 8: 8 completed")
    assert "iris, wine" in first
    assert first.endswith(sweep)
    lines = json.loads(look("ls", "outputs", "--format", "json", cwd=runs).out)
    assert [line["kind"] for line in lines] == ["run", "sweep", "sweep"]
    assert [line["n_failed"] for line in lines] == [0, 1, 0]
    assert lines[1]["cv_mean"] is not None
    assert lines[2]["cv_mean"] is None  # two data sets have no best
    jobs = look("ls", sweep, cwd=runs).out.splitlines()[1:]
    assert len(jobs) == 8
    assert look("ls", "--format", "csv", cwd=runs).out.startswith("kind,state,")


def test_show_says_how_it_ended_and_how_to_run_it_again(runs: Path, single: str) -> None:
    out = light("show", single, cwd=runs).out
    assert out.startswith("iris, logistic_regression, search random, seed 1, completed, started ")
    for part in ("baseline", "tuned", "Best parameters", "model.C", f"Files  {single}"):
        assert part in out
    assert "runner resume" not in out
    assert max(map(len, out.splitlines())) < 1000
    commands = {line[:12].strip(): line[12:] for line in out.splitlines()[-2:]}
    assert set(commands) == {"Run again", "Its winner"}
    assert commands["Run again"] == f"runner data=iris {' '.join(QUICK)} search.n_iter=2 seed=1"


@pytest.mark.slow
def test_the_command_of_the_winner_gives_its_score(runs: Path, single: str, folder: Path) -> None:
    out = look("show", str(runs / single), cwd=folder).out
    command = out.splitlines()[-1][12:]
    assert command.startswith(f"cd {shlex.quote(str(runs))} && runner ")
    program = f"{shlex.quote(sys.executable)} -m runner"
    there = command.replace(shlex.quote(str(runs)), shlex.quote(str(folder)), 1)
    there = there.replace("&& runner", f"&& {program}")
    subprocess.run(there, shell=True, check=True, capture_output=True, timeout=120)
    (result,) = folder.glob("outputs/runs/*/*/result.json")
    ours, theirs = (
        json.loads(path.read_text())["best"]["cv_mean"]
        for path in (result, runs / single / "result.json")
    )
    assert ours == theirs


def test_show_of_a_job_that_never_began_says_why(runs: Path) -> None:
    (failed,) = [row for row in records("outputs", cwd=runs) if row["status"] == "failed"]
    out = look("show", failed["path"], cwd=runs).out
    assert "The run failed: RequestError: model.C: must be a float" in out
    assert "model.C=-1" in out.splitlines()[-1]
    assert "runner resume" not in out  # there is nothing to go on with


def test_a_live_run_is_running_and_a_killed_one_interrupted(folder: Path) -> None:
    forest = ("data=wine", "model=random_forest", "compute.n_jobs=1", "search.n_iter=60")
    process = start_command(*forest, "seed=4", cwd=folder)
    deadline = time.monotonic() + 60
    try:
        while not list(folder.glob("outputs/runs/*/*/fits.jsonl")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (live,) = json.loads(look("ls", "--format", "json", cwd=folder).out)
        assert (live["state"], live["data"]) == ("running", "wine")
        assert live["n_fits"] >= 1
        assert live["total_s"] > 0
        assert ", running, started" in look("show", live["path"], cwd=folder).out
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (killed,) = json.loads(look("ls", "--format", "json", cwd=folder).out)
    assert killed["state"] == "interrupted"
    n_fits = (folder / killed["path"] / "fits.jsonl").read_bytes().count(b"\n")
    assert look("ls", cwd=folder).out.splitlines()[1].startswith(f"interrupted, {n_fits} fits")
    shown = look("show", killed["path"], cwd=folder).out
    assert f"{n_fits} fits done" in shown
    assert shown.splitlines()[-1].split(maxsplit=2)[2] == f"runner resume {killed['path']}"
    (row,) = records("outputs", cwd=folder)
    assert (row["status"], row["seed"], row["model"]) == ("interrupted", 4, "random_forest")


@pytest.fixture
def thousand(runs: Path, single: str, tmp_path: Path) -> Path:
    """A thousand run directories with the record of a real run, its values varied."""
    record = json.loads((runs / single / "result.json").read_text())
    state = json.loads((runs / single / "state.json").read_text())
    rng = random.Random(0)
    for number in range(1000):
        folds = [rng.random() for _ in range(3)]
        best = {**record["best"], "cv_scores": folds, "cv_mean": sum(folds) / 3}
        varied = {
            **record,
            "data": {**record["data"], "fingerprint": f"{number % 4:032x}"},
            "overrides": [
                f"model.C={rng.random():.4f}",
                f"preprocess={rng.choice(['auto', 'none'])}",
            ],
            "best": best,
        }
        if number % 50 == 0:
            error = {"type": "ValueError", "message": f"no {number}"}
            varied |= {"status": "failed", "best": None, "error": error}
        directory = tmp_path / "many" / f"day {number % 7}" / f"run {number}"
        directory.mkdir(parents=True)
        (directory / "result.json").write_text(json.dumps(varied))
        status = {"status": varied["status"], "started": state["started"] + number}
        (directory / "state.json").write_text(json.dumps({**state, **status}))
    return tmp_path


def test_a_thousand_runs(thousand: Path) -> None:
    rows = json.loads(light("compare", "many", "--format", "json", cwd=thousand).out)
    assert len(rows) == 1000
    assert [row["group"] for row in rows] == sorted(row["group"] for row in rows)
    assert len({row["group"] for row in rows}) == 4
    assert [row["error"] for row in rows].count(None) == 980
    assert len(blocks(look("compare", "many", "--top", "3", cwd=thousand).out)) == 4
    lines = look("ls", "many", cwd=thousand).out.splitlines()
    assert len(lines) == 1001
    assert [int(line.split("run ")[1].split()[0]) for line in lines[1:]] == [*range(999, -1, -1)]


def test_what_is_damaged_is_told_in_a_line_and_the_others_are_shown(
    thousand: Path, single: str, runs: Path
) -> None:
    broken = thousand / "few" / "a" / "result.json"
    for name, text in (("a", "{"), ("b", '{"schema": 1, "status": "completed"}')):
        (thousand / "few" / name).mkdir(parents=True)
        (thousand / "few" / name / "result.json").write_text(text)
    good = str(runs / single)
    for verb in ("compare", "ls"):
        done = look(verb, "few", good, "missing", cwd=thousand)
        assert len(done.err.splitlines()) == 3
        assert f"runner: {broken.relative_to(thousand)} is not valid JSON" in done.err
        assert "there is no folder 'missing'" in done.err
        assert good in done.out
        assert len(look(verb, "few", cwd=thousand, code=2).err.splitlines()) == 2
    assert "is not valid JSON" in refusal("show", "few/a", cwd=thousand)


MISTAKES = {
    "compar outputs": "there is no verb 'compar'; did you mean 'compare'?",
    "model.dropout 0.3": "there is no verb 'model.dropout'; verbs: compare, ",
    "compare": "the following arguments are required: DIR; see runner compare --help",
    "compare missing": "there is no folder 'missing'",
    "compare empty": "there is no run in 'empty'",
    "compare outputs --by cv_men": "--by: no run has 'cv_men'; did you mean 'cv_mean'?",
    "compare outputs --by x": "--by: no run has 'x'; there are rank, status, data",
    "compare outputs --filter modl=svm": "--filter: no run has 'modl'; did you mean 'model'?",
    "compare outputs --filter model=x": "--filter: none of 11 runs fits",
    "compare outputs --filter model": "--filter: 'model' must be written key=value",
    "compare outputs --format cvs": "--format: 'cvs' must be one of table, csv, json, markdown",
    "compare outputs --group sed": "--group: 'sed' must be one of seed; did you mean 'seed'?",
    "compare outputs --top none": "--top: 'none' must be a whole number, at least 1",
    "compare outputs --fromat csv": "there is no flag '--fromat'; did you mean '--format'?",
    "ls missing": "there is no folder 'missing'",
    "ls --format xml": "--format: 'xml' must be one of table, csv, json, markdown",
    "show": "the following arguments are required: RUN",
    "show outputs": "there are 11 runs in 'outputs'; runner ls lists them",
    "show empty": "there is no run in 'empty'",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistake_gets_one_line(line: str, runs: Path) -> None:
    (runs / "empty").mkdir(exist_ok=True)
    assert refusal(*line.split(), cwd=runs).startswith(MISTAKES[line])


def test_a_mistake_is_refused_by_the_command_too(folder: Path) -> None:
    done = light("compar", "outputs", cwd=folder, code=2)
    assert done.err == f"runner: {MISTAKES['compar outputs']}\n"
    assert "there is no folder 'outputs'" in light("ls", cwd=folder, code=2).err


def test_a_terminal_that_knows_ascii_only_gets_the_table_too(runs: Path) -> None:
    out = light("ls", cwd=runs, env={"PYTHONIOENCODING": "ascii"}).out
    assert "\\xb1" in out


def test_show_of_a_sweep_names_a_job(runs: Path, sweep: str) -> None:
    expected = f"'{sweep}' is a sweep of 8 jobs; name one, as in '{sweep}/0'"
    assert refusal("show", sweep, cwd=runs) == expected


@pytest.mark.parametrize("verb", ["compare", "ls", "show"])
def test_help_has_examples(verb: str, folder: Path) -> None:
    out = look(verb, "--help", cwd=folder).out
    assert out.startswith(f"usage: runner {verb}")
    assert out.count(f"  runner {verb} ") >= 2


@pytest.mark.parametrize("verb", ["compare", "ls"])
def test_looking_imports_little(verb: str, runs: Path) -> None:
    program = (sys.executable, "-X", "importtime", "-m", "runner")
    done = run_command(verb, "outputs", cwd=runs, program=program)
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines()}
    assert "runner.results.comparison.entry" in imported
    assert not imported & {
        "tensorflow",
        "keras",
        "sklearn",
        "pandas",
        "hydra",
        "scipy.stats",
        "joblib",
    }


def test_a_reader_that_has_seen_enough_is_no_error(thousand: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", "compare", "many", "--format", "json"],
        cwd=thousand,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"[\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
