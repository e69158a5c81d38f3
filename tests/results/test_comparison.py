"""Which runs rank against each other, in which order, and what they can be chosen by."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from entries import IRIS, of_seed, run

from runner.errors import RequestError
from runner.results.comparison.board import board_records, make_boards
from runner.results.comparison.board_tables import board_tables
from runner.results.comparison.entry import Entry, read_entry
from runner.results.comparison.find import find
from runner.results.comparison.keys import filtered, parse_filter
from runner.results.comparison.listing import count_fits
from runner.results.comparison.ranking import comparable, rank_groups, sweep_status
from runner.results.run_directory import RunDirectory
from runner.results.schema import DataSummary


def ranks(entries: list[Entry], by_seed: bool = False) -> list[list[tuple[int | None, str]]]:
    return [
        [(row.rank, row.first.path.name) for row in group.rows]
        for group in rank_groups(entries, by_seed)
    ]


def groups(entries: list[Entry]) -> list[set[str]]:
    return [{entry.path.name for entry in group} for group in comparable(entries)]


def test_the_best_comes_first_ties_share_a_rank_and_failures_come_last():
    entries = [
        run("failed", status="failed"),
        run("c", 0.7),
        run("stopped", status="interrupted"),
        run("a", 0.9),
        run("live", status="running"),
        run("b", 0.9),
        run("d", -0.2),
    ]
    expected = [(1, "a"), (1, "b"), (3, "c"), (4, "d")]
    assert ranks(entries) == [[*expected, (None, "live"), (None, "stopped"), (None, "failed")]]


def test_other_data_and_other_scoring_are_ranked_apart():
    entries = [
        run("a", 0.9),
        run("limited", 0.8, data_summary=DataSummary(60, 30, (4,), 3, "iris-limited")),
        run("b", 0.7),
        run("f1", 0.6, scoring="f1_macro"),
        run("wine", 0.5, data="wine", data_summary=DataSummary(142, 36, (13,), 3, "wine-0")),
    ]
    assert groups(entries) == [{"a", "b"}, {"limited"}, {"f1"}, {"wine"}]
    assert [record["group"] for record in board_records(make_boards(entries))] == [1, 1, 2, 3, 4]
    notes = [note for table in board_tables(make_boards(entries)) for note in table.notes]
    assert sum("not ranked against each other" in note for note in notes) == 1


def test_seeds_split_the_same_data_anew_and_are_ranked_together():
    entries = [
        of_seed(seed, f"{model}{seed}", 0.9, f"model={model}") for model in "ab" for seed in (1, 2)
    ]
    assert groups(entries) == [{"a1", "a2", "b1", "b2"}]


def test_data_that_changed_between_runs_of_one_seed_is_other_data():
    """Nothing says then to which of the two a run with another seed belongs."""
    changed = replace(IRIS, fingerprint="iris-1 edited")
    entries = [
        of_seed(1, "old", 0.9),
        run("new", 0.8, seed=1, data_summary=changed, overrides=("seed=1",)),
        of_seed(2, "other seed", 0.7),
    ]
    assert groups(entries) == [{"old"}, {"new"}, {"other seed"}]


def test_a_shipped_split_does_not_follow_the_seed_so_another_fingerprint_is_other_data():
    edited = replace(IRIS, fingerprint="edited")
    entries = [run("a", seed=1), run("b", seed=2), run("c", seed=3, data_summary=edited)]
    assert groups(entries) == [{"a", "b"}, {"c"}]


@pytest.mark.parametrize("override", ["data.path=other.csv", "data.target=other"])
def test_another_file_or_target_with_another_seed_is_other_data(override):
    entries = [of_seed(1, "a", 0.9, "data.path=a.csv"), of_seed(2, "b", 0.9, override)]
    assert groups(entries) == [{"a"}, {"b"}]


def test_an_override_that_says_the_default_leaves_data_the_same():
    entries = [run("a", 0.9), run("b", 0.8, overrides=("data.test_size=0.2",))]
    assert groups(entries) == [{"a", "b"}]


def test_runs_that_never_reached_their_data_join_that_of_the_same_name():
    wine = DataSummary(142, 36, (13,), 3, "wine-0")
    nothing = {"scoring": None, "data_summary": None, "fingerprint": None, "seed": None}
    entries = [
        run("bad digits", status="failed", **{**nothing, "data": "digits"}),
        run("bad wine", status="failed", **{**nothing, "data": "wine"}),
        run("iris", 0.9),
        run("wine", 0.9, data="wine", data_summary=wine),
        run("killed", status="interrupted", **{**nothing, "data": "", "fingerprint": "wine-0"}),
    ]
    assert groups(entries) == [{"iris"}, {"wine", "bad wine", "killed"}, {"bad digits"}]


def test_runs_that_differ_only_in_seed_share_a_row():
    entries = [
        of_seed(1, "a1", 0.90, "model.C=1", "compute.n_jobs=1"),
        of_seed(2, "a2", 0.94, "model.C=1"),
        of_seed(3, "a3", None, "model.C=1", status="failed"),
        of_seed(1, "b1", 0.95, "model.C=2"),
    ]
    (group,) = rank_groups(entries, by_seed=True)
    assert [(row.rank, row.seeds) for row in group.rows] == [(1, [1]), (2, [1, 2, 3])]
    row = group.rows[1]
    assert row.cv_mean == pytest.approx(0.92)
    assert row.cv_spread == pytest.approx(math.sqrt((0.02**2 + 0.02**2) / 1))
    assert group.rows[0].cv_spread is None
    record = board_records(make_boards(entries, by_seed=True), by_seed=True)[1]
    assert (record["n"], record["n_without_score"], record["seeds"]) == (2, 1, "1 2 3")
    (table,) = board_tables(make_boards(entries, by_seed=True), by_seed=True)
    shown = dict(zip(table.header, table.rows[1], strict=True))
    assert shown["CV accuracy"] == "0.9200 ± 0.0283"
    assert shown["status"] == "2 completed, 1 failed"


def test_a_seed_that_was_run_again_counts_once():
    entries = [
        of_seed(1, "old", 0.9, started=1.0),
        of_seed(1, "new", 0.9, started=2.0),
        of_seed(2, "x", 0.7),
    ]
    (group,) = rank_groups(entries, by_seed=True)
    (row,) = group.rows
    assert row.seeds == [1, 2]
    assert row.cv_mean == pytest.approx(0.8)
    assert {entry.path.name for entry in row.entries} == {"new", "x"}


MIXED = [
    run("a", 0.9, model="mlp", overrides=("model.C=10", "+training.epochs=3"), total_s=9.0),
    run(
        "b", 0.8, model="svm", overrides=("model.C=2.50",), params={"model.gamma": 0.5}, total_s=1.0
    ),
    run("c", 0.7, model="svm", params={"model.max_depth": None}, total_s=5.0),
    run("d", status="failed", model="svm", overrides=("model.C=oops",)),
]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["model=svm"], "bcd"),
        (["model!=svm"], "a"),
        (["model=svm", "status!=failed"], "bc"),
        (["model.C=2.5"], "b"),
        (["model.C!=10"], "bcd"),
        (["training.epochs=3"], "a"),
        (["model.gamma=0.50"], "b"),
        (["model.max_depth=null"], "c"),
        (["status=failed"], "d"),
        (["seed=0"], "abcd"),
        (["model=none"], ""),
    ],
)
def test_filters_choose_by_names_status_overrides_and_best_parameters(texts, names):
    chosen = filtered(MIXED, map(parse_filter, texts))
    assert "".join(entry.path.name for entry in chosen) == names


@pytest.mark.parametrize(
    ("text", "problem"),
    [("mdel=svm", "did you mean 'model'"), ("model", "must be written key=value"), ("=3", "key=")],
)
def test_filters_that_mean_nothing_are_refused(text, problem):
    with pytest.raises(RequestError, match=problem):
        filtered(MIXED, [parse_filter(text)])


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("cv_mean", "abcd"),
        ("total_s", "bcad"),
        ("model.C", "badc"),
        ("model", "abcd"),
        ("path", "abcd"),
    ],
)
def test_sorting_leaves_ranks_alone_and_puts_what_lacks_the_key_last(by, order):
    (board,) = make_boards(MIXED, by=by)
    assert "".join(row.first.path.name for row in board.rows) == order
    assert {row.first.path.name: row.rank for row in board.rows} == {
        "a": 1,
        "b": 2,
        "c": 3,
        "d": None,
    }


def test_top_shows_fewer_rows_and_says_how_many_are_left():
    (board,) = make_boards(MIXED, top=1)
    (table,) = board_tables([board])
    assert len(table.rows) == 1
    assert table.notes[0] == "3 more."
    assert len(board_records([board])) == 1
    assert board.lead is not None


def test_a_table_has_columns_only_for_what_differs():
    entries = [
        run("a", 0.9, overrides=("search.n_iter=4", "hydra.run.dir=x", "preprocess=none")),
        run("b", 0.8, overrides=("search.n_iter=4", "hydra.run.dir=y")),
    ]
    (table,) = board_tables(make_boards(entries))
    assert table.header == [
        "",
        "model",
        "preprocess",
        "CV accuracy",
        "test accuracy",
        "took",
        "run",
    ]
    assert set(board_records(make_boards(entries))[0]) >= {"preprocess", "rank", "cv_mean", "path"}
    (table,) = board_tables(make_boards(MIXED, by="model.gamma"), by="model.gamma")
    assert table.header[1:5] == ["model", "model.C", "training.epochs", "model.gamma"]


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["completed", "failed"], "completed"),
        (["failed", "failed"], "failed"),
        (["completed", "interrupted"], "interrupted"),
        (["completed", "interrupted", "running"], "running"),
        ([], "interrupted"),
    ],
)
def test_a_sweep_with_a_failed_job_is_complete_unless_all_failed(statuses, status):
    assert sweep_status([run("x", status=s) for s in statuses]) == status


@pytest.fixture
def folder(tmp_path, digits_run) -> Path:
    """Two runs, a sweep of three jobs with one that has no record, and files beside them."""
    for name in ("runs/x/b", "runs/x/a", "sweeps/s/0", "sweeps/s/10", "sweeps/s/2"):
        directory = RunDirectory(tmp_path / name)
        directory.path.mkdir(parents=True)
        directory.write_result(digits_run.result)
    (tmp_path / "sweeps/s/2/result.json").unlink()
    (tmp_path / "sweeps/s/2/.hydra").mkdir()
    (tmp_path / "sweeps/s/multirun.yaml").touch()
    (tmp_path / "runs/x/notes").mkdir()
    return tmp_path


def found(*names: object) -> list[tuple[str, bool, int]]:
    items, problems = find(map(str, names))
    assert not problems
    return [(item.path.name, item.is_sweep, len(item.jobs)) for item in items]


def test_runs_and_sweeps_are_found_below_folders_each_once(folder):
    everything = [("a", False, 1), ("b", False, 1), ("s", True, 3)]
    assert found(folder) == everything
    assert found(folder, folder / "runs/x/a", folder / "sweeps") == everything
    assert found(f"{folder}/*/x/[ab]") == everything[:2]
    assert found(f"{folder}/**/result.json")[:2] == everything[:2]
    assert found(folder / "runs/x/a/result.json", folder / "sweeps/s/multirun.yaml") == [
        ("a", False, 1)
    ]
    (sweep,), _ = find([str(folder / "sweeps")])
    assert [job.path.name for job in sweep.jobs] == ["0", "2", "10"]


def test_links_are_followed_but_not_in_circles(folder):
    (folder / "sweeps/latest").symlink_to(folder / "sweeps/s")
    (folder / "sweeps/s/up").symlink_to(folder)
    items, problems = find([str(folder / "sweeps")])
    assert not problems
    paths = [job.path.resolve() for item in items for job in item.jobs]
    assert len(paths) == len(set(paths))


def test_what_is_not_there_is_told_beside_what_is(folder):
    items, problems = find(
        [str(folder / "none"), str(folder / "runs"), str(folder / "runs/x/notes")]
    )
    assert len(items) == 2
    assert [str(problem).partition(" '")[0] for problem in problems] == [
        "there is no folder",
        "there is no run in",
    ]


def test_a_run_is_read_in_whatever_state_it_is(tmp_path, digits_run):
    directory = RunDirectory(tmp_path)
    directory.write_result(digits_run.result)
    entry = read_entry(directory)
    best = digits_run.result.best
    assert (entry.status, entry.data, entry.model) == ("completed", "digits", "tree")
    assert (entry.cv_mean, entry.cv_scores) == (best.cv_mean, tuple(best.cv_scores))
    assert (entry.test, entry.test_ci95) == (best.test["accuracy"], best.test_ci95)

    state = {"pid": 1, "host": "h", "started": 5.0, "config": "", "data": "f", "version": "0"}
    directory.write_text("state.json", json.dumps({"status": "running", **state}))
    failed = replace(
        digits_run.result, status="failed", best=None, error={"type": "E", "message": "m"}
    )
    directory.write_result(failed)
    assert read_entry(directory).status == "interrupted"  # killed when it was resumed
    directory.write_text("state.json", json.dumps({"status": "failed", **state}))
    entry = read_entry(directory)
    assert (entry.status, entry.error, entry.cv_mean, entry.started) == (
        "failed",
        "E: m",
        None,
        5.0,
    )


LOGGED = "2026-11-25 19:03:30,342 {level} runner.app: {text}\n"


@pytest.mark.parametrize(
    ("log", "status", "error"),
    [
        (LOGGED.format(level="INFO", text="1 candidates"), "interrupted", None),
        ("", "interrupted", None),
        (LOGGED.format(level="ERROR", text="data.path: no file"), "failed", "data.path: no file"),
        (
            LOGGED.format(level="ERROR", text="Job failed")
            + "Traceback (most recent call last):\n …\nrunner.errors.RequestError: model.C: -1\n",
            "failed",
            "RequestError: model.C: -1",
        ),
    ],
)
def test_a_run_that_never_began_says_what_its_log_ends_with(tmp_path, log, status, error):
    directory = RunDirectory(tmp_path)
    directory.hydra.mkdir()
    (directory.hydra / "overrides.yaml").write_text("- data=wine\n- ++model.C=-1\n- seed=3\n")
    (directory.hydra / "hydra.yaml").write_text(
        "hydra: {runtime: {choices: {data: iris, model: svm}}}"
    )
    directory.config.write_text("seed: 3\n")
    directory.log.write_text(log)
    entry = read_entry(directory)
    assert (entry.status, entry.error) == (status, error)
    assert (entry.data, entry.model, entry.seed) == ("wine", "svm", 3)
    assert entry.overridden["model.C"] == "-1"


def test_fits_are_counted_by_lines(tmp_path):
    directory = RunDirectory(tmp_path)
    assert count_fits(directory) == 0
    directory.record.write_bytes(b"00000000 {}\n" * 5 + b"torn")
    assert count_fits(directory) == 5
