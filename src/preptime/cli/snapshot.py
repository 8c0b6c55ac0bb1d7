"""`preptime snapshot`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, format_count, with_output


@click.command()
@options.orders
@options.restaurants
@click.option("--from", "first_day", type=options.DATE, required=True, help="First local day of the orders.")
@click.option("--to", "last_day", type=options.DATE, required=True, help="Last local day of the orders.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A folder.")
@with_output
def snapshot(
    output: Output, *, orders: str, restaurants: str, first_day: dt.date, last_day: dt.date, out: Path
) -> None:
    """Write the orders of some days as a file, to keep.

    Three files: orders, restaurants, and the verdicts of the audit. A database goes on changing; a snapshot of it can
    be versioned (docs/data-versions.md), and the same contents give the same bytes.
    """
    from preptime.sources.data_versions import write_snapshot as write
    from preptime.sources.registry import open_source

    restaurant_index = inputs.read_restaurants(restaurants)
    document = write(
        open_source(orders), open_source(restaurants), restaurant_index, first=first_day, last=last_day, out=out
    )
    order_count = format_count(document.orders, "order")
    lines = [
        f"{order_count} from {first_day} to {last_day} and {format_count(document.restaurants, 'restaurant')} are in {out}."
    ]
    if document.undated:
        lines.append(f"{format_count(document.undated, 'order')} of them without a readable time, so of no day.")
    output.finish(document, *lines)
