"""A fit that the record has is not done again, and changes no score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from runner.estimator.base import ConfigClassifier
from runner.search.record import FitRecord
from runner.search.scoring import FoldScorer, Scoring

X, Y = load_wine(return_X_y=True)
CONFIG = {"model": {"_target_": "sklearn.linear_model.LogisticRegression", "max_iter": 500}}
SCORING = Scoring(("accuracy",), "accuracy")


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each real fit."""
    done: list[int] = []
    fit = LogisticRegression.fit

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        done.append(len(done))
        return fit(self, *arguments, **named)

    monkeypatch.setattr(LogisticRegression, "fit", counted)
    return done


def n_completed(record: Path) -> int:
    return sum(entry.status == "completed" for entry in FitRecord(record))


def search(record: Path, grid: list[float], **arguments: Any) -> GridSearchCV:
    return GridSearchCV(
        ConfigClassifier(CONFIG, record=FitRecord(record)),
        {"model.C": grid},
        scoring=FoldScorer(SCORING),
        cv=StratifiedKFold(3, shuffle=True, random_state=0),
        **{"refit": False, **arguments},
    ).fit(X, Y)


def test_second_search_restores_what_the_first_did(tmp_path: Path, fits: list[int]) -> None:
    record = tmp_path / "fits.jsonl"
    first = search(record, [0.1, 1.0])
    assert len(fits) == 6
    second = search(record, [0.1, 1.0, 10.0])
    assert len(fits) == 9
    alone = search(tmp_path / "other.jsonl", [0.1, 1.0, 10.0])
    scores = "mean_test_score"
    assert list(second.cv_results_[scores]) == list(alone.cv_results_[scores])
    assert list(second.cv_results_[scores][:2]) == list(first.cv_results_[scores])
    assert n_completed(record) == 9


def test_another_seed_is_another_fit(tmp_path: Path, fits: list[int]) -> None:
    record = FitRecord(tmp_path / "fits.jsonl")
    for seed in (0, 1, 0):
        estimator = ConfigClassifier(CONFIG, record=record, seed=seed).fit(X, Y)
        FoldScorer(SCORING)(estimator, X, Y)
    assert len(fits) == 2


def test_other_rows_are_scored_by_a_real_model(tmp_path: Path, fits: list[int]) -> None:
    record = tmp_path / "fits.jsonl"
    search(record, [1.0])
    again = search(record, [1.0], return_train_score=True)
    plain = search(tmp_path / "other.jsonl", [1.0], return_train_score=True)
    for name in ("mean_test_score", "mean_train_score"):
        assert np.array_equal(again.cv_results_[name], plain.cv_results_[name])


def test_a_damaged_entry_is_fitted_again(tmp_path: Path, fits: list[int]) -> None:
    record = tmp_path / "fits.jsonl"
    expected = search(record, [1.0]).cv_results_["mean_test_score"]
    content = record.read_bytes()
    record.write_bytes(content[:-5])
    from runner.search import record as module

    module._indexes.clear()
    assert np.array_equal(search(record, [1.0]).cv_results_["mean_test_score"], expected)
    assert len(fits) == 4
    assert n_completed(record) == 3
