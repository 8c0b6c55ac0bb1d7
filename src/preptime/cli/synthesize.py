"""`preptime synthesize`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

import click
import msgspec

from preptime.cli import options
from preptime.cli.output import Output, format_count, with_output


class SynthesizeDocument(msgspec.Struct, frozen=True):
    """The document of `synthesize --json`: the files written."""

    orders: str
    restaurants: str
    truth: str
    order_rows: int
    restaurant_rows: int


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write into.")
@click.option("--orders", type=click.IntRange(1), default=32_394, show_default=True, help="How many orders.")
@click.option("--restaurants", type=click.IntRange(1), help="How many restaurants.  [default: grows with the orders]")
@click.option("--days", type=click.IntRange(1), default=30, show_default=True, help="Over how many days.")
@click.option("--start", type=options.DATE, default="2015-06-01", show_default=True, help="The first day.")
@click.option("--seed", type=click.IntRange(0), help="Same seed, same bytes.  [default: the documented one]")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
    help="Kind of files to write.",
)
@click.option(
    "--drift",
    metavar="CITY:DAY:±PERCENT%",
    help="From that day on, cooking in a city takes so much longer or shorter, such as London:20:+15%.",
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
    """Write orders and restaurants whose truth is known.

    Three files: orders, restaurants, and truth (each order's true p10, p50, p80 and p90).
    """
    from preptime.synthetic import Drift, SynthesisPlan
    from preptime.synthetic import synthesize as write

    plan = SynthesisPlan(
        orders=orders,
        restaurants=restaurants,
        days=days,
        start=start,
        seed=SynthesisPlan().seed if seed is None else seed,
        drift=None if drift is None else Drift.parse(drift),
    )
    synthesized = write(plan, out, file_format, output.progress)
    document = SynthesizeDocument(
        str(synthesized.orders),
        str(synthesized.restaurants),
        str(synthesized.truth),
        synthesized.order_rows,
        synthesized.restaurant_rows,
    )
    output.finish(
        document,
        f"{format_count(synthesized.order_rows, 'order')} of {format_count(synthesized.restaurant_rows, 'restaurant')}: "
        f"{synthesized.orders}, {synthesized.restaurants}, and what is true of them: {synthesized.truth}.",
    )
