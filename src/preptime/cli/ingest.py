"""The command `preptime ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import inputs, options
from preptime.cli.output import Output, print_message, with_output
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
@click.option(
    "--restaurants",
    help="Restaurants to load first: a CSV or Parquet file.  [default: those in the database, or if it has none, "
    "those derived from ORDERS]",
)
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
@options.schema
@with_output
def ingest(
    output: Output,
    *,
    orders_path: str | None,
    restaurants: str | None,
    database_url: str,
    rejects: Path,
    schema: str | None,
) -> None:
    """Load orders and restaurants into a database.

    ORDERS is a CSV or Parquet file, a folder, or a glob. Columns get the canonical names of the data dictionary, and
    values its units. Custom features of the schema are stored by name. A restaurant with an error is left out. A load
    that fails changes nothing. Loading a file again changes nothing. An order that is loaded again with additional
    values is updated. Tables are created or migrated first. Without orders and restaurants, the command does only that.
    """
    from preptime.sources.registry import open_database

    if rejects.suffix.lower() != ".csv":
        raise UsageError(f"--rejects {rejects} isn't a CSV file.", "Use a file name that ends in .csv.")
    database = open_database(database_url)
    migrations = database.prepare()
    loaded_restaurants, loaded_orders = None, None
    refused: dict[str, int] = {}
    if restaurants is not None:
        loaded_restaurants = _load_restaurants(database, inputs.Dataset.from_options("", restaurants, schema))
    if orders_path is not None:
        dataset = inputs.Dataset.from_options(orders_path, database.restaurants, schema)
        if restaurants is None:
            loaded_restaurants = _load_derived_restaurants(output, database, dataset)
        loaded_orders, refused = _load_orders(output, database, dataset, rejects)
    document = IngestDocument(
        database=database.name,
        migrations=migrations,
        restaurants=loaded_restaurants,
        orders=loaded_orders,
        refused=refused,
        rejects=str(rejects) if refused else None,
    )
    output.finish(document, *render_text(document))


def _load_restaurants(database: Database, dataset: inputs.Dataset) -> LoadResult:
    """Load the restaurants that training would use, and print what was found in the others."""
    from preptime.sources.database_schema import encode_restaurants
    from preptime.validation.restaurants import audit_restaurants

    source = dataset.open_restaurants()
    frame = source.frame()
    audit = audit_restaurants(frame, source.schema)
    print_message(*audit.messages)
    rows = encode_restaurants(frame[audit.usable_rows], source.schema)
    return database.load_restaurants(rows, _restaurant_features(dataset))


def _load_derived_restaurants(output: Output, database: Database, dataset: inputs.Dataset) -> LoadResult | None:
    """Add the new restaurants of the orders, unless all restaurants in the database are from files."""
    from preptime.sources.database import DERIVED_RESTAURANTS, RESTAURANTS_TABLE
    from preptime.sources.ingest import read_restaurant_columns
    from preptime.validation.derived_restaurants import derive_restaurants, restaurants_to_frame

    if database.recorded_names(RESTAURANTS_TABLE) and not database.recorded_names(DERIVED_RESTAURANTS):
        return None
    output.progress("Deriving the restaurants", 0.0)
    try:
        audit = derive_restaurants(read_restaurant_columns(dataset.open_orders()), dataset.schema)
    except DataError as error:
        command = f"preptime ingest --restaurants RESTAURANTS --to {database.address.shell_quoted_url}"
        raise DataError(error.facts, f"{error.hint} Or load a file with the restaurants first: {command}") from error
    output.progress("Deriving the restaurants", 1.0)
    print_message(*audit.messages)
    rows = restaurants_to_frame(audit.index)
    return database.load_restaurants(rows, _restaurant_features(dataset), are_derived=True)


def _restaurant_features(dataset: inputs.Dataset) -> list[str]:
    return [feature.name for feature in dataset.schema.restaurant_features]


def _load_orders(
    output: Output, database: Database, dataset: inputs.Dataset, rejects: Path
) -> tuple[LoadResult, dict[str, int]]:
    from preptime.sources.database import NoStorableRowsError
    from preptime.sources.ingest import RejectsWriter, ingest_orders

    restaurant_index = inputs.read_restaurants(dataset)
    try:
        with RejectsWriter(rejects) as rejected_rows:
            loaded = ingest_orders(dataset.open_orders(), restaurant_index, database, rejected_rows, output.progress)
    except NoStorableRowsError as error:
        raise DataError(
            f"{dataset.orders_location}: no row could be stored.",
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
