"""`preptime ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from preptime.cli import figures, reading
from preptime.cli.speaking import Speaker, speaking
from preptime.errors import DataError, UsageError
from preptime.tables.database import Loaded, NothingToStoreError

if TYPE_CHECKING:
    from preptime.tables.database import Database


class IngestDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was loaded."""

    to: str
    migrations: tuple[str, ...]
    """What was applied to the database first."""
    restaurants: Loaded | None
    """Null when none were given; likewise orders."""
    orders: Loaded | None
    refused: dict[str, int]
    """Orders that could not be stored, by their first reason."""
    rejects: str | None
    """The file that holds them."""


@click.command()
@click.argument("source", metavar="[ORDERS]", required=False)
@click.option("--restaurants", help="Restaurants to load first: a csv or parquet file.")
@click.option("--to", required=True, metavar="URL", help="The database, such as postgresql://user@host/database.")
@click.option(
    "--rejects",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("rejects.csv"),
    show_default=True,
    help="Write orders that cannot be stored here, with their reasons.",
)
@speaking
def ingest(speaker: Speaker, *, source: str | None, restaurants: str | None, to: str, rejects: Path) -> None:
    """Load orders and restaurants into a database.

    ORDERS is a csv or parquet file, a folder, or a glob of them. All or nothing: a load that fails leaves what was
    there. The same file again changes nothing, and an order that comes again with what was not known before is
    completed. Tables are made, or brought up to date, first; with neither orders nor restaurants that is all.
    """
    from preptime.tables.open import open_database

    if rejects.suffix.lower() != ".csv":
        raise UsageError(f"--rejects {rejects} is no csv.", "Name the file .csv.")
    database = open_database(to)
    migrations = database.prepare()
    listed = None if restaurants is None else _restaurants(database, restaurants)
    orders, refused = (None, {}) if source is None else _orders(speaker, database, source, rejects)
    document = IngestDocument(
        to=database.name,
        migrations=migrations,
        restaurants=listed,
        orders=orders,
        refused=refused,
        rejects=str(rejects) if refused else None,
    )
    speaker.finish(document, *words(document))


def _restaurants(database: Database, restaurants: str) -> Loaded:
    from preptime.tables.directory import read_directory
    from preptime.tables.open import open_table
    from preptime.tables.restaurants import restaurants_to_store

    table = open_table(restaurants)
    frame = table.frame()
    read_directory(frame)  # refuses what training would refuse
    return database.load_restaurants(restaurants_to_store(frame))


def _orders(speaker: Speaker, database: Database, source: str, rejects: Path) -> tuple[Loaded, dict[str, int]]:
    from preptime.tables.ingest import ingest as load
    from preptime.tables.open import open_table
    from preptime.tables.rejects import Rejects

    directory = reading.read_directory(database.restaurants)
    try:
        with Rejects(rejects) as refused:
            loaded = load(open_table(source), directory, database, refused, speaker.progress)
    except NothingToStoreError as error:
        raise DataError(
            f"{source}: no row could be stored.",
            f"All of them are in {rejects}, with their reasons: repair them there.",
        ) from error
    return loaded, {str(reason): count for reason, count in refused.counts.most_common()}


def words(document: IngestDocument) -> list[str]:
    """What loading says to people."""
    said = [f"Applied to {document.to}: {', '.join(document.migrations)}."] if document.migrations else []
    for word, loaded in (("restaurant", document.restaurants), ("order", document.orders)):
        if loaded is not None:
            said.append(f"{figures.counted(loaded.rows, word)}: {_parted(loaded)}.")
    said += [f"{figures.counted(count, 'order')} refused, reason {why}." for why, count in document.refused.items()]
    if document.rejects:
        said.append(f"They are in {document.rejects}: repair them there and load that file.")
    return said or [f"{document.to} is up to date."]


def _parted(loaded: Loaded) -> str:
    parts = [f"{loaded.new:,} new", f"{loaded.updated:,} updated", f"{loaded.unchanged:,} unchanged"]
    if loaded.repeated:
        parts.append(f"{loaded.repeated:,} of an order that the file has more than once")
    return ", ".join(parts)
