"""Csv that a spreadsheet opens without running anything: what it would take for a formula becomes text."""

from __future__ import annotations

import polars as pl

_FORMULA = r"^\s*[=+\-@＝＋－＠\t\r\n]"
"""What Excel, LibreOffice and Google Sheets begin a formula with, also after blanks and in full width."""
_NUMBER = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_GUARD = "'"
"""Shown by no spreadsheet as part of the cell when typed; in a file it keeps the cell text."""


def safe_for_spreadsheets(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows with an apostrophe before every text, and every column's name, that would run as a formula.

    Numbers written as text stay as they are, `-3.5` too.
    """
    texts = [name for name, kind in frame.schema.items() if isinstance(kind, pl.String | pl.Categorical | pl.Enum)]
    guarded = pl.DataFrame({"name": frame.columns}, schema={"name": pl.String}).select(_guarded("name"))["name"]
    renamed = {old: _apart(new, old, frame.columns) for old, new in zip(frame.columns, guarded, strict=True)}
    return frame.with_columns(_guarded(name) for name in texts).rename(renamed)


def _apart(new: str, old: str, names: list[str]) -> str:
    """`new` as it is, or with one apostrophe more where the table has a column of that very name."""
    while new != old and new in names:
        new = _GUARD + new
    return new


def _guarded(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    runs = text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
    return pl.when(runs).then(pl.concat_str(pl.lit(_GUARD), text)).otherwise(text).alias(name)
