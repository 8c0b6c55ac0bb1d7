"""The command `preptime score`: predict the orders of a file, or of a day with `--date`."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, order_flags_text, score_text, unknown_restaurants_text, with_output
from preptime.errors import UsageError
from preptime.formatting import format_count
from preptime.redaction import has_secret, redact_address

if TYPE_CHECKING:
    from preptime.scoring.score_day import DayOrders, DayScoreDocument, SelectedBundle
    from preptime.scoring.travel_column import TravelColumn


@click.command()
@click.argument("input_path", metavar="[INPUT]", required=False)
@click.option(
    "--out",
    help="With INPUT: a .csv or .parquet file to write. The default is next to INPUT, for example "
    "orders.predictions.csv for orders.csv. With --date: the URL of a database that also gets the "
    "predictions (PREPTIME_PREDICTIONS_URL).",
)
@click.option("--date", type=options.DATE, help="Score the orders of this local date, as of this date.")
@click.option("--orders", help="With --date: location of the orders (PREPTIME_ORDERS).")
@click.option(
    "--restaurants",
    help="Restaurants that the bundle may not know: a file, a folder, or a glob. With --date: PREPTIME_RESTAURANTS.",
)
@options.store
@options.results
@click.option("--bundle", "bundle_id", help="ID of the bundle to use.  [default: the champion as of the date]")
@click.option(
    "--travel-column",
    metavar="NAME",
    help="With INPUT: the column with the travel time of a courier to the restaurant, in seconds. The output then says "
    "when to send each courier.",
)
@click.option(
    "--courier-cost",
    type=float,
    help="With --travel-column: cost of a minute that a courier waits (PREPTIME_COURIER_COST).",
)
@click.option(
    "--food-cost", type=float, help="With --travel-column: cost of a minute that ready food waits (PREPTIME_FOOD_COST)."
)
@click.option(
    "--live",
    is_flag=True,
    help="With INPUT: predict with the live model. The state of each kitchen is replayed from the orders in INPUT.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="With INPUT: add columns with the explanation of each prediction, in seconds by group of features.",
)
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
    travel_column: str | None,
    courier_cost: float | None,
    food_cost: float | None,
    live: bool,
    explain: bool,
) -> None:
    """Predict all orders of a file or of a day.

    INPUT is a CSV or Parquet file, a folder, or a glob. The output has every row in the same order, with a prediction
    or a reason. --restaurants describes restaurants that the bundle may not know.

    With --date instead of INPUT, the command scores the orders of a local date with the champion as of that date. It
    writes the predictions to the partition of the date in the results. It also succeeds without a champion or orders.
    """
    context = click.get_current_context()
    travel = options.travel_column(context, travel_column, courier_cost, food_cost)
    if date is not None:
        _check_day_options(context, {"--live": live, "--explain": explain, "--travel-column": travel})
    if date is not None and input_path is None:
        _score_day(
            output,
            date,
            options.require_setting("orders", orders, context),
            restaurants or options.read_setting("restaurants"),
            store=store,
            results=results,
            predictions_url=out or options.read_setting("predictions_url"),
            bundle_id=bundle_id,
        )
    elif input_path is None or date is not None:
        raise click.UsageError("Use either INPUT or --date.", context)
    elif out is not None and ("://" in out or has_secret(out)):
        raise UsageError(f"--out {redact_address(out)} isn't a path.", "Use a .csv or .parquet file, or --date.")
    elif orders is not None:
        raise click.UsageError("Use --orders only with --date. Without --date, INPUT has the orders.", context)
    else:
        _score_file(
            output,
            input_path,
            default_output(input_path) if out is None else Path(out),
            travel,
            store=store,
            restaurants=restaurants,
            bundle_id=bundle_id,
            live=live,
            explain=explain,
        )


def _check_day_options(context: click.Context, values: dict[str, object]) -> None:
    """Raise `UsageError` for an option with a value that can't be used with --date."""
    for option, value in values.items():
        if value:
            raise click.UsageError(f"Use {option} only with INPUT, not with --date.", context)


def default_output(input_path: str) -> Path:
    """Return the file next to the input that gets the predictions without `--out`. It has the format of the input.

    Raises `UsageError` for a glob or a URL, which has no place next to it.

    Example:
        >>> default_output("exports/orders.csv").name
        'orders.predictions.csv'
    """
    from preptime.sources.files import data_files

    path = Path(input_path)
    is_glob = any(character in input_path for character in "*?[") and not path.exists()
    if "://" in input_path or is_glob:
        raise UsageError(
            f"There is no default output for the input {redact_address(input_path)}.", "Use --out predictions.parquet."
        )
    files = [file for file in data_files(path) if file.stat().st_size > 0] if path.is_dir() else [path]
    suffix = ".parquet" if any(file.name.lower().endswith(".parquet") for file in files) else ".csv"
    name = path.name.removesuffix(".gz")
    stem = path.resolve().name if path.is_dir() else name.removesuffix(Path(name).suffix) or name
    return (path.resolve().parent if path.is_dir() else path.parent) / f"{stem}.predictions{suffix}"


def _score_file(
    output: Output,
    input_path: str,
    output_path: Path,
    travel: TravelColumn | None,
    *,
    store: str,
    restaurants: str | None,
    bundle_id: str | None,
    live: bool,
    explain: bool,
) -> None:
    from preptime.bundle.champion_log import resolve_bundle_id
    from preptime.bundle.isolated_check import load_checked
    from preptime.scoring.score_file import score_file

    bundle_store = options.open_store(store).existing()
    bundle = load_checked(bundle_store, resolve_bundle_id(bundle_store, bundle_id))
    dataset = inputs.Dataset(input_path, restaurants, bundle.schema, f"the schema of {bundle.manifest.id}")
    restaurant_index = None if restaurants is None else inputs.read_restaurants(dataset)
    document = score_file(
        input_path,
        output_path,
        bundle,
        restaurants=restaurant_index,
        travel=travel,
        live=live,
        explain=explain,
        progress=output.progress,
    )
    output.finish(document, *score_text(document, bundle.schema.target.time_unit))


def _score_day(
    output: Output,
    date: dt.date,
    orders: str,
    restaurants: str | None,
    *,
    store: str,
    results: str,
    predictions_url: str | None,
    bundle_id: str | None,
) -> None:
    """Score the orders of a day. A store without a champion and a day without orders are normal results."""
    from preptime.scoring.score_day import score_day, select_bundle, select_champion
    from preptime.sources.registry import is_database, open_prediction_store
    from preptime.sources.results import PREDICTIONS_FILE, ResultsFolder

    if predictions_url is not None and not is_database(predictions_url):
        raise UsageError(
            f"--out {redact_address(predictions_url)} isn't a database URL.",
            f"With --date, the file is {results}/date={date}/{PREDICTIONS_FILE}. To change its folder, use --results.",
        )
    predictions_table = None if predictions_url is None else open_prediction_store(predictions_url)
    bundle_store, daily_results = options.open_store(store), ResultsFolder(Path(results))
    selection = (
        select_champion(bundle_store, date, daily_results)
        if bundle_id is None
        else select_bundle(bundle_store, bundle_id, date)
    )
    dataset = inputs.Dataset.of_champion(orders, restaurants, bundle_store)
    if selection.bundle is not None:
        dataset = replace(
            dataset, schema=selection.bundle.schema, origin=f"the schema of {selection.bundle.manifest.id}"
        )
    source = dataset.open_orders()
    document, day_orders = score_day(
        source,
        date,
        selection,
        inputs.read_restaurants(dataset, source),
        daily_results,
        write_predictions=None if predictions_table is None else partial(predictions_table.write, schema=source.schema),
        progress=output.progress,
    )
    output.finish(
        document,
        *render_day_text(document, day_orders, selection, daily_results.path(date, PREDICTIONS_FILE).parent, store),
    )


def render_day_text(
    document: DayScoreDocument, day_orders: DayOrders, selection: SelectedBundle, partition: Path, store: str
) -> list[str]:
    """Return the result of scoring a day as text."""
    date_text = document.date
    lines = [f"Skipped {skipped.bundle}, which was the champion: {skipped.reason}" for skipped in selection.skipped]
    if document.outcome == "no_champion":
        lines.append(f"{store} had no champion as of {date_text}. No predictions were made.")
    elif document.outcome == "no_orders":
        lines.append(f"There are no orders of {date_text}. No predictions were made.")
    else:
        order_count = format_count(document.orders, "order")
        lines.append(f"{document.bundle} predicted {document.predicted:,} of {order_count} of {date_text}.")
    if document.history_date is not None and document.history_date < date_text:
        lines.append(f"No bundle was published for {date_text}. The history is as of {document.history_date}.")
    lines += unknown_restaurants_text(document.unknown_restaurants)
    lines += order_flags_text(document)
    lines += [
        f"{format_count(count, 'order')} without a prediction. Reason: {reason}."
        for reason, count in document.rejected.items()
    ]
    if document.duplicate_rows:
        lines.append(f"{format_count(document.duplicate_rows, 'duplicate row')} ignored.")
    if day_orders.unreadable_time_rows:
        row_count = format_count(day_orders.unreadable_time_rows, "row")
        lines.append(f"{row_count} without a readable time, which belong to no day.")
    return [*lines, f"The results are in {partition}."]
