"""The sections on a search, of a run's candidates or a sweep's jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from runner.results.report import search
from runner.results.report.importance import FEWEST, importances, n_best
from runner.results.report.page import Plot, Section
from runner.results.report.parallel import parallel_coordinates
from runner.results.schema import Evaluation

# Keeps the page under 6 MB with 1000 trials.
MOST_SLICES = 12


def search_sections(
    trials: pd.DataFrame, baseline: Evaluation | None = None, unit: str = "candidate"
) -> Iterator[Section]:
    """What was tried in order, what mattered, and each parameter by itself.

    Parameters
    ----------
    trials
        Indexed by what candidates are called; may be empty.
    unit
        What a candidate is.
    """
    if trials.empty:
        return
    figure = search.search_history(trials, baseline, unit)
    yield Section("Search", plots=[Plot("search-history", f"{unit.title()}s in order", figure)])
    varied = search.varied_paths(trials)
    shares = importances(trials, varied)
    if shares:
        varied = sorted(varied, key=lambda path: -shares.get(path, 0.0))
        n = int((trials["status"] != "failed").sum())
        note = (
            f"PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023): how far the values of the best "
            f"{n_best(n)} of {n} {unit}s are from those of all. Little data makes it rough."
        )
        bars = Plot("importance", "Importance of each parameter", search.importance(shares))
        yield Section("What mattered", note, plots=[bars])
    yield parameters(trials, varied, unit)


def parameters(trials: pd.DataFrame, paths: Sequence[str], unit: str = "candidate") -> Section:
    """Scores against all parameters at once, and against each by itself, the first few of them."""
    plots = [
        Plot(f"slice-{path}", path, search.parameter_slice(trials, path))
        for path in paths[:MOST_SLICES]
    ]
    if len(paths) > 1 and (trials["status"] != "failed").sum() >= FEWEST:
        figure = parallel_coordinates(trials, paths)
        title = f"Every {unit} a line"
        plots.insert(0, Plot("parallel-coordinates", title, figure, is_wide=True))
    return Section("Parameters", plots=plots)
