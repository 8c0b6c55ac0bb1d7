"""A scored file on its way to a person's spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from preptime.scoring.carried import Carried
from preptime.scoring.score import CHUNK_ROWS
from preptime.tables.open import open_table
from preptime.tables.spreadsheet import safe_for_spreadsheets


def csv_chunks(scored: Path) -> Iterator[bytes]:
    """The parquet file as csv, chunk by chunk, with nothing in it that a spreadsheet would run.

    Raises `DataError` before the first chunk when a column holds what csv has no cell for.
    """
    table = open_table(scored)
    carried = Carried.of(table, to_csv=True)
    return _chunks(carried, table.batches(CHUNK_ROWS))


def _chunks(carried: Carried, batches: Iterator[pl.DataFrame]) -> Iterator[bytes]:
    header = True
    for rows in batches:
        yield safe_for_spreadsheets(carried.of_chunk(rows)).write_csv(include_header=header).encode()
        header = False
