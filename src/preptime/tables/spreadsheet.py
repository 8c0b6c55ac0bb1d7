"""Csv that a spreadsheet opens without running anything: what it would take for a formula becomes text."""

from __future__ import annotations

import polars as pl

_FORMULA_PATTERN = r"^\s*[=+\-@＝＋－＠\t\r\n]"
"""What Excel, LibreOffice and Google Sheets begin a formula with, also after blanks and in full width."""
_NUMBER_PATTERN = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_ESCAPE = "'"
"""Shown by no spreadsheet as part of the cell when typed; in a file it keeps the cell text."""


def escape_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows with an apostrophe before every text, and every column's name, that would run as a formula.

    Numbers written as text stay as they are, `-3.5` too.
    """
    text_columns = [
        name for name, dtype in frame.schema.items() if isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
    ]
    escaped_names = pl.DataFrame({"name": frame.columns}, schema={"name": pl.String}).select(_escaped("name"))["name"]
    renamed = {
        old: _unique_name(new, old, frame.columns) for old, new in zip(frame.columns, escaped_names, strict=True)
    }
    return frame.with_columns(_escaped(name) for name in text_columns).rename(renamed)


def _unique_name(new: str, old: str, names: list[str]) -> str:
    """`new` as it is, or with one apostrophe more where the table has a column of that very name."""
    while new != old and new in names:
        new = _ESCAPE + new
    return new


def _escaped(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    is_formula = text.str.contains(_FORMULA_PATTERN) & ~text.str.contains(_NUMBER_PATTERN)
    return pl.when(is_formula).then(pl.concat_str(pl.lit(_ESCAPE), text)).otherwise(text).alias(name)
