"""What a person sees when a run ends."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runner.results.run_directory import RunDirectory
from runner.results.schema import Evaluation, Result
from runner.results.verdict import (
    duration,
    mean_and_std,
    parameter,
    test_metrics,
    test_score,
    verdict,
)


def render_summary(result: Result, run_dir: Path) -> RenderableType:
    """Return the summary of a run for a rich console: plain lines, without boxes.

    Scores of baseline and tuned, the verdict, the best parameters, failures, duration, and where
    the files are. Text from configs is never read as markup.
    """
    parts: list[RenderableType] = []
    if result.baseline or result.best:
        parts += [_scores(result), Text()]
    parts += [Text(verdict(result)), Text()]
    if result.best and result.best.params:
        parts += [_parameters(result.best), Text()]
    return Group(*parts, *_footer(result, run_dir))


def _scores(result: Result) -> Table:
    metrics = test_metrics(result)
    table = _plain_table()
    for header in ("", f"CV {result.scoring or 'score'}", *(f"test {name}" for name in metrics)):
        table.add_column(Text(header), overflow="fold")
    for label, evaluation in (("baseline", result.baseline), ("tuned", result.best)):
        if evaluation is not None:
            scores = [test_score(evaluation, metric, result.scoring) for metric in metrics]
            cells = (label, mean_and_std(evaluation), *scores)
            table.add_row(*(Text(cell) for cell in cells))
    return table


def _parameters(best: Evaluation) -> Group:
    table = _plain_table(show_header=False)
    for path, value in best.params.items():
        table.add_row(Text(path), Text(parameter(value)))
    return Group(Text("Best parameters"), Padding(table, (0, 0, 0, 2)))


def _footer(result: Result, run_dir: Path) -> list[Text]:
    lines = []
    if result.trials and result.trials.n_failed:
        lines.append(f"{result.trials.n_failed} of {result.trials.n_candidates} candidates failed")
    if result.trials and result.trials.n_pruned:
        n_pruned, n_all = result.trials.n_pruned, result.trials.n_candidates
        lines.append(f"{n_pruned} of {n_all} candidates were pruned after their first folds")
    if result.timing:
        search = duration(result.timing.search_s)
        lines.append(f"Took {duration(result.timing.total_s)}, of which the search {search}")
    lines.append(f"Files  {run_dir}")
    report = RunDirectory(run_dir).report
    if report.exists():
        lines.append(f"Report {report}")
    # Folded rather than wrapped or cut: a path must survive a narrow terminal whole.
    return [Text(line, overflow="fold") for line in lines]


def _plain_table(show_header: bool = True) -> Table:
    return Table(box=None, show_header=show_header, pad_edge=False, padding=(0, 2, 0, 0))
