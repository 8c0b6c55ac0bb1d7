"""`preptime snapshot`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking


@click.command()
@options.orders
@options.restaurants
@click.option("--from", "first", type=options.DATE, required=True, help="First local day of the orders.")
@click.option("--to", "last", type=options.DATE, required=True, help="Last local day of the orders.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="A folder.")
@speaking
def snapshot(speaker: Speaker, *, orders: str, restaurants: str, first: dt.date, last: dt.date, out: Path) -> None:
    """Write the orders of some days as a file, to keep.

    Three files: orders, restaurants, and the verdicts of the audit. A database goes on changing; a snapshot of it can
    be versioned (docs/data-versions.md), and the same contents give the same bytes.
    """
    from preptime.tables.open import open_table
    from preptime.tables.snapshot import snapshot as write

    directory = reading.read_directory(restaurants)
    document = write(open_table(orders), open_table(restaurants), directory, first=first, last=last, out=out)
    orders_said = figures.counted(document.orders, "order")
    said = [
        f"{orders_said} from {first} to {last} and {figures.counted(document.restaurants, 'restaurant')} are in {out}."
    ]
    if document.undated:
        said.append(f"{figures.counted(document.undated, 'order')} of them without a readable time, so of no day.")
    speaker.finish(document, *said)
