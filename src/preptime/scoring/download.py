"""CSV download of a scored file, with cells escaped so that a spreadsheet doesn't run them as formulas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from preptime.scoring.column_names import unique_name
from preptime.scoring.score_file import CHUNK_ROWS
from preptime.scoring.scorer import PassthroughColumns
from preptime.sources.registry import open_source

_FORMULA_PATTERN = r"^[\s\x1c-\x1f]*[=+\-@＝＋－＠\t\r\n]"
"""Start of a formula in Excel, LibreOffice, or Google Sheets. It can follow spaces, and be in full width."""
_NUMBER_PATTERN = r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$"
_ESCAPE = "'"
"""Makes a spreadsheet treat the cell as text."""


def escape_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with an apostrophe before each text and column name that a spreadsheet would run as a formula.

    Numbers written as text, such as `-3.5`, are unchanged.
    """
    text_columns = [
        name for name, dtype in frame.schema.items() if isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
    ]
    escaped_names = pl.DataFrame({"name": frame.columns}, schema={"name": pl.String}).select(_escaped("name"))["name"]
    renamed = {
        old: unique_name(new, frame.columns, prefix=_ESCAPE)
        for old, new in zip(frame.columns, escaped_names, strict=True)
        if new != old
    }
    return frame.with_columns(_escaped(name) for name in text_columns).rename(renamed)


def _escaped(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    is_formula = text.str.contains(_FORMULA_PATTERN) & ~text.str.contains(_NUMBER_PATTERN)
    return pl.when(is_formula).then(pl.concat_str(pl.lit(_ESCAPE), text)).otherwise(text).alias(name)


def iter_csv_chunks(scored: Path) -> Iterator[bytes]:
    """Yield a scored Parquet file as escaped CSV. Raises `DataError` before any chunk if CSV can't hold a column."""
    source = open_source(scored)
    passthrough = PassthroughColumns.from_source(source, for_csv=True)
    return _encode_chunks(passthrough, source.batches(CHUNK_ROWS))


def _encode_chunks(passthrough: PassthroughColumns, batches: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    include_header = True
    for rows in batches:
        yield escape_formulas(passthrough.select(rows)).write_csv(include_header=include_header).encode()
        include_header = False
