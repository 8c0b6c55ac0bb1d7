"""Which kind of table an address means. A new kind is a file or folder beside this one, and a line in each dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.request import url2pathname

from preptime.errors import UsageError
from preptime.tables.database import Database
from preptime.tables.files import open_files
from preptime.tables.predictions import Predictions
from preptime.tables.table import Table

Opener = TypeVar("Opener")


def _postgres(url: str) -> Table:
    from preptime.tables.postgres.read import open_postgres

    return open_postgres(url)


def _bigquery(url: str) -> Table:
    from preptime.tables.bigquery.read import open_bigquery

    return open_bigquery(url)


def _postgres_database(url: str) -> Database:
    from preptime.tables.postgres.load import open_postgres_database

    return open_postgres_database(url)


def _bigquery_database(url: str) -> Database:
    from preptime.tables.bigquery.load import open_bigquery_database

    return open_bigquery_database(url)


def _postgres_predictions(url: str) -> Predictions:
    from preptime.tables.postgres.predictions import open_postgres_predictions

    return open_postgres_predictions(url)


def _bigquery_predictions(url: str) -> Predictions:
    from preptime.tables.bigquery.predictions import open_bigquery_predictions

    return open_bigquery_predictions(url)


KINDS: dict[str, Callable[[str], Table]] = {
    "": open_files,
    "file": lambda url: open_files(url2pathname(url.removeprefix("file://"))),
    "postgresql": _postgres,
    "postgres": _postgres,
    "bigquery": _bigquery,
}
"""How to open an address, by its scheme; no scheme means files."""

DATABASES: dict[str, Callable[[str], Database]] = {
    "postgresql": _postgres_database,
    "postgres": _postgres_database,
    "bigquery": _bigquery_database,
}
"""How to open what can be loaded into."""

PREDICTIONS: dict[str, Callable[[str], Predictions]] = {
    "postgresql": _postgres_predictions,
    "postgres": _postgres_predictions,
    "bigquery": _bigquery_predictions,
}
"""How to open what predictions can be written to."""


def open_table(source: str | Path) -> Table:
    """The table at a path, a folder or glob of partitions, or an address with a known scheme.

    Raises `DataError` when nothing readable is there and `UsageError` for an unknown scheme.
    """
    address = str(source)
    scheme, separator, _ = address.partition("://")
    kind = KINDS.get(scheme if separator else "")
    if kind is None:
        raise UsageError(
            f"Nothing here reads {scheme}:// addresses.",
            "Give a path, a folder or a glob of csv or parquet files, or a postgresql:// or bigquery:// address.",
        )
    return kind(address)


def is_database(source: str | Path) -> bool:
    """Whether an address is a database's, rather than that of files."""
    return str(source).partition("://")[0] in DATABASES and "://" in str(source)


def open_database(url: str) -> Database:
    """The database at an address, to load into. Raises `UsageError` for what is none."""
    return _of_scheme(url, DATABASES)(url)


def open_predictions(url: str) -> Predictions:
    """The predictions of the database at an address. Raises `UsageError` for what is none."""
    return _of_scheme(url, PREDICTIONS)(url)


def _of_scheme(url: str, openers: Mapping[str, Opener]) -> Opener:
    scheme, separator, _ = url.partition("://")
    opener = openers.get(scheme if separator else "")
    if opener is None:
        known = " or ".join(f"{scheme}://" for scheme in openers)
        raise UsageError(f"{url} is no database.", f"Give an address that begins with {known}.")
    return opener
