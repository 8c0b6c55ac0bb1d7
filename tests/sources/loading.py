"""Loading small files into a database, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from preptime.sources.database import LoadResult
from preptime.sources.ingest import RejectsWriter, ingest_orders
from preptime.sources.registry import open_database, open_source
from tests.validation.factories import RESTAURANTS, directory


def prepared(url: str) -> str:
    """The database with our tables and the four restaurants; its address again."""
    database = open_database(url)
    database.prepare()
    database.load_restaurants(RESTAURANTS)
    return url


def load(url: str, rows: pl.DataFrame, suffix: str = "csv") -> LoadResult:
    """Load rows by way of a file; none of them may be refused."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"orders.{suffix}"
        rows.write_csv(path) if suffix == "csv" else rows.write_parquet(path)
        loaded, refused = load_file(url, path)
    assert refused == 0
    return loaded


def load_file(url: str, path: Path, rejects: Path | None = None) -> tuple[LoadResult, int]:
    """Load a file; what was done, and how many rows were refused."""
    with RejectsWriter(rejects or path.with_name("rejects.csv")) as refused:
        loaded = ingest_orders(open_source(path), directory(), open_database(url), refused)
    return loaded, refused.row_count
