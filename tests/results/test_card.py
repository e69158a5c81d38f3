"""A model card shows what it is given as text, whatever that is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runner.results.card import code, render_card


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("mlp", "`mlp`"),
        ("<b>&amp;", "`<b>&amp;`"),
        ("a`b", "``a`b``"),
        ("``", "``` `` ```"),
        (" x", "`  x `"),
        ("", "`  `"),
        ("two\nlines", "`two\\nlines`"),
        ("[x](javascript:alert(1))", "`[x](javascript:alert(1))`"),
        (3, "`3`"),
    ],
)
def test_a_code_span_holds_its_text(value, span):
    assert code(value) == span


def test_names_and_values_stay_within_their_place(digits_run):
    evil = "x` | <img src=x> \n# y"
    best = replace(digits_run.result.best, params={evil: evil})
    result = replace(digits_run.result, best=best, name={"data": evil, "model": evil, "search": ""})
    card = render_card(result, columns=[evil], classes=[evil])
    assert [line for line in card.splitlines() if line.startswith("# ")] == [
        f"# {code(evil)}, trained on {code(evil)}"
    ]
    (row,) = [line for line in card.splitlines() if line.startswith("| ``x")]
    assert row.replace("\\|", "").count("|") == 3


def test_scores_of_baseline_and_winner_are_there(digits_run):
    card = render_card(digits_run.result)
    rows = [line for line in card.splitlines() if line.startswith(("| baseline", "| this model"))]
    assert len(rows) == 2
    assert f"{digits_run.result.best.cv_mean:.4f}" in rows[1]
    assert f"{digits_run.result.best.test['accuracy']:.4f} [" in rows[1]
    assert "1347 training rows and 450 test rows" in card
    assert "`python 3.11`" in card
