"""`preptime score --date`: the orders of one local date, into its partition of the results."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.cli import figures, reading
from preptime.errors import UsageError

if TYPE_CHECKING:
    from preptime.cli.speaking import Speaker
    from preptime.scoring.champion import Chosen
    from preptime.scoring.day import DayDocument, DayOrders


def score_day(
    speaker: Speaker,
    date: dt.date,
    orders: str,
    restaurants: str,
    *,
    store: str,
    results: str,
    out: str | None,
    bundle_id: str | None,
) -> None:
    """Score a day, say what there was to say, end well: no champion and no orders are no failure."""
    from preptime.bundle.store import Store
    from preptime.scoring.champion import asked_for, champion_as_of
    from preptime.scoring.day import score_day as run
    from preptime.tables.open import is_database, open_predictions, open_table
    from preptime.tables.results import PREDICTIONS, Results

    if out is not None and not is_database(out):
        raise UsageError(
            f"--out {out} is no database.", f"With --date the file is {results}/date={date}/{PREDICTIONS} (--results)."
        )
    database = None if out is None else open_predictions(out)
    opened, into = Store.open(store), Results(Path(results))
    chosen = champion_as_of(opened, date, into) if bundle_id is None else asked_for(opened, bundle_id, date)
    document, found = run(
        open_table(orders),
        date,
        chosen,
        reading.read_directory(restaurants),
        into,
        write=None if database is None else database.write,
        progress=speaker.progress,
    )
    speaker.finish(document, *words(document, found, chosen, into.path(date, PREDICTIONS).parent, store))


def words(document: DayDocument, found: DayOrders, chosen: Chosen, partition: Path, store: str) -> list[str]:
    """What scoring a day says to people."""
    day = document.date
    said = [f"{one.bundle} was champion and is refused: {one.why}" for one in chosen.passed_over]
    if document.outcome == "no_champion":
        said.append(f"{store} had no champion on the morning of {day}, so nothing is predicted.")
    elif document.outcome == "no_orders":
        said.append(f"The table has no orders of {day}, so nothing is predicted.")
    else:
        said.append(
            f"{document.predicted:,} of {figures.counted(document.orders, 'order')} of {day} are predicted by "
            f"{document.bundle}."
        )
    if document.history_date is not None and document.history_date < day:
        said.append(f"Nothing was published on the morning of {day}: the history is of {document.history_date}.")
    said += [
        f"{figures.counted(count, 'order')} without a prediction, reason {reason}."
        for reason, count in document.refused.items()
    ]
    if document.repeated:
        said.append(f"{figures.counted(document.repeated, 'row')} were orders that the table has twice: answered once.")
    if found.undated:
        said.append(f"{figures.counted(found.undated, 'row')} of the table without a readable time, so of no day.")
    return [*said, f"The results are in {partition}."]
