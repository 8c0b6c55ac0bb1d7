"""The command `preptime ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import inputs, options
from preptime.cli.output import Output, with_output
from preptime.errors import DataError, UsageError
from preptime.formatting import format_count

if TYPE_CHECKING:
    from preptime.sources.database import Database, LoadResult


class IngestDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The document of `ingest --json`."""

    database: str
    migrations: tuple[str, ...]
    """Migrations that were applied to the database first."""
    restaurants: LoadResult | None
    """Null if no restaurants were loaded. The same applies to `orders`."""
    orders: LoadResult | None
    refused: dict[str, int]
    """Number of orders that couldn't be stored, by their first reason."""
    rejects: str | None
    """The file with these orders."""


@click.command()
@click.argument("orders_path", metavar="[ORDERS]", required=False)
@click.option("--restaurants", help="Restaurants to load first: a CSV or Parquet file.")
@click.option(
    "--to",
    "database_url",
    required=True,
    metavar="URL",
    help="URL of the database, such as postgresql://user@host/database.",
)
@click.option(
    "--rejects",
    type=options.LocalPath(dir_okay=False),
    default=Path("rejects.csv"),
    show_default=True,
    help="CSV file for orders that can't be stored, with their reasons.",
)
@with_output
def ingest(
    output: Output, *, orders_path: str | None, restaurants: str | None, database_url: str, rejects: Path
) -> None:
    """Load orders and restaurants into a database.

    ORDERS is a CSV or Parquet file, a folder, or a glob. A load that fails changes nothing. Loading a file again
    changes nothing. An order that is loaded again with additional values is updated. Tables are created or migrated
    first. Without orders and restaurants, the command does only that.
    """
    from preptime.sources.registry import open_database

    if rejects.suffix.lower() != ".csv":
        raise UsageError(f"--rejects {rejects} isn't a CSV file.", "Use a file name that ends in .csv.")
    database = open_database(database_url)
    migrations = database.prepare()
    loaded_restaurants = None if restaurants is None else _load_restaurants(database, restaurants)
    loaded_orders, refused = (None, {}) if orders_path is None else _load_orders(output, database, orders_path, rejects)
    document = IngestDocument(
        database=database.name,
        migrations=migrations,
        restaurants=loaded_restaurants,
        orders=loaded_orders,
        refused=refused,
        rejects=str(rejects) if refused else None,
    )
    output.finish(document, *render_text(document))


def _load_restaurants(database: Database, restaurants_path: str) -> LoadResult:
    from preptime.sources.database_schema import encode_restaurants
    from preptime.sources.registry import open_source
    from preptime.validation.restaurants import read_restaurants

    source = open_source(restaurants_path)
    frame = source.frame()
    read_restaurants(frame)  # rejects the restaurants that training would reject
    return database.load_restaurants(encode_restaurants(frame))


def _load_orders(
    output: Output, database: Database, orders_path: str, rejects: Path
) -> tuple[LoadResult, dict[str, int]]:
    from preptime.sources.database import NoStorableRowsError
    from preptime.sources.ingest import RejectsWriter, ingest_orders
    from preptime.sources.registry import open_source

    restaurant_index = inputs.read_restaurants(database.restaurants)
    try:
        with RejectsWriter(rejects) as rejected_rows:
            loaded = ingest_orders(open_source(orders_path), restaurant_index, database, rejected_rows, output.progress)
    except NoStorableRowsError as error:
        raise DataError(
            f"{orders_path}: no row could be stored.",
            f"Correct the rows in {rejects}, which has their reasons, and load that file.",
        ) from error
    return loaded, {str(reason): count for reason, count in rejected_rows.reason_counts.most_common()}


def render_text(document: IngestDocument) -> list[str]:
    """Return the result as text."""
    lines = [f"Applied to {document.database}: {', '.join(document.migrations)}."] if document.migrations else []
    for noun, loaded in (("restaurant", document.restaurants), ("order", document.orders)):
        if loaded is not None:
            lines.append(f"{format_count(loaded.rows, noun)}: {_row_counts(loaded)}.")
    lines += [
        f"{format_count(count, 'order')} rejected. Reason: {reason}." for reason, count in document.refused.items()
    ]
    if document.rejects:
        lines.append(f"Rejected orders are in {document.rejects}. Correct them and load that file.")
    return lines or [f"{document.database} is up to date."]


def _row_counts(loaded: LoadResult) -> str:
    counts = [f"{loaded.inserted:,} new", f"{loaded.updated:,} updated", f"{loaded.unchanged:,} unchanged"]
    if loaded.duplicates:
        counts.append(f"{loaded.duplicates:,} duplicates in the file")
    return ", ".join(counts)
