"""`preptime score --date`: the orders of one local date, into its partition of the results."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.cli import figures, reading
from preptime.errors import UsageError

if TYPE_CHECKING:
    from preptime.cli.speaking import Output
    from preptime.scoring.champion import SelectedBundle
    from preptime.scoring.day import DayOrders, DayScoreDocument


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
    from preptime.scoring.champion import select_bundle, select_champion
    from preptime.scoring.day import score_day as run
    from preptime.tables.open import is_database, open_prediction_store, open_source
    from preptime.tables.results import PREDICTIONS_FILE, ResultsFolder

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
        reading.read_restaurants(restaurants),
        daily_results,
        write_predictions=None if predictions_table is None else predictions_table.write,
        progress=output.progress,
    )
    output.finish(
        document,
        *render_text(document, day_orders, selection, daily_results.path(date, PREDICTIONS_FILE).parent, store),
    )


def render_text(
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
            f"{document.predicted:,} of {figures.format_count(document.orders, 'order')} of {date_text} are predicted by "
            f"{document.bundle}."
        )
    if document.history_date is not None and document.history_date < date_text:
        lines.append(f"Nothing was published on the morning of {date_text}: the history is of {document.history_date}.")
    lines += [
        f"{figures.format_count(count, 'order')} without a prediction, reason {reason}."
        for reason, count in document.rejected.items()
    ]
    if document.duplicate_rows:
        lines.append(
            f"{figures.format_count(document.duplicate_rows, 'row')} were orders that the table has twice: answered once."
        )
    if day_orders.unreadable_time_rows:
        lines.append(
            f"{figures.format_count(day_orders.unreadable_time_rows, 'row')} of the table without a readable time, so of no day."
        )
    return [*lines, f"The results are in {partition}."]
