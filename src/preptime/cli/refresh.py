"""The command `preptime refresh`."""

from __future__ import annotations

import datetime as dt

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, with_output
from preptime.formatting import format_count
from preptime.python_api.defaults import current_user, utc_now


@click.command()
@options.optional_orders
@options.restaurants
@options.state
@options.date
@options.store
@options.gate
@with_output
def refresh(
    output: Output,
    *,
    orders: str | None,
    restaurants: str | None,
    state: str | None,
    date: dt.date,
    store: str,
    gate: tuple[str, ...],
) -> None:
    """Update the history of the champion without training.

    Creates a bundle with the champion's models and history as of the date. The verified bundle becomes the champion.
    With --state, the history is that of orders that Spark has counted, and no orders are read.
    """
    from preptime.tracking.runs import follow_champion
    from preptime.training.publishing import AuditActor
    from preptime.training.refresh import refresh_champion, refresh_from_state
    from preptime.training.saved_state import read_state
    from preptime.validation.data_gate import thresholds_from_settings

    bundle_store = options.open_store(store)
    actor = AuditActor(current_user(), utc_now())
    thresholds = thresholds_from_settings(options.parse_thresholds(gate))
    if state is not None:
        document = refresh_from_state(read_state(state), date, bundle_store, actor, thresholds=thresholds)
    else:
        location = options.require_setting("orders", orders, click.get_current_context())
        dataset = inputs.Dataset.of_champion(location, restaurants, bundle_store)
        source = dataset.open_orders()
        index = inputs.read_restaurants(dataset, source)
        document = refresh_champion(
            source, index, date, bundle_store, actor, thresholds=thresholds, progress=output.progress
        )
    follow_champion(bundle_store, options.tracking_settings())
    lines = [
        f"{document.bundle} is the champion of {store}.",
        f"It has the models of {document.parent} and a history of {format_count(document.orders, 'completed order')}.",
    ]
    lines += [
        f"{format_count(count, 'restaurant')} with a {name} that these models don't know. To add it, train new models."
        for name, count in document.unknown_values.items()
    ]
    output.finish(document, *lines)
