"""Helpers that load small files into a database."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from preptime.sources.database import LoadResult
from preptime.sources.ingest import RejectsWriter, ingest_orders
from preptime.sources.registry import open_database, open_source
from tests.validation.factories import RESTAURANTS, make_restaurant_index


def prepare_database(url: str) -> str:
    """Create the tables, load the four restaurants, and return the address of the database."""
    database = open_database(url)
    database.prepare()
    database.load_restaurants(RESTAURANTS)
    return url


def load_rows(url: str, rows: pl.DataFrame, suffix: str = "csv") -> LoadResult:
    """Load rows from a file. All of them must be storable."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"orders.{suffix}"
        rows.write_csv(path) if suffix == "csv" else rows.write_parquet(path)
        loaded, rejected_count = load_file(url, path)
    assert rejected_count == 0
    return loaded


def load_file(url: str, path: Path, rejects: Path | None = None) -> tuple[LoadResult, int]:
    """Load a file, and return the result and the number of rejected rows."""
    with RejectsWriter(rejects or path.with_name("rejects.csv")) as writer:
        loaded = ingest_orders(open_source(path), make_restaurant_index(), open_database(url), writer)
    return loaded, writer.row_count
