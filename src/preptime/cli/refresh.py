"""`preptime refresh`."""

from __future__ import annotations

import datetime as dt

import click

from preptime.cli import figures, options, reading
from preptime.cli.speaking import Output, with_output


@click.command()
@options.orders
@options.restaurants
@options.date
@options.store
@options.gate
@with_output
def refresh(output: Output, *, orders: str, restaurants: str, date: dt.date, store: str, gate: tuple[str, ...]) -> None:
    """Give the champion's models this morning's history.

    Nothing is fitted: the models stay, a new bundle has the new history, and once verified it is the champion.
    """
    from preptime.bundle.store import Store
    from preptime.tables.gate import thresholds_from_settings
    from preptime.tables.open import open_source
    from preptime.training.publish import AuditActor
    from preptime.training.refresh import refresh_champion as run

    document = run(
        open_source(orders),
        reading.read_restaurants(restaurants),
        date,
        Store.open(store),
        AuditActor(options.current_user(), options.utc_now()),
        thresholds=thresholds_from_settings(options.parse_thresholds(gate)),
        progress=output.progress,
    )
    lines = [
        f"{document.bundle} is the champion of {store}.",
        f"It has the models of {document.parent} and a history of {figures.format_count(document.orders, 'order')}.",
    ]
    lines += [
        f"{figures.format_count(count, 'restaurant')} with a {name} that these models do not know: train to teach them."
        for name, count in document.unknown_values.items()
    ]
    output.finish(document, *lines)
