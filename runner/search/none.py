"""No search: the config itself is the only candidate."""

from __future__ import annotations

from typing import Any

from sklearn.model_selection._search import BaseSearchCV


class NoSearch(BaseSearchCV):
    """Cross-validate the estimator as it is, with the interface of a search."""

    def __init__(
        self,
        estimator: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: bool | str = True,
        cv: Any = None,
        error_score: Any = float("nan"),
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

    def _run_search(self, evaluate_candidates: Any) -> None:
        evaluate_candidates([{}])
