"""The real data, which is not in the repository, for the benchmarks that need it."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.registry import open_source
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.restaurants import read_restaurants

REAL_DATA = Path(os.environ.get("PREPTIME_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
"""The folder of the real data."""


@dataclass(frozen=True, slots=True)
class BenchmarkData:
    """Orders, and the first and the last day to predict. Models are fitted on the days before."""

    source: pl.DataFrame
    restaurant_index: RestaurantIndex
    audited: AuditedOrders
    first: dt.date
    last: dt.date

    @property
    def days(self) -> str:
        """Return the days as text."""
        return f"{self.first} to {self.last}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add `--orders`, `--restaurants`, `--from`, and `--to`. The default is the last week of the real data."""
    parser.add_argument("--orders", default=str(REAL_DATA / "orders.csv"), help="path or glob (default: %(default)s)")
    parser.add_argument("--restaurants", default=str(REAL_DATA / "restaurants.csv"), help="path (default: %(default)s)")
    parser.add_argument("--from", dest="first", type=dt.date.fromisoformat, default=dt.date(2015, 6, 17))
    parser.add_argument("--to", dest="last", type=dt.date.fromisoformat, default=dt.date(2015, 6, 23))


def parse_options(description: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of a benchmark on the real data: those of `add_options`, and `--json`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args(argv)


def load_data(arguments: argparse.Namespace) -> BenchmarkData:
    """Return the orders with their validation results. Raises `DataError` if a file is missing."""
    restaurant_index = read_restaurants(open_source(arguments.restaurants).frame())
    source = open_source(arguments.orders).frame()
    return BenchmarkData(
        source,
        restaurant_index,
        audit_orders(source, restaurant_index, need_label=True),
        arguments.first,
        arguments.last,
    )
