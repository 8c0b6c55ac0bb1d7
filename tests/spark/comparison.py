"""Scoring with Spark in this process, and the comparison of its rows with those of `preptime score`, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from preptime.bundle.store import Store
from tests.cli.run_command import CommandResult, preptime

ROW = "n"
"""A column with the number of each row, because Spark doesn't keep the order of rows."""


def numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with their numbers."""
    return rows.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW))


def write_parts(folder: Path, rows: pl.DataFrame, parts: int = 3) -> Path:
    """Write rows to several files, and return their folder."""
    folder.mkdir()
    size = -(-len(rows) // parts)
    for number, part in enumerate(rows.iter_slices(size)):
        part.write_parquet(folder / f"part{number}.parquet", row_group_size=100)
    return folder


def collected(frame: Any) -> pl.DataFrame:
    """Return the rows of a DataFrame of Spark."""
    return pl.DataFrame(pl.from_arrow(frame.toArrow()))


def written(folder: str | Path) -> pl.DataFrame:
    """Return the rows of the files that Spark wrote to a folder."""
    return pl.concat([pl.read_parquet(path, glob=False) for path in sorted(Path(folder).glob("part-*.parquet"))])


def spark_score(orders: Path | str, out: Path | str, store: Store, *options: str | Path) -> CommandResult:
    """Run `preptime spark score` in this process, with the session of the tests."""
    return preptime("spark", "score", "--orders", orders, "--out", out, "--store", store.url, *options, "--json")


def assert_same_cells(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Check the columns, the types, and every cell, floats bit for bit."""
    assert found.schema == expected.schema
    found, expected = found.sort(ROW), expected.sort(ROW)
    differing = [name for name in expected.columns if not _has_same_bits(found[name], expected[name])]
    assert differing == []


def _has_same_bits(found: pl.Series, expected: pl.Series) -> bool:
    if not expected.dtype.is_float():
        return found.equals(expected, null_equal=True)
    bits = np.uint32 if expected.dtype == pl.Float32 else np.uint64
    values = [series.fill_null(0).to_numpy().view(bits) for series in (found, expected)]
    return found.is_null().equals(expected.is_null()) and bool((values[0] == values[1]).all())
