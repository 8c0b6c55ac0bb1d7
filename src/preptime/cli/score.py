"""`preptime score`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preptime.cli import figures, options, reading
from preptime.cli.score_day import score_day
from preptime.cli.speaking import Speaker, speaking

if TYPE_CHECKING:
    from preptime.scoring.document import ScoreDocument


@click.command()
@click.argument("source", metavar="[INPUT]", required=False)
@click.option("--out", help="INPUT: a .csv or .parquet file. --date: a database as well.  [PREPTIME_PREDICTIONS_TO]")
@click.option("--date", type=options.DATE, help="Score the orders of this local date of --orders, as that morning.")
@click.option("--orders", help="With --date: where the orders are.  [default: (PREPTIME_ORDERS)]")
@click.option(
    "--restaurants",
    help="Restaurants that the bundle may not know yet: file, folder, or glob.  [with --date: PREPTIME_RESTAURANTS]",
)
@options.store
@options.results
@click.option("--bundle", "bundle_id", help="Score with this bundle.  [default: the champion, of that date]")
@speaking
def score(
    speaker: Speaker,
    *,
    source: str | None,
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
    if date is not None and source is None:
        tables = (options.needed("orders", orders, context), options.needed("restaurants", restaurants, context))
        database = out or options.setting("predictions_to") or None
        score_day(speaker, date, *tables, store=store, results=results, out=database, bundle_id=bundle_id)
    elif source is None or date is not None:
        raise click.UsageError("Give either INPUT or --date.", context)
    elif out is None:
        raise click.UsageError("Missing option '--out'.", context)
    elif orders is not None:
        raise click.UsageError("--orders goes with --date; the orders to score are INPUT.", context)
    else:
        _score_file(speaker, source, Path(out), store=store, restaurants=restaurants, bundle_id=bundle_id)


def _score_file(
    speaker: Speaker, source: str, out: Path, *, store: str, restaurants: str | None, bundle_id: str | None
) -> None:
    from preptime.bundle.bundle import verify
    from preptime.bundle.champions import chosen
    from preptime.bundle.store import Store
    from preptime.scoring.score import score_file

    from_store = Store.open(store)
    bundle = verify(from_store, chosen(from_store, bundle_id))
    directory = None if restaurants is None else reading.read_directory(restaurants)
    document = score_file(source, out, bundle, directory=directory, progress=speaker.progress)
    speaker.finish(document, *words(document))


def words(document: ScoreDocument) -> list[str]:
    """What scoring says to people."""
    said = [
        f"{document.predicted:,} of {figures.counted(document.rows, 'order')} are predicted by {document.bundle}.",
        f"The file is {document.out}.",
    ]
    if document.median_predicted_seconds is not None:
        minutes = document.median_predicted_seconds / 60
        said.insert(1, f"Half of them are predicted to be ready within {minutes:.0f} minutes.")
    behind = ", ".join(f"{level} {count:,}" for level, count in document.basis.items() if count)
    if behind:
        said.append(f"The finest history behind them: {behind}.")
    said += [
        f"{figures.counted(count, 'order')} without a prediction, reason {reason}."
        for reason, count in document.refused.items()
    ]
    return said
