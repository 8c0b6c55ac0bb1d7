"""The command `preptime monitor`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preptime.cli import inputs, options
from preptime.cli.output import REFUSED_OR_ALERT, Output, with_output

if TYPE_CHECKING:
    from preptime.monitoring.document import MonitoringDocument


@click.command()
@options.date
@options.orders
@options.restaurants
@options.store
@options.results
@options.prediction_log_source
@with_output
def monitor(
    output: Output,
    *,
    date: dt.date,
    orders: str,
    restaurants: str | None,
    store: str,
    results: str,
    prediction_log_source: str | None,
) -> None:
    """Compare predictions with outcomes, and detect drift.

    Uses the data as of the date and evaluates the 28 days before it, including late outcomes. Writes monitoring.json,
    monitoring.html, and monitoring.prom to the partition of the date in the results. Prints alerts, and how many rules
    had enough data. The exit status is 1 if an alert fired, and 0 otherwise, also if rules are undecided.
    """
    from preptime.bundle.store import Store
    from preptime.monitoring.bundles import StoreBundleSource
    from preptime.monitoring.document import encode
    from preptime.monitoring.monitor import MonitoringInputs
    from preptime.monitoring.monitor import monitor_day as run_monitoring
    from preptime.monitoring.prometheus import render
    from preptime.monitoring.report import in_unit, render_report
    from preptime.sources.prediction_logs import open_prediction_log
    from preptime.sources.results import MONITORING_FILE, MONITORING_METRICS_FILE, MONITORING_REPORT_FILE, ResultsFolder

    daily_results, bundle_store = ResultsFolder(Path(results)), Store.open(store)
    bundle_source = StoreBundleSource(bundle_store)
    dataset = inputs.Dataset.of_champion(orders, restaurants, bundle_store)
    source = dataset.open_orders()
    output.progress("Predictions and outcomes", 0.0)
    document = run_monitoring(
        MonitoringInputs(
            orders=source,
            restaurants=inputs.read_restaurants(dataset, source),
            results=daily_results,
            bundle_source=bundle_source,
            prediction_log=open_prediction_log(
                prediction_log_source or options.read_setting("prediction_log_folder") or ""
            ),
        ),
        date,
    )
    output.progress("Report", 0.8)
    unit = dataset.schema.target.time_unit
    champion = bundle_source.manifest(document.champion) if document.champion else None
    zone_names = champion.vocabularies.time_zone if champion else ()
    daily_results.write(date, MONITORING_REPORT_FILE, render_report(document, unit).encode())
    daily_results.write(date, MONITORING_METRICS_FILE, render(document, zone_names))
    # The document comes last: if it exists, the other files do too.
    document_path = daily_results.write(date, MONITORING_FILE, encode(document))
    output.progress("Report", 1.0)
    output.finish(document, *render_text(in_unit(document, unit)), f"The results are in {document_path.parent}.")
    if document.alerts:
        # Not an exception: it would print a second JSON document.
        click.get_current_context().exit(REFUSED_OR_ALERT)


def render_text(document: MonitoringDocument) -> list[str]:
    """Return the alerts, one per line, and the summary, whose first sentence is an alert if there is one."""
    alerts = [f"Alert {alert.rule}: {alert.message}" for alert in document.alerts]
    return [*alerts, *document.headline[1 if alerts else 0 :]]
