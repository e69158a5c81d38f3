"""The table of candidates, ``trials.csv``.

Columns: rank, the refit metric's mean, deviation and folds, further metrics, mean_fit_time (s),
status, and then one column per searched config path.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from runner.errors import RequestError
from runner.results.atomic import write_text
from runner.results.jsonable import plain
from runner.secrets import mask

Array = np.ndarray[Any, np.dtype[Any]]

_PARAM = "param_"
MISSING = np.nan


def trials_table(
    cv_results: Mapping[str, Any], *, refit: str | None = None, failed: Collection[int] = ()
) -> pd.DataFrame:
    """Turn scikit-learn's ``cv_results_`` into one row per candidate, in order of evaluation.

    A candidate of successive halving is shown as its last rung left it; ranks put later rungs
    first, then higher scores, then pruned candidates, then failures. Equal scores share the smaller
    rank.

    Parameters
    ----------
    cv_results
        As scikit-learn's searches leave it; a column ``pruned`` marks candidates without a score
        that did not fail.
    refit
        With several metrics, the one that fills ``mean_test_score`` and its siblings; the means
        and deviations of all of them follow as ``mean_test_<metric>``, ``std_test_<metric>``.
    failed
        Rows of `cv_results` that failed though they have a score (a numeric ``error_score``);
        those whose mean is NaN count as failed anyway.

    Returns
    -------
    DataFrame
        ``status`` is ``completed``, ``stopped`` (by halving, before the last rung), ``pruned``
        (before its last fold, so without a mean score) or ``failed``.
        Parameter columns hold Python objects; NaN where a candidate lacks the parameter.

    Raises
    ------
    ValueError
        When `cv_results` lacks the scores asked for.
    """
    metric = "score" if refit is None or "mean_test_score" in cv_results else refit
    if f"mean_test_{metric}" not in cv_results:
        raise ValueError(f"cv_results has no mean_test_{metric}; name the refit metric")
    params = _param_columns(cv_results)
    n_rows = len(cv_results[f"mean_test_{metric}"])
    rungs = np.asarray(cv_results.get("iter", np.zeros(n_rows)), dtype=int)
    rows = _last_rows(params, rungs, cv_results.get("n_resources"))

    scores = _score_columns(cv_results, metric)
    pruned = np.asarray(cv_results.get("pruned", np.zeros(n_rows)), dtype=bool)
    is_failed = np.isnan(scores["mean_test_score"]) | np.isin(np.arange(n_rows), list(failed))
    # What keeps a candidate from being ranked: 0 nothing, 1 pruned, 2 failed.
    out = np.where(pruned, 1, 2 * is_failed)[rows]
    table = pd.DataFrame(scores).iloc[rows].reset_index(drop=True)
    table.insert(0, "rank", _ranks(scores["mean_test_score"][rows], rungs[rows], out))
    table["mean_fit_time"] = np.asarray(cv_results["mean_fit_time"], dtype=float)[rows]
    table["status"] = _statuses(rungs[rows], rungs.max(initial=0), out)
    for path, values in params.items():
        table[path] = pd.Series([values[row] for row in rows], dtype=object)
    return table


def write_trials(table: pd.DataFrame, path: Path) -> None:
    """Write a trials table atomically, so that :func:`read_trials` returns the same values.

    Numbers are written with as many digits as they need; a parameter as JSON (``[1, 2]``,
    ``true``, ``null``), text bare unless it would be read as something else; a missing parameter
    as an empty cell.
    """
    encoded = table.copy()
    for name in searched_paths(table):
        encoded[name] = pd.Series([_encode(mask(value)) for value in table[name]], dtype=object)
    write_text(path, encoded.to_csv(index=False, lineterminator="\n"))


def read_trials(path: Path) -> pd.DataFrame:
    """Read ``trials.csv``, bit for bit what was written.

    Raises
    ------
    RequestError
        When the file is missing or isn't a table of trials.
    """
    try:
        # Cells as they are: pandas' own parser may miss a float's last bit and makes 1 of 1.0.
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
        readers = _readers(cells)
        columns = {name: [read(cell) for cell in cells[name]] for name, read in readers.items()}
        params = set(searched_paths(cells))
    except (OSError, ValueError) as error:
        raise RequestError(None, f"{path} is not a readable table of trials: {error}") from error
    # A type guessed by pandas would turn None into NaN, and 1 into 1.0 beside a missing cell.
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=object) if name in params else values
            for name, values in columns.items()
        }
    )


def searched_paths(table: pd.DataFrame) -> list[str]:
    """Return the searched config paths of a trials table: the columns after ``status``.

    Raises
    ------
    ValueError
        When there is no such column.
    """
    names = [str(name) for name in table.columns]
    if "status" not in names:
        raise ValueError("there is no column 'status'")
    return names[names.index("status") + 1 :]


def _readers(cells: pd.DataFrame) -> dict[str, Callable[[str], Any]]:
    """How to read a cell, by column."""
    params = searched_paths(cells)
    scores = dict.fromkeys((str(name) for name in cells.columns), _float)
    return {**scores, "rank": int, "status": str, **dict.fromkeys(params, _decode)}


def _float(cell: str) -> float:
    return float(cell or "nan")


def _param_columns(cv_results: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Searched values by config path."""
    return {
        key.removeprefix(_PARAM): [
            MISSING if hidden else _python(value)
            for value, hidden in zip(np.ma.getdata(values), _mask(values), strict=True)
        ]
        for key, values in cv_results.items()
        if key.startswith(_PARAM)
    }


def _mask(values: Any) -> list[bool]:
    """Where a candidate lacks the parameter; scikit-learn masks those."""
    if isinstance(values, np.ma.MaskedArray):
        return [bool(hidden) for hidden in np.ma.getmaskarray(values)]
    return [False] * len(values)


def _python(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _last_rows(params: Mapping[str, list[Any]], rungs: Array, n_resources: Any) -> list[int]:
    """Row of each candidate's last rung, candidates in order of their first.

    Rungs of one candidate differ in nothing but the resource. Candidates drawn twice are told
    apart by counting, since each of them appears once in a rung.
    """
    own = [values for values in params.values() if not _is_resource(values, n_resources)]
    last: dict[tuple[Any, ...], int] = {}
    seen: Counter[tuple[Any, ...]] = Counter()
    for row, rung in enumerate(rungs):
        candidate = tuple(_encode(values[row]) for values in own)
        seen[(rung, *candidate)] += 1
        last[(seen[(rung, *candidate)], *candidate)] = row
    return list(last.values())


def _is_resource(values: list[Any], n_resources: Any) -> bool:
    return n_resources is not None and list(n_resources) == values


def _score_columns(cv_results: Mapping[str, Any], metric: str) -> dict[str, Array]:
    splits = sorted(
        (key for key in cv_results if re.fullmatch(rf"split\d+_test_{re.escape(metric)}", key)),
        key=lambda key: int(key.split("_", 1)[0].removeprefix("split")),
    )
    columns = {
        "mean_test_score": cv_results[f"mean_test_{metric}"],
        "std_test_score": cv_results[f"std_test_{metric}"],
        **{f"{key.split('_', 1)[0]}_test_score": cv_results[key] for key in splits},
    }
    if metric != "score":
        columns |= {
            key: values
            for key, values in cv_results.items()
            if key.startswith(("mean_test_", "std_test_"))
        }
    return {name: np.asarray(values, dtype=float) for name, values in columns.items()}


def _ranks(scores: Array, rungs: Array, out: Array) -> list[int]:
    keys = [
        (reason, 0, 0.0) if reason else (reason, -rung, -score)
        for score, rung, reason in zip(scores, rungs, out, strict=True)
    ]
    first: dict[Any, int] = {}
    for place, key in enumerate(sorted(keys), start=1):
        first.setdefault(key, place)
    return [first[key] for key in keys]


def _statuses(rungs: Array, last_rung: int, out: Array) -> list[str]:
    return [
        ("stopped" if rung < last_rung else "completed", "pruned", "failed")[reason]
        for rung, reason in zip(rungs, out, strict=True)
    ]


def _encode(value: Any) -> str:
    if isinstance(value, float) and np.isnan(value):
        return ""
    if isinstance(value, float):
        return json.dumps(value)
    if isinstance(value, str) and value and value.isprintable() and not _is_json(value):
        return value
    return json.dumps(plain(value))


def _decode(cell: str) -> Any:
    if not cell:
        return MISSING
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _is_json(text: str) -> bool:
    return not isinstance(_decode(text), str) or text.startswith('"')
