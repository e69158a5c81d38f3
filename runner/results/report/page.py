"""A page: sections of text, tables, plots and pictures, rendered into one self-contained file."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from plotly.offline import get_plotlyjs

from runner.results.atomic import write_text
from runner.results.report.plot_files import write_plots
from runner.secrets import mask

REPORT, PLOTS = "report.html", "plots"


class Cell(NamedTuple):
    """A table's cell; ``key`` is what it sorts by, the text itself when None."""

    text: str
    key: float | None = None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Rows below a header; on the page a click on a header sorts a sortable one."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_sortable: bool = False


@dataclass(frozen=True)
class Plot:
    """A figure under its title; ``name`` is that of its files, ``is_wide`` takes a row alone."""

    name: str
    title: str
    figure: go.Figure
    note: str = ""
    is_wide: bool = False


@dataclass(frozen=True)
class Picture:
    """An image as a ``data:`` address, and what is written below it, line by line."""

    source: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A titled part of a page; what is empty is left out, and so is a section of nothing."""

    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    pictures: Sequence[Picture] = ()
    facts: Sequence[tuple[str, str]] = ()
    commands: Sequence[tuple[str, str]] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.tables or self.plots or self.pictures or self.facts or self.commands)


@dataclass(frozen=True)
class Page:
    """What a report says; ``verdict`` is its one sentence."""

    title: str
    subtitle: str
    verdict: str
    note: str
    sections: Sequence[Section]

    @property
    def plots(self) -> list[Plot]:
        return [plot for section in self.sections for plot in section.plots]


def make_page(
    title: str, subtitle: str, verdict: str, note: str, sections: Iterable[Section]
) -> Page:
    """Make a page of the sections that have something to show."""
    shown = [section for section in sections if not section.is_empty]
    return Page(title, subtitle, verdict, note, shown)


def write_page(folder: Path, page: Page, with_plots: bool = True) -> None:
    """Write ``report.html``, and its plots as files to ``plots/``.

    Raises
    ------
    OSError
        When the folder can't be written.
    """
    write_text(folder / REPORT, render(page))
    plots = {plot.name: (plot.title, plot.figure) for plot in page.plots} if with_plots else {}
    write_plots(folder / PLOTS, plots)


def render(page: Page) -> str:
    """Return a page as HTML. Every text from configs or data is escaped, in plots too."""
    specs = [json.loads(plot.figure.to_json()) for plot in page.plots]
    plotly = _packed_plotly() if specs else ""
    return _template().render(page=page, specs=specs, plotly=plotly)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        # Texts only: what is marked safe is code.
        finalize=lambda value: mask(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


@cache
def _packed_plotly() -> str:
    """Plotly's code, gzipped: it makes up most of the page, which the browser unpacks."""
    code = get_plotlyjs().encode()
    return base64.b64encode(gzip.compress(code, compresslevel=6, mtime=0)).decode()
