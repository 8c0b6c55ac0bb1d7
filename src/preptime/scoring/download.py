"""A scored file on its way to a person's spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from preptime.scoring.carried import PassthroughColumns
from preptime.scoring.score import CHUNK_ROWS
from preptime.tables.open import open_source
from preptime.tables.spreadsheet import escape_formulas


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
