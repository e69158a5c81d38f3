"""Pages to read, and reading them as people do or as their plots are specified."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from runner.results.report.page import Page, render
from runner.results.report.predictions import Fitted
from runner.results.report.run import ReportDetails, run_page

EVIL = "<script>alert(1)</script>"


def text_of(page: str) -> str:
    """What a reader sees: the page without scripts and tags."""
    bare = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def specs_of(page: str) -> list[dict]:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1]) if found else []


def titles_of(page: Page) -> list[str]:
    return [section.title for section in page.sections]


def strings_in(value: object) -> Iterator[str]:
    """Every text in nested JSON, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *strings_in(item))
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def run_report(run, **changes) -> str:
    """The page of a run whose record is changed."""
    return render(run_page(replace(run.result, **changes), run.trials, run.details))


def evil_page(run) -> Page:
    """A page all of whose names and values hold markup."""
    trials = run.trials.assign(**{f"model.{EVIL}": [EVIL, "fine"] * 6})
    names = {"data": EVIL, "model": "tree"}
    best = replace(run.result.best, params={f"model.{EVIL}": EVIL}, test={EVIL: 0.5})
    result = replace(run.result, name=names, best=best, environment={EVIL: EVIL}, scoring=EVIL)
    labels = np.where(run.details.y_test == 1, EVIL, "other")
    fitted = Fitted(labels[::-1], np.full((len(labels), 2), 0.5), {EVIL: [1.0, 2.0]})
    details = ReportDetails(
        X_test=pd.DataFrame({EVIL: [EVIL] * len(labels)}),
        y_test=labels,
        classes=[EVIL, "other"],
        winner=fitted,
        commands=[(EVIL, EVIL)],
    )
    return run_page(result, trials, details)


def add_objectives(folder: Path, columns: dict[str, list], names: list[str]) -> None:
    """Add objectives to a leaderboard, as a sweep that has several writes them."""
    table = pd.read_csv(folder / "leaderboard.csv").sort_values("path")
    table.assign(**columns).to_csv(folder / "leaderboard.csv", index=False)
    record = json.loads((folder / "sweep.json").read_text())
    record["objectives"] = [{"name": name, "direction": "maximize"} for name in names]
    record["objectives"][-1]["direction"] = "minimize"
    (folder / "sweep.json").write_text(json.dumps(record))
