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
    guarded = [_guarded(pl.col(name).cast(pl.String)).alias(name) for name in texts]
    names = pl.Series(frame.columns, dtype=pl.String).to_frame("name").select(_guarded(pl.col("name")))["name"]
    return frame.with_columns(guarded).rename(dict(zip(frame.columns, names.to_list(), strict=True)))


def _guarded(text: pl.Expr) -> pl.Expr:
    runs = text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
    return pl.when(runs).then(pl.concat_str(pl.lit(_GUARD), text)).otherwise(text)
