"""A finished run, as Python code and notebooks get it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from runner.results.comparison.tables import print_whole
from runner.results.run_directory import RunDirectory
from runner.results.schema import Result
from runner.results.summary import render_summary
from runner.results.trials import read_trials
from runner.results.verdict import mean_and_std, parameter, test_metrics, test_score, verdict


@dataclass(frozen=True, repr=False)
class Run:
    """A completed run.

    Parameters
    ----------
    directory
        Its folder.
    result
        All that ``result.json`` says.
    trials
        One row per candidate, as in ``trials.csv``.
    """

    directory: Path
    result: Result
    trials: pd.DataFrame

    @classmethod
    def read(cls, directory: RunDirectory) -> Run:
        """Read the folder of a completed run.

        Raises
        ------
        RequestError
            When there is no record, or it is damaged.
        """
        return cls(directory.path, directory.read_result(), read_trials(directory.trials))

    @property
    def best_params(self) -> Mapping[str, Any]:
        """The winner's values by config path; empty where nothing was searched."""
        return self.result.best.params if self.result.best else {}

    @property
    def cv_mean(self) -> float:
        """The winner's mean score over folds."""
        return self.result.best.cv_mean if self.result.best else float("nan")

    @property
    def test(self) -> Mapping[str, float]:
        """The winner's scores on the test rows, by scorer."""
        return self.result.best.test if self.result.best else {}

    @property
    def test_ci95(self) -> tuple[float, float] | None:
        """The 95 % interval of the deciding scorer's test score."""
        return self.result.best.test_ci95 if self.result.best else None

    def __repr__(self) -> str:
        page = io.StringIO()
        console = Console(file=page, force_terminal=False, force_jupyter=False)
        print_whole(render_summary(self.result, self.directory), console)
        return page.getvalue().rstrip("\n")

    def _repr_html_(self) -> str:
        """A small table for notebooks; every text is escaped."""
        result, metrics = self.result, test_metrics(self.result)
        header = ["", f"CV {result.scoring or 'score'}", *(f"test {name}" for name in metrics)]
        rows = [
            [
                label,
                mean_and_std(evaluation),
                *(test_score(evaluation, name, result.scoring) for name in metrics),
            ]
            for label, evaluation in (("baseline", result.baseline), ("tuned", result.best))
            if evaluation is not None
        ]
        params = [[path, parameter(value)] for path, value in self.best_params.items()]
        return (
            f"{_html_table(header, rows)}<p>{escape(verdict(result))}</p>"
            f"{_html_table(['best parameter', 'value'], params) if params else ''}"
            f"<p><code>{escape(str(self.directory))}</code></p>"
        )


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_html_row("th", header), *(_html_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
