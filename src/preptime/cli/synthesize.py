"""The command `preptime synthesize`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

import click
import msgspec

from preptime.cli import options
from preptime.cli.output import Output, with_output
from preptime.formatting import format_count


class SynthesizeDocument(msgspec.Struct, frozen=True):
    """The document of `synthesize --json`: the written files and their numbers of rows."""

    orders: str
    restaurants: str
    truth: str
    order_rows: int
    restaurant_rows: int


@click.command()
@click.option("--out", type=options.LocalPath(file_okay=False), required=True, help="Folder to write to.")
@click.option("--orders", type=click.IntRange(1), default=32_394, show_default=True, help="Number of orders.")
@click.option(
    "--restaurants", type=click.IntRange(1), help="Number of restaurants.  [default: depends on the number of orders]"
)
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="Number of days.")
@click.option("--start", type=options.DATE, default="2015-06-01", show_default=True, help="First day.")
@click.option(
    "--seed", type=click.IntRange(0), help="Seed. The same seed gives the same bytes.  [default: the documented seed]"
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Format of the files.",
)
@click.option(
    "--drift",
    metavar="CITY:DAY:±PERCENT%",
    help="A change of preparation times in a city from a day on, such as London:20:+15%.",
)
@with_output
def synthesize(
    output: Output,
    *,
    out: Path,
    orders: int,
    restaurants: int | None,
    days: int,
    start: dt.date,
    seed: int | None,
    file_format: Literal["csv", "parquet"],
    drift: str | None,
) -> None:
    """Write synthetic orders and restaurants with known truth.

    Writes three files: orders, restaurants, and truth (the true p10, p50, p80, and p90 of each order).
    """
    from preptime.synthetic import Drift, SynthesisPlan
    from preptime.synthetic import synthesize as synthesize_files

    plan = SynthesisPlan(
        orders=orders,
        restaurants=restaurants,
        days=days,
        start=start,
        seed=SynthesisPlan().seed if seed is None else seed,
        drift=None if drift is None else Drift.parse(drift),
    )
    synthesized = synthesize_files(plan, out, file_format, output.progress)
    document = SynthesizeDocument(
        str(synthesized.orders),
        str(synthesized.restaurants),
        str(synthesized.truth),
        synthesized.order_rows,
        synthesized.restaurant_rows,
    )
    order_count = format_count(synthesized.order_rows, "order")
    restaurant_count = format_count(synthesized.restaurant_rows, "restaurant")
    output.finish(
        document,
        f"{order_count} of {restaurant_count}: {synthesized.orders}, {synthesized.restaurants}. "
        f"True quantiles: {synthesized.truth}.",
    )
