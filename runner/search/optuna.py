"""Search driven by an Optuna sampler, asked and told in batches of a fixed size."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Annotated, Any, Self

import numpy as np
import optuna
from joblib import Parallel
from pydantic import Field
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV

from runner.config.schema import PositiveFloat, PositiveInt
from runner.errors import ExperimentError, RequestError
from runner.search.fold_by_fold import Candidate, FoldByFold, cv_results
from runner.search.halving import mean_scores
from runner.search.limits import Limits
from runner.search.origin import Origin
from runner.search.shared_study import SharedStudy, reached
from runner.search.space import Space
from runner.search.study_address import StudyAddress
from runner.search.suggest import suggest


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
    storage
        Address of a database. Every process that searches with the same one and the same `study`
        shares the budget and the candidates; each ends with the results of all.
    study
        Name of the study in the database.
    takeover_s
        Seconds without a sign of life after which another process's candidates are handed out
        again, `retries` times at most.
    rank_by
        The scorer that is told to the sampler, where there are several.
    origin
        What a shared study must be of to be joined; by default any is joined.

    Attributes
    ----------
    study_
        The Optuna study, with one trial for each candidate.
    """

    _shared: SharedStudy | None = None

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
        storage: str | None = None,
        study: Annotated[str, Field(min_length=1, max_length=200)] = "search",
        takeover_s: PositiveFloat = 60.0,
        retries: int = 1,
        rank_by: str = "score",
        origin: Origin | None = None,
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
        self.storage = storage
        self.study = study
        self.takeover_s = takeover_s
        self.retries = retries
        self.rank_by = rank_by
        self.origin = origin

    def check_reach(self) -> None:
        """Reach what the search needs beyond its arguments.

        Raises
        ------
        RequestError
            When the database can't be used, or its study is of something else.
        """
        if self.storage is None:
            return
        if _reads_pickles(self.sampler):
            raise RequestError(
                "search/sampler",
                "cmaes keeps pickles in a study, which can run code in whoever shares it; "
                "with search.storage use another",
            )
        StudyAddress(self.storage, self.study).check(self.origin)

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search over candidates fitted on X of shape (n, …) and y of shape (n,).

        ``groups`` of shape (n,) go to the splitter.
        """
        if self.pruner is None and self.storage is None:
            super().fit(X, y, **params)
            return self
        scorer, metric = self._get_scorers()
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, params.get("groups")))
        with Parallel(n_jobs=self.n_jobs) as parallel:
            folds = FoldByFold(self.estimator, scorer, parallel, splits, self.pruner is not None)
            search = self._search_alone if self.storage is None else self._search_shared
            done = search(folds, X, y)
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

    def _search_alone(self, folds: FoldByFold, X: Any, y: Any) -> list[Candidate]:
        done: list[Candidate] = []
        for trials in self._batches():
            batch = [Candidate(t, suggest(self.space, t), self.rank_by) for t in trials]
            folds.evaluate(batch, X, y)
            for candidate in batch:
                candidate.tell(self.study_)
            done += batch
        return done

    def _search_shared(self, folds: FoldByFold, X: Any, y: Any) -> list[Candidate]:
        limits = getattr(self.estimator, "limits", None) or Limits()
        with _quiet_optuna(), reached():
            shared = self._shared = self._shared or self._join()
            self.study_ = shared.study
            while not limits.is_over():
                batch = shared.claim(self.batch_size, self.space, self.rank_by)
                folds.evaluate(batch, X, y)
                unfinished = [candidate for candidate in batch if self._is_unfinished(candidate)]
                for candidate in batch:
                    if candidate in unfinished:
                        shared.give_back(candidate)
                    else:
                        shared.tell(candidate)
                if unfinished:
                    break
                if not batch:
                    if shared.is_complete():
                        break
                    shared.wait()
            done = shared.candidates(self.space, self.rank_by)
        if not done:
            raise ExperimentError("the run had to end before a candidate of its study was done")
        return done

    def _is_unfinished(self, candidate: Candidate) -> bool:
        """Whether a limit kept fits from being begun: without a score, and no failure on record."""
        record = getattr(self.estimator, "record", None)
        if record is None or not np.isnan(candidate.scores).any():
            return False
        name = clone(self.estimator).set_params(**candidate.params).candidate_id()
        return not any(entry.candidate == name for entry in record.failed())

    def _join(self) -> SharedStudy:
        assert self.storage is not None
        return SharedStudy.join(
            StudyAddress(self.storage, self.study),
            self.origin or Origin.of({}),
            self.sampler,
            self.pruner or optuna.pruners.NopPruner(),
            n_iter=self.n_iter,
            takeover_s=self.takeover_s,
            retries=self.retries,
        )

    def go_on_from(self, before: OptunaSearch) -> None:
        """Keep the part in a shared study that an earlier search of this process has."""
        self._shared = before._shared

    def leave(self) -> None:
        """Leave a shared study; what was begun and not done is for others to do."""
        if self._shared is not None:
            self._shared.leave()
            self._shared = None

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
        with _quiet_optuna():
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


@contextlib.contextmanager
def _quiet_optuna() -> Iterator[None]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # A search that is run again tells a shared study of the same folds again.
        warnings.filterwarnings("ignore", "The reported value is ignored")
        yield


def _reads_pickles(sampler: Any) -> bool:
    within = vars(sampler).values() if hasattr(sampler, "__dict__") else ()
    return any(isinstance(one, optuna.samplers.CmaEsSampler) for one in (sampler, *within))
