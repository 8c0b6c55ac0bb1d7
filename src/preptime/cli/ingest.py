"""`preptime ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import inputs
from preptime.cli.output import Output, format_count, with_output
from preptime.errors import DataError, UsageError
from preptime.sources.database import LoadResult, NoStorableRowsError

if TYPE_CHECKING:
    from preptime.sources.database import Database


class IngestDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was loaded."""

    database: str
    migrations: tuple[str, ...]
    """What was applied to the database first."""
    restaurants: LoadResult | None
    """Null when none were given; likewise orders."""
    orders: LoadResult | None
    refused: dict[str, int]
    """Orders that could not be stored, by their first reason."""
    rejects: str | None
    """The file that holds them."""


@click.command()
@click.argument("orders_path", metavar="[ORDERS]", required=False)
@click.option("--restaurants", help="Restaurants to load first: a csv or parquet file.")
@click.option(
    "--to", "database_url", required=True, metavar="URL", help="The database, such as postgresql://user@host/database."
)
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("rejects.csv"),
    show_default=True,
    help="Write orders that cannot be stored here, with their reasons.",
)
@with_output
def ingest(
    output: Output, *, orders_path: str | None, restaurants: str | None, database_url: str, rejects: Path
) -> None:
    """Load orders and restaurants into a database.

    ORDERS is a csv or parquet file, a folder, or a glob of them. All or nothing: a load that fails leaves what was
    there. The same file again changes nothing, and an order that comes again with what was not known before is
    completed. Tables are made, or brought up to date, first; with neither orders nor restaurants that is all.
    """
    from preptime.sources.registry import open_database

    if rejects.suffix.lower() != ".csv":
        raise UsageError(f"--rejects {rejects} is no csv.", "Name the file .csv.")
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
    read_restaurants(frame)  # refuses what training would refuse
    return database.load_restaurants(encode_restaurants(frame))


def _load_orders(
    output: Output, database: Database, orders_path: str, rejects: Path
) -> tuple[LoadResult, dict[str, int]]:
    from preptime.sources.ingest import RejectsWriter
    from preptime.sources.ingest import ingest_orders as load
    from preptime.sources.registry import open_source

    restaurant_index = inputs.read_restaurants(database.restaurants)
    try:
        with RejectsWriter(rejects) as rejected_rows:
            loaded = load(open_source(orders_path), restaurant_index, database, rejected_rows, output.progress)
    except NoStorableRowsError as error:
        raise DataError(
            f"{orders_path}: no row could be stored.",
            f"All of them are in {rejects}, with their reasons: repair them there.",
        ) from error
    return loaded, {str(reason): count for reason, count in rejected_rows.reason_counts.most_common()}


def render_text(document: IngestDocument) -> list[str]:
    """What loading says to people."""
    lines = [f"Applied to {document.database}: {', '.join(document.migrations)}."] if document.migrations else []
    for noun, loaded in (("restaurant", document.restaurants), ("order", document.orders)):
        if loaded is not None:
            lines.append(f"{format_count(loaded.rows, noun)}: {_row_counts(loaded)}.")
    lines += [f"{format_count(count, 'order')} refused, reason {reason}." for reason, count in document.refused.items()]
    if document.rejects:
        lines.append(f"They are in {document.rejects}: repair them there and load that file.")
    return lines or [f"{document.database} is up to date."]


def _row_counts(loaded: LoadResult) -> str:
    counts = [f"{loaded.inserted:,} new", f"{loaded.updated:,} updated", f"{loaded.unchanged:,} unchanged"]
    if loaded.duplicates:
        counts.append(f"{loaded.duplicates:,} of an order that the file has more than once")
    return ", ".join(counts)
