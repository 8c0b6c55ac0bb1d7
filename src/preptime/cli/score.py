"""`preptime score --date`: the orders of one local date, into its partition of the results.

`preptime score`.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, format_count, with_output
from preptime.errors import UsageError

if TYPE_CHECKING:
    from preptime.cli.output import Output
    from preptime.scoring.score_day import DayOrders, DayScoreDocument, SelectedBundle
    from preptime.scoring.score_document import ScoreDocument


def score_day(
    output: Output,
    date: dt.date,
    orders: str,
    restaurants: str,
    *,
    store: str,
    results: str,
    predictions_url: str | None,
    bundle_id: str | None,
) -> None:
    """Score a day, say what there was to say, end well: no champion and no orders are no failure."""
    from preptime.bundle.store import Store
    from preptime.scoring.score_day import score_day as run
    from preptime.scoring.score_day import select_bundle, select_champion
    from preptime.sources.registry import is_database, open_prediction_store, open_source
    from preptime.sources.results import PREDICTIONS_FILE, ResultsFolder

    if predictions_url is not None and not is_database(predictions_url):
        raise UsageError(
            f"--out {predictions_url} isn't a database.",
            f"With --date the file is {results}/date={date}/{PREDICTIONS_FILE} (--results).",
        )
    predictions_table = None if predictions_url is None else open_prediction_store(predictions_url)
    bundle_store, daily_results = Store.open(store), ResultsFolder(Path(results))
    selection = (
        select_champion(bundle_store, date, daily_results)
        if bundle_id is None
        else select_bundle(bundle_store, bundle_id, date)
    )
    document, day_orders = run(
        open_source(orders),
        date,
        selection,
        inputs.read_restaurants(restaurants),
        daily_results,
        write_predictions=None if predictions_table is None else predictions_table.write,
        progress=output.progress,
    )
    output.finish(
        document,
        *render_day_text(document, day_orders, selection, daily_results.path(date, PREDICTIONS_FILE).parent, store),
    )


def render_day_text(
    document: DayScoreDocument, day_orders: DayOrders, selection: SelectedBundle, partition: Path, store: str
) -> list[str]:
    """What scoring a day says to people."""
    date_text = document.date
    lines = [f"{skipped.bundle} was champion and is refused: {skipped.reason}" for skipped in selection.skipped]
    if document.outcome == "no_champion":
        lines.append(f"{store} had no champion on the morning of {date_text}, so nothing is predicted.")
    elif document.outcome == "no_orders":
        lines.append(f"The table has no orders of {date_text}, so nothing is predicted.")
    else:
        lines.append(
            f"{document.predicted:,} of {format_count(document.orders, 'order')} of {date_text} are predicted by "
            f"{document.bundle}."
        )
    if document.history_date is not None and document.history_date < date_text:
        lines.append(f"Nothing was published on the morning of {date_text}: the history is of {document.history_date}.")
    lines += [
        f"{format_count(count, 'order')} without a prediction, reason {reason}."
        for reason, count in document.rejected.items()
    ]
    if document.duplicate_rows:
        lines.append(
            f"{format_count(document.duplicate_rows, 'row')} were orders that the table has twice: answered once."
        )
    if day_orders.unreadable_time_rows:
        lines.append(
            f"{format_count(day_orders.unreadable_time_rows, 'row')} of the table without a readable time, so of no day."
        )
    return [*lines, f"The results are in {partition}."]


@click.command()
@click.argument("input_path", metavar="[INPUT]", required=False)
@click.option("--out", help="INPUT: a .csv or .parquet file. --date: a database as well.  [PREPTIME_PREDICTIONS_URL]")
@click.option("--date", type=options.DATE, help="Score the orders of this local date of --orders, as that morning.")
@click.option("--orders", help="With --date: where the orders are.  [default: (PREPTIME_ORDERS)]")
@click.option(
    "--restaurants",
    help="Restaurants that the bundle may not know yet: file, folder, or glob.  [with --date: PREPTIME_RESTAURANTS]",
)
@options.store
@options.results
@click.option("--bundle", "bundle_id", help="Score with this bundle.  [default: the champion, of that date]")
@with_output
def score(
    output: Output,
    *,
    input_path: str | None,
    out: str | None,
    date: dt.date | None,
    orders: str | None,
    restaurants: str | None,
    store: str,
    results: str,
    bundle_id: str | None,
) -> None:
    """Predict every order of a file, or of a day.

    INPUT is a csv or parquet file, a folder, or a glob of them. Every row comes back in its place, with a prediction
    or with a reason. Restaurants that the bundle may not know yet are described by --restaurants.

    With --date instead the orders of that local date are looked for in --orders, the champion of that morning answers,
    and the partition of --results is written. No champion yet, or no orders, is said, and is no failure.
    """
    context = click.get_current_context()
    if date is not None and input_path is None:
        addresses = (
            options.require_setting("orders", orders, context),
            options.require_setting("restaurants", restaurants, context),
        )
        predictions_url = out or options.read_setting("predictions_url") or None
        score_day(
            output, date, *addresses, store=store, results=results, predictions_url=predictions_url, bundle_id=bundle_id
        )
    elif input_path is None or date is not None:
        raise click.UsageError("Give either INPUT or --date.", context)
    elif out is None:
        raise click.UsageError("Missing option '--out'.", context)
    elif orders is not None:
        raise click.UsageError("--orders goes with --date; the orders to score are INPUT.", context)
    else:
        _score_file(output, input_path, Path(out), store=store, restaurants=restaurants, bundle_id=bundle_id)


def _score_file(
    output: Output, input_path: str, output_path: Path, *, store: str, restaurants: str | None, bundle_id: str | None
) -> None:
    from preptime.bundle.bundle import fetch_verified
    from preptime.bundle.champion_log import resolve_bundle_id
    from preptime.bundle.store import Store
    from preptime.scoring.score_file import score_file

    bundle_store = Store.open(store)
    bundle = fetch_verified(bundle_store, resolve_bundle_id(bundle_store, bundle_id))
    restaurant_index = None if restaurants is None else inputs.read_restaurants(restaurants)
    document = score_file(input_path, output_path, bundle, restaurants=restaurant_index, progress=output.progress)
    output.finish(document, *render_text(document))


def render_text(document: ScoreDocument) -> list[str]:
    """What scoring says to people."""
    lines = [
        f"{document.predicted:,} of {format_count(document.rows, 'order')} are predicted by {document.bundle}.",
        f"The file is {document.out}.",
    ]
    if document.median_predicted_seconds is not None:
        minutes = document.median_predicted_seconds / 60
        lines.insert(1, f"Half of them are predicted to be ready within {minutes:.0f} minutes.")
    fallback_counts = ", ".join(f"{level} {count:,}" for level, count in document.fallback_level.items() if count)
    if fallback_counts:
        lines.append(f"The finest history behind them: {fallback_counts}.")
    lines += [
        f"{format_count(count, 'order')} without a prediction, reason {reason}."
        for reason, count in document.rejected.items()
    ]
    return lines
