"""`preptime refresh`."""

from __future__ import annotations

import datetime as dt

import click

from preptime.cli import figures, options, reading
from preptime.cli.speaking import Speaker, speaking


@click.command()
@options.orders
@options.restaurants
@options.date
@options.store
@options.gate
@speaking
def refresh(
    speaker: Speaker, *, orders: str, restaurants: str, date: dt.date, store: str, gate: tuple[str, ...]
) -> None:
    """Give the champion's models this morning's history.

    Nothing is fitted: the models stay, a new bundle has the new history, and once verified it is the champion.
    """
    from preptime.bundle.store import Store
    from preptime.tables.gate import with_settings
    from preptime.tables.open import open_table
    from preptime.training.publish import Who
    from preptime.training.refresh import refresh as run

    document = run(
        open_table(orders),
        reading.read_directory(restaurants),
        date,
        Store.open(store),
        Who(options.user(), options.now()),
        thresholds=with_settings(options.thresholds(gate)),
        progress=speaker.progress,
    )
    words = [
        f"{document.bundle} is the champion of {store}.",
        f"It has the models of {document.parent} and a history of {figures.counted(document.orders, 'order')}.",
    ]
    words += [
        f"{figures.counted(count, 'restaurant')} with a {name} that these models do not know: train to teach them."
        for name, count in document.unknown_values.items()
    ]
    speaker.finish(document, *words)
