"""The command `preptime snapshot`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, with_output
from preptime.formatting import format_count


@click.command()
@options.orders
@options.restaurants
@options.schema
@click.option("--from", "first_day", type=options.DATE, required=True, help="First local day of the orders.")
@click.option("--to", "last_day", type=options.DATE, required=True, help="Last local day of the orders.")
@click.option("--out", type=options.LocalPath(file_okay=False), required=True, help="Folder to write to.")
@with_output
def snapshot(
    output: Output,
    *,
    orders: str,
    restaurants: str | None,
    schema: str | None,
    first_day: dt.date,
    last_day: dt.date,
    out: Path,
) -> None:
    """Write the orders of a range of days to files.

    Writes orders, restaurants, and validation results. Unlike a database, a snapshot doesn't change, so you can version
    it (docs/data-versions.md). The same contents give the same bytes.
    """
    from preptime.sources.data_versions import write_snapshot

    dataset = inputs.Dataset.from_options(orders, restaurants, schema)
    source = dataset.open_orders()
    restaurants_source = dataset.open_restaurants() if dataset.has_restaurants else None
    document = write_snapshot(
        source, restaurants_source, inputs.read_restaurants(dataset, source), first=first_day, last=last_day, out=out
    )
    order_count, restaurant_count = (
        format_count(document.orders, "order"),
        format_count(document.restaurants, "restaurant"),
    )
    lines = [f"{order_count} from {first_day} to {last_day} and {restaurant_count} are in {out}."]
    if document.undated:
        lines.append(f"{format_count(document.undated, 'order')} without a readable time, which belong to no day.")
    output.finish(document, *lines)
