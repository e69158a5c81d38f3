"""The card of a saved model, ``model/README.md``: what it is, for whoever gets the folder.

Names and values from configs and data stand in code spans, where Markdown and HTML mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from runner.results.schema import Result
from runner.results.verdict import mean_and_std, parameter, test_metrics, test_score, verdict
from runner.secrets import mask

_MOST_NAMES = 30
_USE = """\
`RUN` is the run's folder, or this one by itself. Loading it runs no code from its files.

```sh
runner predict RUN INPUT -o predictions.csv
```

```python
from runner import load

model = load("RUN")
model.predict(X)
```
"""


def render_card(
    result: Result, columns: Sequence[str] | None = None, classes: Sequence[Any] | None = None
) -> str:
    """Write the card as Markdown.

    Parameters
    ----------
    result
        The record of the run, completed.
    columns
        Names of the features, where they have some.
    classes
        Class labels, None for regression.
    """
    result = result.without_secrets()
    names = {group: code(name) for group, name in result.name.items()}
    parts = [
        f"# {names['model']}, trained on {names['data']}",
        f"A model for {result.task}, found by `runner` with search {names['search']} and then "
        "fitted on all training rows.",
        "## Data",
        "\n".join(f"- {line}" for line in _data(result, columns, classes)),
        "## Scores",
        _scores(result),
        verdict(result),
        *_parameters(result),
        "## Use",
        _USE.rstrip(),
        "## Made with",
        "\n".join(f"- {line}" for line in _versions(result)),
    ]
    return "\n\n".join(parts) + "\n"


def code(value: object) -> str:
    """Write a value as a code span that nothing in it can end (CommonMark 0.31, 6.1)."""
    text = mask(str(value))
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # Without letters beside them, backticks would join the fence, and spaces would be dropped.
    pad = " " if text[:1] in ("`", " ", "") or text[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _data(
    result: Result, columns: Sequence[str] | None, classes: Sequence[Any] | None
) -> Iterator[str]:
    if result.data is not None:
        data, name = result.data, code(result.name["data"])
        yield f"{name}, {data.n_train} training rows and {data.n_test} test rows"
        yield f"rows of shape {code(data.shape)}, fingerprint {code(data.fingerprint)}"
    if columns is not None:
        yield f"columns {_spans(columns)}"
    if classes is not None:
        yield f"classes {_spans(classes)}"


def _scores(result: Result) -> str:
    """Cross-validated and test scores, the latter with 95 % intervals."""
    metrics = test_metrics(result)
    rows = [["", f"CV {code(result.scoring)}", *(f"test {code(name)}" for name in metrics)]]
    rows.append(["---"] * len(rows[0]))
    for label, evaluation in (("baseline", result.baseline), ("this model", result.best)):
        if evaluation is not None:
            scores = [test_score(evaluation, metric, result.scoring) for metric in metrics]
            rows.append([label, mean_and_std(evaluation), *scores])
    return _table(rows)


def _parameters(result: Result) -> list[str]:
    if result.best is None or not result.best.params:
        return []
    params = result.best.params.items()
    rows = [["parameter", "value"], ["---", "---"]]
    rows += [[code(path), code(parameter(value))] for path, value in params]
    return ["## Parameters", _table(rows)]


def _versions(result: Result) -> Iterator[str]:
    environment = result.environment
    packages = dict(environment.get("packages") or {})
    yield ", ".join(
        code(f"{name} {version}")
        for name, version in {"python": environment.get("python"), **packages}.items()
    )
    yield f"seed {result.seed}, overrides {_spans(result.overrides) or 'none'}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    # In a table, a bar counts even within a code span (GitHub Flavored Markdown 0.29, 4.10).
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def _spans(values: Sequence[Any]) -> str:
    shown = ", ".join(map(code, values[:_MOST_NAMES]))
    return shown if len(values) <= _MOST_NAMES else f"{shown}, … ({len(values)} in all)"
