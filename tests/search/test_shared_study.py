"""A study that several processes share, its parts: claims, silence, results, refusals."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from runner import secrets
from runner.errors import ExperimentError, RequestError
from runner.results.trials import trials_table
from runner.search import database, shared_study
from runner.search.optuna import OptunaSearch
from runner.search.origin import Origin
from runner.search.space import Space

X, Y = load_iris(return_X_y=True)
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
SPACE = Space.parse(
    {
        "max_depth": {"low": 1, "high": 40},
        "ccp_alpha": {"low": 1e-6, "high": 1e-1, "log": True},
        "criterion": ["gini", "entropy"],
        "class_weight": [None, {"some": 1}],
        "min_samples_leaf": {"values": [1, 4], "when": {"criterion": "gini"}},
    }
)
TPE = {"multivariate": True, "group": True, "constant_liar": True}
SAMPLERS = [
    lambda: optuna.samplers.TPESampler(seed=1, n_startup_trials=4, **TPE),
    lambda: optuna.samplers.RandomSampler(seed=1),
    lambda: optuna.samplers.QMCSampler(seed=1, warn_independent_sampling=False),
    lambda: optuna.samplers.NSGAIISampler(seed=1, population_size=4),
]


class Tree(DecisionTreeClassifier):
    """A tree that takes a moment, takes weights by name, and can be made to go wrong."""

    slow_s = 0.0
    goes_wrong: Any = None

    def fit(self, X: Any, y: Any, **given: Any) -> Any:
        time.sleep(self.slow_s)
        if self.goes_wrong is not None:
            self.goes_wrong(self)
        weights, self.class_weight = self.class_weight, None
        super().fit(X, y, **given)
        self.class_weight = weights
        return self


class SlowTree(Tree):
    slow_s = 0.01


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


@pytest.fixture(autouse=True)
def _no_fault() -> Iterator[None]:
    yield
    Tree.goes_wrong = None


def make(storage: str | None, estimator: Any = None, **arguments: Any) -> OptunaSearch:
    given: dict[str, Any] = {
        "n_iter": 14,
        "sampler": SAMPLERS[0](),
        "cv": FOLDS,
        "storage": storage,
        "refit": False,
        **arguments,
    }
    return OptunaSearch(estimator or Tree(random_state=0), SPACE, **given)


def table(search: OptunaSearch, **how: Any) -> list[dict[str, Any]]:
    frame = trials_table(search.cv_results_, **how).drop(columns="mean_fit_time")
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


def study_of(storage: str, name: str = "search") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage)


# One process --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        (SAMPLERS[0], None),
        pytest.param(
            SAMPLERS[0],
            optuna.pruners.MedianPruner(n_startup_trials=4),
            marks=pytest.mark.slow,
        ),
        *(pytest.param(sampler, None, marks=pytest.mark.slow) for sampler in SAMPLERS[1:]),
    ],
    ids=lambda made: type(made()).__name__ if callable(made) else type(made).__name__,
)
def test_one_process_finds_with_a_database_what_it_finds_without(
    storage: str, sampler: Any, pruner: Any
) -> None:
    alone, shared = (make(where, sampler=sampler(), pruner=pruner) for where in (None, storage))
    assert table(shared.fit(X, Y)) == table(alone.fit(X, Y))
    assert not shared.cv_results_["elsewhere"].any()
    assert [t.number for t in study_of(storage).trials] == list(range(14))


@pytest.mark.slow
def test_several_scorers_and_failures_are_the_same_too(storage: str) -> None:
    def too_deep(tree: Tree) -> None:
        if tree.max_depth > 25:
            raise ValueError("too deep")

    Tree.goes_wrong = staticmethod(too_deep)
    scoring = {"accuracy": make_scorer(accuracy_score), "constant": make_scorer(lambda y, p: 1.0)}
    how = {"scoring": scoring, "rank_by": "accuracy"}
    alone, shared = (make(where, **how).fit(X, Y) for where in (None, storage))
    rows = table(shared, refit="accuracy")
    assert rows == table(alone, refit="accuracy")
    assert {row["status"] for row in rows} == {"completed", "failed"}
    assert "too deep" in str(study_of(storage).trials[-1].user_attrs) or any(
        "too deep" in str(trial.user_attrs) for trial in study_of(storage).trials
    )


def test_a_search_that_is_run_again_in_its_process_goes_on_with_what_it_claimed(
    storage: str,
) -> None:
    class MoveOnError(BaseException):
        pass

    calls = []

    def move_on(tree: Tree) -> None:
        calls.append(tree)
        if len(calls) == 20:
            raise MoveOnError

    Tree.goes_wrong = staticmethod(move_on)
    first = make(storage)
    with pytest.raises(MoveOnError):
        first.fit(X, Y)
    again = make(storage)
    again.go_on_from(first)
    again.fit(X, Y)
    Tree.goes_wrong = None
    assert table(again) == table(make(None).fit(X, Y))
    assert len(study_of(storage).trials) == 14
    again.leave()


def test_a_search_that_is_stopped_leaves_its_candidates_to_others(storage: str) -> None:
    calls = []

    def limit(tree: Tree) -> None:
        calls.append(tree)
        if len(calls) > 15:
            raise RuntimeError("not begun, and so in no record")

    class Recorded(Tree):
        record = SimpleNamespace(failed=list)

        def candidate_id(self) -> str:
            return "any"

    Tree.goes_wrong = staticmethod(limit)
    stopped = make(storage, Recorded(random_state=0)).fit(X, Y)
    stopped.leave()
    Tree.goes_wrong = None
    assert len(stopped.cv_results_["params"]) == 5
    asked = [t.params for t in study_of(storage).trials if t.state.name == "FAIL"]
    assert len(asked) == 3
    rest = make(storage).fit(X, Y)
    rest.leave()
    assert len(rest.cv_results_["params"]) == 14
    again = [t for t in study_of(storage).trials if "first" in t.user_attrs]
    assert [trial.params for trial in again] == asked
    assert {trial.user_attrs["deaths"] for trial in again} == {0}


# Several ------------------------------------------------------------------------------------------


def test_several_share_the_budget_and_end_with_the_same(storage: str) -> None:
    def run(_: int) -> OptunaSearch:
        made = make(storage, SlowTree(random_state=0), n_iter=30, batch_size=2, takeover_s=30.0)
        try:
            return made.fit(X, Y)
        finally:
            made.leave()

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(run, range(4)))
    tables = [table(search) for search in found]
    assert len(tables[0]) == 30
    assert all(other == tables[0] for other in tables)
    own = [int((~search.cv_results_["elsewhere"]).sum()) for search in found]
    assert sum(own) == 30
    assert min(own) > 0
    # Numbers of the seed are drawn once, by whoever began.
    assert len({json.dumps(params) for params in found[0].cv_results_["params"]}) == 30


@pytest.mark.slow
def test_a_joiner_finds_a_complete_study_done(storage: str) -> None:
    first = make(storage).fit(X, Y)
    Tree.goes_wrong = staticmethod(lambda tree: pytest.fail("nothing is left to fit"))
    second = make(storage).fit(X, Y)
    assert table(second) == table(first)
    assert second.cv_results_["elsewhere"].all()
    Tree.goes_wrong = None
    more = make(storage, n_iter=17).fit(X, Y)
    assert int((~more.cv_results_["elsewhere"]).sum()) == 3
    for search in (first, second, more):
        search.leave()


def die(storage: str, **arguments: Any) -> list[dict[str, Any]]:
    """Let a search die within its second batch; return the parameters that it was at."""

    class KilledError(BaseException):
        pass

    calls = []

    def kill(tree: Tree) -> None:
        calls.append(tree)
        if len(calls) == 20:
            raise KilledError

    Tree.goes_wrong = staticmethod(kill)
    search = make(storage, **arguments)
    with pytest.raises(KilledError):
        search.fit(X, Y)
    Tree.goes_wrong = None
    assert search._shared is not None
    search._shared._has_left.set()  # as if its process were gone: no more signs of life
    return [t.params for t in study_of(storage).trials if t.state.name == "RUNNING"]


def test_what_a_dead_process_was_at_is_given_out_again(storage: str) -> None:
    lost = die(storage)
    assert len(lost) == 4
    started = time.monotonic()
    search = make(storage, takeover_s=0.6).fit(X, Y)
    assert time.monotonic() - started > 0.6
    search.leave()
    assert len(search.cv_results_["params"]) == 14
    again = [t for t in study_of(storage).trials if t.user_attrs.get("deaths") == 1]
    assert [trial.params for trial in again] == lost
    assert [trial.state.name for trial in again] == ["COMPLETE"] * 4
    # In the order in which they were proposed, whoever did them in the end.
    depths = [trial.params["max_depth"] for trial in study_of(storage).trials[:8]]
    assert [params["max_depth"] for params in search.cv_results_["params"]][:8] == depths


@pytest.mark.slow
def test_a_candidate_whose_processes_die_fails_in_the_end(storage: str) -> None:
    die(storage)
    search = make(storage, takeover_s=0.3, retries=0).fit(X, Y)
    search.leave()
    statuses = [row["status"] for row in table(search)]
    assert len(statuses) == 14
    assert statuses.count("failed") == 4


@pytest.mark.slow
def test_a_live_process_keeps_its_candidates(storage: str) -> None:
    class Patient(Tree):
        slow_s = 0.5

    with ThreadPoolExecutor(1) as thread:
        slow = make(storage, Patient(random_state=0), n_iter=4, batch_size=1, takeover_s=0.6)
        slow_done = thread.submit(slow.fit, X, Y)
        time.sleep(0.3)
        quick = make(storage, n_iter=4, batch_size=1, takeover_s=0.6).fit(X, Y)
        slow_done.result()
    assert len(study_of(storage).trials) == 4
    assert table(quick) == table(slow)
    for search in (slow, quick):
        search.leave()


@pytest.mark.slow
def test_a_resumed_run_takes_back_its_own_at_once(storage: str) -> None:
    origin = Origin.of({}, Path("some/run"))
    lost = die(storage, origin=origin, takeover_s=1000.0)
    search = make(storage, origin=origin, takeover_s=1000.0).fit(X, Y)
    search.leave()
    assert len(search.cv_results_["params"]) == 14
    assert not search.cv_results_["elsewhere"].any()
    again = [t.params for t in study_of(storage).trials if t.user_attrs.get("deaths") == 0]
    assert again == lost


def test_no_more_are_evaluated_than_the_budget_when_all_ask_at_once(storage: str) -> None:
    address, origin = shared_study.StudyAddress(storage, "search"), Origin.of({})
    parts = (optuna.samplers.RandomSampler(seed=0), optuna.pruners.NopPruner())
    how = {"n_iter": 5, "takeover_s": 60.0, "retries": 1}
    joined = [shared_study.SharedStudy.join(address, origin, *parts, **how) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        claims = list(threads.map(lambda one: one.claim(3, SPACE, "score"), joined))
    assert sum(map(len, claims)) <= 5
    # Two that were in each other's way both gave up; whoever has something keeps it.
    claims = [one.claim(1, SPACE, "score") for one in joined]
    assert sum(map(len, claims)) == 5
    numbers = [candidate.trial.number for claimed in claims for candidate in claimed]
    assert len(set(numbers)) == 5
    for one in joined:
        one.leave()
    assert sum(t.state.name == "WAITING" for t in study_of(storage).trials) == 5


# What is refused ----------------------------------------------------------------------------------


def refusal_of(storage: str, origin: Origin | None = None, **arguments: Any) -> str:
    with pytest.raises(RequestError) as caught:
        make(storage, origin=origin, **arguments).check_reach()
    return str(caught.value)


def test_a_study_of_something_else_is_not_joined(storage: str) -> None:
    mine = Origin.of({"model": {"depth": 1}, "data": "a", "seed": 0})
    other = Origin.of({"model": {"depth": 2}, "data": "a", "seed": 1})
    make(storage, origin=mine, n_iter=2).fit(X, Y).leave()
    assert refusal_of(storage, other) == (
        "search.study: 'search' is of another model, seed; name another study"
    )
    make(storage, origin=mine).check_reach()
    make(storage, origin=other, study="mine").check_reach()
    with pytest.raises(RequestError, match="is of another model, seed"):
        make(storage, origin=other).fit(X, Y)


def test_a_study_made_otherwise_is_not_joined(storage: str) -> None:
    study = optuna.create_study(study_name="search", storage=storage)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert "was not made by this program" in refusal_of(storage, Origin.of({}))


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("nonsense", "is no address of a database; write postgresql://USER@HOST/DATABASE"),
        ("mysql://me@here/db", "'mysql' is not supported"),
        ("postgresql+psycopg2://me@here/db", "'postgresql+psycopg2' is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a.db?mode=ro", "takes no options like '?mode='"),
        ("sqlite:////no/such/folder/a.db", "there is no folder '/no/such/folder'"),
        ("postgresql://me@localhost:port/db", "is no address"),
        ("postgresql://me:***@localhost/db", "'***' stands for a password that was left out"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, problem: str) -> None:
    assert refusal_of(address).startswith("search.storage: ")
    assert problem in refusal_of(address)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("no database " * 100)
    said = refusal_of(f"sqlite:///{tmp_path / 'a.db'}")
    assert said.endswith("a.db: file is not a database")


def test_a_database_that_can_not_be_reached_is_refused_without_its_password() -> None:
    said = refusal_of("postgresql://me:hunter2@127.0.0.1:1/db")
    assert said.startswith("search.storage: can't use postgresql+psycopg://me:***@127.0.0.1:1/db: ")
    assert "onnection refused" in said
    assert "hunter2" not in said


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database.importlib.util, "find_spec", lambda name: None)
    assert refusal_of("postgresql://me@localhost/db") == (
        "search.storage: PostgreSQL needs psycopg; install it with: "
        "pip install 'runner[postgresql]'"
    )


@pytest.mark.parametrize(
    "sampler",
    [
        optuna.samplers.CmaEsSampler(),
        optuna.samplers.PartialFixedSampler({}, optuna.samplers.CmaEsSampler()),
    ],
)
def test_a_sampler_that_reads_pickles_from_the_study_is_refused(storage: str, sampler: Any) -> None:
    assert refusal_of(storage, sampler=sampler).startswith("search/sampler: cmaes keeps pickles")


def test_a_database_that_goes_away_ends_the_run_in_one_line(storage: str, tmp_path: Path) -> None:
    calls = []

    def drop(tree: Tree) -> None:
        calls.append(tree)
        if len(calls) == 8:
            for path in tmp_path.glob("studies.db*"):
                path.write_text("gone " * 1000)

    Tree.goes_wrong = staticmethod(drop)
    search = make(storage)
    with pytest.raises(ExperimentError, match="the study's database failed: "):
        search.fit(X, Y)
    search.leave()


# Secrets ------------------------------------------------------------------------------------------


def test_a_study_keeps_the_place_of_an_option_that_is_a_secret(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNER_MASKED", "")
    monkeypatch.setenv("RUNNER_TEST_SECRET", "entropy")
    secrets.remember("RUNNER_TEST_SECRET")
    search = make(storage).fit(X, Y)
    search.leave()
    assert {params["criterion"] for params in search.cv_results_["params"]} == {"gini", "entropy"}
    files = list(tmp_path.glob("studies.db*"))
    assert files
    assert not any(b"entropy" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@db.org:5432/x", "postgresql://me:***@db.org:5432/x"),
        ("a=postgresql+psycopg://me:a/b'c@h/x b", "a=postgresql+psycopg://me:***@h/x b"),
        ("http://:hunter2@h", "http://:***@h"),
        ("postgresql://me@db.org:5432/x", "postgresql://me@db.org:5432/x"),
        ("postgresql://me:${oc.env:PW}@h/x", "postgresql://me:${oc.env:PW}@h/x"),
        ("https://db.org:8080/a", "https://db.org:8080/a"),
    ],
)
def test_a_password_in_an_address_is_masked(text: str, shown: str) -> None:
    assert secrets.mask(text) == shown
    assert secrets.mask([{"a": text}]) == [{"a": shown}]
    assert secrets.holds_password(text) == (text != shown)


@settings(max_examples=200)
@given(
    st.text(st.characters(exclude_characters=":/@", exclude_categories=["Z", "C"]), max_size=8),
    st.text(
        st.characters(exclude_characters="@", exclude_categories=["Z", "C"]),
        min_size=1,
        max_size=12,
    ).filter(lambda text: not text.startswith("${")),
)
def test_no_password_of_any_spelling_is_left(user: str, password: str) -> None:
    shown = secrets.mask(f"before postgresql://{user}:{password}@host/db after")
    assert shown == f"before postgresql://{user}:***@host/db after"
