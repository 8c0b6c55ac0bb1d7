"""The command `preptime spark`: score orders and count histories that don't fit on one machine, with Apache Spark."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import click

from preptime.cli import inputs, options
from preptime.cli.output import Output, print_message, score_text, with_output
from preptime.cli.spark_training import corpus, state
from preptime.errors import UsageError

if TYPE_CHECKING:
    from preptime.features.restaurant_index import RestaurantIndex
    from preptime.schema.schema import Schema

ORDERS_HELP = "Orders: a path or URL of Parquet files, table:CATALOG.NAME, or bigquery:PROJECT.DATASET.TABLE."
RESTAURANTS_HELP = "Restaurants: an address as for --orders, or a CSV file."


@click.group()
def spark() -> None:
    """Run large jobs with Apache Spark.

    Below about 200 million orders, a larger machine with the other commands needs less time and money. Every error has
    the exit status 1, except for wrong options. No command promotes a bundle.
    """


spark.add_command(state)
spark.add_command(corpus)


@spark.command()
@click.option("--orders", required=True, metavar="ADDRESS", help=ORDERS_HELP)
@click.option("--out", required=True, metavar="FOLDER|URL", help="Folder of the output, which all workers can write.")
@options.store
@click.option("--bundle", "bundle_id", help="ID of the bundle to use.  [default: the champion]")
@click.option("--date", type=options.DATE, help="Use the champion as of this date.")
@click.option(
    "--restaurants", metavar="ADDRESS", help=f"{RESTAURANTS_HELP} Only those that the bundle may not know are needed."
)
@click.option(
    "--travel-column",
    metavar="NAME",
    help="The column with the travel time of a courier to the restaurant, in seconds. The output then says when to "
    "send each courier.",
)
@click.option("--courier-cost", type=float, help="With --travel-column: as for preptime score.")
@click.option("--food-cost", type=float, help="With --travel-column: as for preptime score.")
@click.option("--explain", is_flag=True, help="Add columns with the explanation of each prediction.")
@click.option("--live", is_flag=True, help="Not supported: use preptime score --live.")
@options.master
@options.spark_settings
@with_output
def score(
    output: Output,
    *,
    orders: str,
    out: str,
    store: str,
    bundle_id: str | None,
    date: dt.date | None,
    restaurants: str | None,
    travel_column: str | None,
    courier_cost: float | None,
    food_cost: float | None,
    explain: bool,
    live: bool,
    master: str | None,
    conf: tuple[str, ...],
) -> None:
    """Predict all orders at an address.

    Each prediction is the same, to the bit, as that of `preptime score`. The rows are in Parquet files in a new folder
    below --out, in no particular order. The file score.json there, which is written last, names the folder. After an
    error, the previous output is unchanged.
    """
    from preptime.bundle.isolated_check import load_checked
    from preptime.spark.addresses import parse_address
    from preptime.spark.scoring import score_orders, select_bundle_id
    from preptime.spark.session import require_pyspark

    if live:
        raise UsageError(
            "preptime spark score can't use the live model: the state of a kitchen depends on orders in other tasks.",
            "Omit --live, or use preptime score --live.",
        )
    require_pyspark()
    context = click.get_current_context()
    travel = options.travel_column(context, travel_column, courier_cost, food_cost)
    address, settings = parse_address(orders), options.parse_spark_settings(conf)
    bundle_store = options.open_store(store)
    bundle = load_checked(bundle_store, select_bundle_id(bundle_store, bundle_id, date))
    session = open_session(output, master, settings)
    document = score_orders(
        session,
        address,
        out,
        bundle,
        bundle_store,
        restaurants=None if restaurants is None else read_restaurants(session, restaurants, bundle.schema),
        travel=travel,
        explain=explain,
        progress=output.progress,
    )
    output.finish(document, *score_text(document, bundle.schema.target.time_unit))


def open_session(output: Output, master: str | None, settings: dict[str, str]) -> Any:
    """Return the Spark session of a command."""
    from preptime.spark.session import open_session

    output.progress("Starting Spark", 0.0)
    return open_session(master, settings=settings)


def read_restaurants(session: Any, location: str, schema: Schema) -> RestaurantIndex:
    """Return the usable restaurants at an address of Spark, or at a location of the other commands.

    Prints what was found in the others.
    """
    from preptime.spark.addresses import is_spark_only, parse_address
    from preptime.spark.scoring import read_restaurant_rows
    from preptime.validation.restaurants import audit_restaurants

    if not is_spark_only(location):
        return inputs.read_restaurants(inputs.Dataset("", location, schema, "the schema of the bundle"))
    audit = audit_restaurants(read_restaurant_rows(session, parse_address(location)), schema)
    print_message(*audit.messages)
    return audit.index
