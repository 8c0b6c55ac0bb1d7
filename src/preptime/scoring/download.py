"""Csv that a spreadsheet opens without running anything: what it would take for a formula becomes text.

A scored file on its way to a person's spreadsheet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from preptime.scoring.score_file import CHUNK_ROWS
from preptime.scoring.scorer import PassthroughColumns
from preptime.sources.registry import open_source

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


def iter_csv_chunks(scored: Path) -> Iterator[bytes]:
    """The parquet file as csv, chunk by chunk, with nothing in it that a spreadsheet would run.

    Raises `DataError` before the first chunk when a column holds what csv has no cell for.
    """
    source = open_source(scored)
    passthrough = PassthroughColumns.from_source(source, for_csv=True)
    return _encode_chunks(passthrough, source.batches(CHUNK_ROWS))


def _encode_chunks(passthrough: PassthroughColumns, batches: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    include_header = True
    for rows in batches:
        yield escape_formulas(passthrough.select(rows)).write_csv(include_header=include_header).encode()
        include_header = False
