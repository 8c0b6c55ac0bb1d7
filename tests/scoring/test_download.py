"""Nothing in a csv for people runs when a spreadsheet opens it."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preptime.scoring.download import escape_formulas

DANGEROUS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "=", "-", "\n@x"]
HARMLESS = ["", "plain", "-3.5", "+44", " 12 ", "1e-5", "-.5", "2015-06-01 12:28:28+01:00", "a=b", "'=1", None]


@pytest.mark.parametrize("text", DANGEROUS)
def test_escape_formulas_prefixes_formulas(text: str) -> None:
    assert escape_formulas(pl.DataFrame({"note": [text]}))["note"].to_list() == [f"'{text}"]


def test_escape_formulas_keeps_other_values() -> None:
    frame = pl.DataFrame({"note": HARMLESS, "number": pl.Series([-1.5] * len(HARMLESS), dtype=pl.Float32)})
    assert escape_formulas(frame).equals(frame)


def test_escape_formulas_keeps_column_names_unique() -> None:
    frame = pl.DataFrame({"=a": [1], "'=a": [2], "b": [3]})
    assert escape_formulas(frame).columns == ["''=a", "'=a", "b"]


def test_escape_formulas_escapes_categories() -> None:
    frame = pl.DataFrame({"kind": pl.Series(["=1", "x", None], dtype=pl.Categorical)})
    assert escape_formulas(frame)["kind"].to_list() == ["'=1", "x", None]


@given(st.text(max_size=12))
def test_escape_formulas_leaves_no_formula(text: str) -> None:
    (out,) = escape_formulas(pl.DataFrame({"note": [text]}))["note"]
    if out.lstrip()[:1] in set("=+-@"):
        float(out)  # only a number may begin like that
    assert out.removeprefix("'") == text.removeprefix("'")
