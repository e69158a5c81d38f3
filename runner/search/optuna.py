"""Search driven by an Optuna sampler, asked and told in batches of a fixed size."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import optuna
from joblib import Parallel
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV

from runner.config.schema import PositiveInt
from runner.search.fold_by_fold import Candidate, FoldByFold, cv_results
from runner.search.halving import mean_scores
from runner.search.space import Choice, Dimension, Space


class OptunaSearch(BaseSearchCV):
    """Let an Optuna sampler propose the candidates.

    Parameters
    ----------
    space
        What to draw from.
    n_iter
        Number of candidates.
    batch_size
        Candidates asked for before any of them is told. It decides what the sampler knows when, so
        it is part of the result and does not follow `n_jobs`.
    sampler
        Any single-objective Optuna sampler; by default TPE (Bergstra et al., 2011), unseeded.
    pruner
        Decides after each fold which candidates of a batch are not worth the next one; by default
        every candidate has all its folds. See `FoldByFold` for what it is told.
    rank_by
        The scorer that is told to the sampler, where there are several.

    Attributes
    ----------
    study_
        The Optuna study, with one trial for each candidate.
    """

    def __init__(
        self,
        estimator: Any,
        space: Space,
        *,
        n_iter: PositiveInt = 10,
        batch_size: PositiveInt = 4,
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str = True,
        cv: Any = None,
        error_score: Any = float("nan"),
        rank_by: str = "score",
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            error_score=error_score,
            return_train_score=False,
        )
        self.space = space
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.sampler = sampler
        self.pruner = pruner
        self.rank_by = rank_by

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search over candidates fitted on X of shape (n, …) and y of shape (n,).

        ``groups`` of shape (n,) go to the splitter.
        """
        if self.pruner is None:
            super().fit(X, y, **params)
            return self
        scorer, metric = self._get_scorers()
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, params.get("groups")))
        done: list[Candidate] = []
        with Parallel(n_jobs=self.n_jobs) as parallel:
            folds = FoldByFold(self.estimator, scorer, parallel, splits)
            for trials in self._batches():
                batch = [Candidate(t, suggest(self.space, t), self.rank_by) for t in trials]
                folds.evaluate(batch, X, y)
                for candidate in batch:
                    candidate.tell(self.study_)
                done += batch
        self.scorer_, self.n_splits_ = scorer, len(splits)
        self.cv_results_ = cv_results(done, len(splits), self._format_results)
        self.multimetric_ = f"mean_test_{metric}" not in self.cv_results_
        if not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, metric, self.cv_results_)
            self.best_params_ = self.cv_results_["params"][self.best_index_]
            self.best_score_ = self.cv_results_[f"mean_test_{metric}"][self.best_index_]
        if self.refit:
            self.best_estimator_ = clone(self.estimator).set_params(**self.best_params_).fit(X, y)
        return self

    def _run_search(self, evaluate_candidates: Any) -> None:
        for trials in self._batches():
            results = evaluate_candidates([suggest(self.space, trial) for trial in trials])
            scores = mean_scores(results, self.rank_by)[-len(trials) :]
            for trial, score in zip(trials, scores, strict=True):
                if np.isnan(score):
                    self.study_.tell(trial, state=optuna.trial.TrialState.FAIL)
                else:
                    self.study_.tell(trial, float(score))

    def _batches(self) -> Iterator[list[optuna.Trial]]:
        """Start a study and ask for its trials; each batch is to be told before the next."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Some pruners draw lots by the study's name.
            self.study_ = optuna.create_study(
                study_name="search",
                direction="maximize",
                sampler=self.sampler,
                pruner=self.pruner or optuna.pruners.NopPruner(),
            )
            for start in range(0, self.n_iter, self.batch_size):
                size = min(self.batch_size, self.n_iter - start)
                yield [self.study_.ask() for _ in range(size)]


def suggest(
    space: Space, trial: optuna.Trial, stored: Callable[[Any], Any] = lambda value: value
) -> dict[str, Any]:
    """Ask `trial` for a value of every dimension whose conditions hold.

    `stored` turns the values of a choice into what Optuna keeps; lists and mappings that it leaves
    as they are go by their position.
    """
    values: dict[str, Any] = {}
    pending = dict(space.dimensions)
    while pending:
        # Conditions rest on other dimensions: those come first, whatever the order written.
        for path, dimension in list(pending.items()):
            if any(other in pending for other in dimension.when):
                continue
            del pending[path]
            if all(values.get(o, _Absent) in allowed for o, allowed in dimension.when.items()):
                values[path] = _suggest_one(path, dimension, trial, stored)
    return {path: values[path] for path in space.dimensions if path in values}


class _Absent:
    """Stands for a dimension whose own conditions do not hold."""


def _suggest_one(
    path: str, dimension: Dimension, trial: optuna.Trial, stored: Callable[[Any], Any]
) -> Any:
    if isinstance(dimension, Choice):
        options = [stored(value) for value in dimension.values]
        if not all(isinstance(option, bool | int | float | str | None) for option in options):
            options = list(range(len(options)))
        chosen = trial.suggest_categorical(path, options)
        # True and 1 are equal, and yet different options.
        places = [type(option) is type(chosen) and option == chosen for option in options]
        return dimension.values[places.index(True)]
    if dimension.is_integer:
        step = 1 if dimension.step is None else int(dimension.step)
        return trial.suggest_int(
            path, int(dimension.low), int(dimension.high), step=step, log=dimension.log
        )
    return trial.suggest_float(
        path, dimension.low, dimension.high, step=dimension.step, log=dimension.log
    )
