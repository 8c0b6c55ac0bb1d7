"""`preptime monitor`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preptime.cli import options, reading
from preptime.cli.speaking import Speaker, speaking
from preptime.cli.status import REFUSED

if TYPE_CHECKING:
    from preptime.monitoring.document import Monitoring


@click.command()
@options.date
@options.orders
@options.restaurants
@options.store
@options.results
@options.log
@speaking
def monitor(
    speaker: Speaker,
    *,
    date: dt.date,
    orders: str,
    restaurants: str,
    store: str,
    results: str,
    prediction_log_folder: str,
) -> None:
    """Look at how it went: answers beside outcomes, drift, alerts.

    Reads what was known on the morning of the date and looks at the 28 days before it, late outcomes included. Writes
    monitoring.json, monitoring.html and monitoring.prom into the date's partition of the results. Exit status 1 when
    an alert fired; the alerts are said.
    """
    from preptime.bundle.store import Store
    from preptime.monitoring.document import encode
    from preptime.monitoring.monitor import Watch
    from preptime.monitoring.monitor import monitor as look
    from preptime.monitoring.page import render_page
    from preptime.monitoring.prometheus import render
    from preptime.monitoring.sources import StoreSources
    from preptime.tables.open import open_table
    from preptime.tables.results import MONITORING, MONITORING_METRICS, MONITORING_PAGE, Results

    into = Results(Path(results))
    speaker.progress("Answers and outcomes", 0.0)
    document = look(
        Watch(
            orders=open_table(orders),
            directory=reading.read_directory(restaurants),
            results=into,
            sources=StoreSources(Store.open(store)),
            log=Path(prediction_log_folder),
        ),
        date,
    )
    speaker.progress("Page", 0.8)
    into.write(date, MONITORING_PAGE, render_page(document).encode())
    into.write(date, MONITORING_METRICS, render(document))
    # The document comes last: who finds it finds the others beside it.
    written = into.write(date, MONITORING, encode(document))
    speaker.progress("Page", 1.0)
    speaker.finish(document, *words(document), f"The results are in {written.parent}.")
    if document.alerts:
        # The document is printed: an error's document beside it would be one too many.
        click.get_current_context().exit(REFUSED)


def words(document: Monitoring) -> list[str]:
    """What monitoring says to people: each alert on a line, then how the week went."""
    alerts = [f"Alert {one.rule}: {one.sentence}" for one in document.alerts]
    return [*(alerts or [document.verdict[0]]), *document.verdict[1:]]
