"""Open data sources, databases, and prediction stores by address.

To add a kind, add a file or folder next to this one, and a line to each dictionary that applies. The modules of a
database are imported only when one of its addresses is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.request import url2pathname

from preptime.errors import UsageError
from preptime.redaction import has_secret, redact_address, remember_secrets
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.sources.database import Database
from preptime.sources.files import open_files
from preptime.sources.predictions import PredictionStore
from preptime.sources.source import DataSource

OpenerT = TypeVar("OpenerT")


def _open_postgres(url: str, schema: Schema) -> DataSource:
    from preptime.sources.postgres.tables import open_postgres_source

    return open_postgres_source(url, schema)


def _open_bigquery(url: str, schema: Schema) -> DataSource:
    from preptime.sources.bigquery.tables import open_bigquery_source

    return open_bigquery_source(url, schema)


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


SOURCE_OPENERS: dict[str, Callable[[str, Schema], DataSource]] = {
    "": open_files,
    "file": lambda url, schema: open_files(url2pathname(url[len("file://") :]), schema),
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
    "bigquery": _open_bigquery,
}
"""Opens a data source, by the scheme of its address. An address without a scheme is a path."""

DATABASE_OPENERS: dict[str, Callable[[str], Database]] = {
    "postgresql": _open_postgres_database,
    "postgres": _open_postgres_database,
    "bigquery": _open_bigquery_database,
}
"""Opens a database to load into, by the scheme of its address."""

PREDICTION_STORE_OPENERS: dict[str, Callable[[str], PredictionStore]] = {
    "postgresql": _open_postgres_predictions,
    "postgres": _open_postgres_predictions,
    "bigquery": _open_bigquery_predictions,
}
"""Opens the predictions of a database, by the scheme of its address."""


_FILE_SCHEMES = ("", "file")
_SOURCE_HINT = (
    "Use a path, a folder, or a glob of CSV or Parquet files, or a postgresql:// or bigquery:// URL. "
    "For passwords, see docs/databases.md."
)


def open_source(location: str | Path, schema: Schema = TAKE_HOME_SCHEMA) -> DataSource:
    """Open the data source at a path, a folder or glob of partitions, or a URL.

    The rows of files have `schema`. Those of databases have `schema.canonical()`.

    Raises `DataError` if it can't be read, and `UsageError` for an unknown scheme.
    """
    address = str(location)
    remember_secrets(address)
    scheme = _scheme(address)
    opener = SOURCE_OPENERS.get(scheme)
    if opener is None or (scheme in _FILE_SCHEMES and has_secret(address) and not Path(address).exists()):
        raise UsageError(f"The address {redact_address(address)} isn't supported.", _SOURCE_HINT)
    return opener(address, schema)


def _scheme(address: str) -> str:
    """Return the scheme of an address in lowercase, or an empty string for a path."""
    scheme, separator, _ = address.partition("://")
    return scheme.lower() if separator else ""


def is_database(location: str | Path) -> bool:
    """Return whether an address is the URL of a database, rather than a path."""
    return _scheme(str(location)) in DATABASE_OPENERS


def open_database(url: str) -> Database:
    """Open the database at a URL to load into it. Raises `UsageError` for any other address."""
    return _find_opener(url, DATABASE_OPENERS)(url)


def default_restaurants(orders: str) -> str:
    """Return where the restaurants of orders are if no location is given: in the same database, or nowhere ("").

    The address can contain a password. Raises `UsageError` for an invalid address of a database.
    """
    return open_database(orders).restaurants if is_database(orders) else ""


def open_prediction_store(url: str) -> PredictionStore:
    """Open the predictions of the database at a URL. Raises `UsageError` for any other address."""
    return _find_opener(url, PREDICTION_STORE_OPENERS)(url)


def _find_opener(url: str, openers: Mapping[str, OpenerT]) -> OpenerT:
    remember_secrets(url)
    opener = openers.get(_scheme(url))
    if opener is None:
        known_schemes = " or ".join(f"{scheme}://" for scheme in openers)
        raise UsageError(
            f"{redact_address(url)} isn't the URL of a database.", f"Use a URL that starts with {known_schemes}."
        )
    return opener
