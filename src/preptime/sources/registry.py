"""Which kind of table an address means. A new kind is a file or folder beside this one, and a line in each dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.request import url2pathname

from preptime.errors import UsageError
from preptime.sources.database import Database
from preptime.sources.files import open_files
from preptime.sources.predictions import PredictionStore
from preptime.sources.source import DataSource

OpenerT = TypeVar("OpenerT")


def _open_postgres(url: str) -> DataSource:
    from preptime.sources.postgres.tables import open_postgres_source

    return open_postgres_source(url)


def _open_bigquery(url: str) -> DataSource:
    from preptime.sources.bigquery.tables import open_bigquery_source

    return open_bigquery_source(url)


def _open_postgres_database(url: str) -> Database:
    from preptime.sources.postgres.tables import open_postgres_database

    return open_postgres_database(url)


def _open_bigquery_database(url: str) -> Database:
    from preptime.sources.bigquery.tables import open_bigquery_database

    return open_bigquery_database(url)


def _open_postgres_predictions(url: str) -> PredictionStore:
    from preptime.sources.postgres.predictions import open_postgres_prediction_store

    return open_postgres_prediction_store(url)


def _open_bigquery_predictions(url: str) -> PredictionStore:
    from preptime.sources.bigquery.predictions import open_bigquery_prediction_store

    return open_bigquery_prediction_store(url)


SOURCE_OPENERS: dict[str, Callable[[str], DataSource]] = {
    "": open_files,
    "file": lambda url: open_files(url2pathname(url.removeprefix("file://"))),
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
    "bigquery": _open_bigquery,
}
"""How to open an address, by its scheme; no scheme means files."""

DATABASE_OPENERS: dict[str, Callable[[str], Database]] = {
    "postgresql": _open_postgres_database,
    "postgres": _open_postgres_database,
    "bigquery": _open_bigquery_database,
}
"""How to open what can be loaded into."""

PREDICTION_STORE_OPENERS: dict[str, Callable[[str], PredictionStore]] = {
    "postgresql": _open_postgres_predictions,
    "postgres": _open_postgres_predictions,
    "bigquery": _open_bigquery_predictions,
}
"""How to open what predictions can be written to."""


def open_source(location: str | Path) -> DataSource:
    """The table at a path, a folder or glob of partitions, or an address with a known scheme.

    Raises `DataError` when nothing readable is there and `UsageError` for an unknown scheme.
    """
    address = str(location)
    scheme, separator, _ = address.partition("://")
    opener = SOURCE_OPENERS.get(scheme if separator else "")
    if opener is None:
        raise UsageError(
            f"Nothing here reads {scheme}:// addresses.",
            "Give a path, a folder or a glob of csv or parquet files, or a postgresql:// or bigquery:// address.",
        )
    return opener(address)


def is_database(location: str | Path) -> bool:
    """Whether an address is a database's, rather than that of files."""
    return str(location).partition("://")[0] in DATABASE_OPENERS and "://" in str(location)


def open_database(url: str) -> Database:
    """The database at an address, to load into. Raises `UsageError` for what is none."""
    return _find_opener(url, DATABASE_OPENERS)(url)


def open_prediction_store(url: str) -> PredictionStore:
    """The predictions of the database at an address. Raises `UsageError` for what is none."""
    return _find_opener(url, PREDICTION_STORE_OPENERS)(url)


def _find_opener(url: str, openers: Mapping[str, OpenerT]) -> OpenerT:
    scheme, separator, _ = url.partition("://")
    opener = openers.get(scheme if separator else "")
    if opener is None:
        known_schemes = " or ".join(f"{scheme}://" for scheme in openers)
        raise UsageError(f"{url} isn't a database.", f"Give an address that begins with {known_schemes}.")
    return opener
