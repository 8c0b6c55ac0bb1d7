"""Where the benchmarks that need it find the real data, no row of which is in the project."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.registry import open_source
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.restaurants import read_restaurants


@dataclass(frozen=True, slots=True)
class Asked:
    """Orders, and the days that models fitted on those before are asked about, both included."""

    source: pl.DataFrame
    directory: RestaurantIndex
    audited: AuditedOrders
    first: dt.date
    last: dt.date

    @property
    def days(self) -> str:
        """The days as people write them."""
        return f"{self.first} to {self.last}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--orders --restaurants --from --to`, by default the real data and its last week."""
    folder = Path(os.environ.get("PREPTIME_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--orders", default=str(folder / "orders.csv"), help="a path or glob (default: %(default)s)")
    parser.add_argument("--restaurants", default=str(folder / "restaurants.csv"), help="a path (default: %(default)s)")
    parser.add_argument("--from", dest="first", type=dt.date.fromisoformat, default=dt.date(2015, 6, 17))
    parser.add_argument("--to", dest="last", type=dt.date.fromisoformat, default=dt.date(2015, 6, 23))


def asked(arguments: argparse.Namespace) -> Asked:
    """The orders, read and judged. Raises `DataError` where a file is not there."""
    directory = read_restaurants(open_source(arguments.restaurants).frame())
    source = open_source(arguments.orders).frame()
    return Asked(source, directory, audit_orders(source, directory, need_label=True), arguments.first, arguments.last)
