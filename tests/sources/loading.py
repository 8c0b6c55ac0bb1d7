"""Helpers that load small files into a database."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.database import LoadResult
from preptime.sources.database_schema import encode_restaurants
from preptime.sources.ingest import RejectsWriter, ingest_orders
from preptime.sources.registry import open_database, open_source
from preptime.validation.restaurants import read_restaurants
from tests.validation.factories import RESTAURANTS

STORED_SCHEMA = TAKE_HOME_SCHEMA.canonical()
"""The schema of orders that are read from a database."""


def prepare_database(url: str, restaurants: pl.DataFrame = RESTAURANTS, schema: Schema = TAKE_HOME_SCHEMA) -> str:
    """Create the tables, load the restaurants, and return the address of the database."""
    database = open_database(url)
    database.prepare()
    features = [feature.name for feature in schema.restaurant_features]
    database.load_restaurants(encode_restaurants(restaurants, schema), features)
    return url


def load_rows(url: str, rows: pl.DataFrame, suffix: str = "csv", schema: Schema = TAKE_HOME_SCHEMA) -> LoadResult:
    """Load rows from a file. All of them must be storable."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"orders.{suffix}"
        rows.write_csv(path) if suffix == "csv" else rows.write_parquet(path)
        loaded, rejected_count = load_file(url, path, schema=schema)
    assert rejected_count == 0
    return loaded


def load_file(
    url: str, path: Path, rejects: Path | None = None, schema: Schema = TAKE_HOME_SCHEMA
) -> tuple[LoadResult, int]:
    """Load a file, and return the result and the number of rejected rows."""
    database = open_database(url)
    with RejectsWriter(rejects or path.with_name("rejects.csv")) as writer:
        restaurants = stored_restaurants(url, schema)
        loaded = ingest_orders(open_source(path, schema), restaurants, database, writer)
    return loaded, writer.row_count


def stored_restaurants(url: str, schema: Schema = TAKE_HOME_SCHEMA) -> RestaurantIndex:
    """Return the restaurants of a database."""
    source = open_source(open_database(url).restaurants, schema)
    return read_restaurants(source.frame(), source.schema)
