"""A snapshot: the orders of some days and the restaurants as they are now, as files that can be versioned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl

from preptime.errors import DataError
from preptime.features.directory import RestaurantIndex
from preptime.tables.audit import audit_orders
from preptime.tables.columns import READER_COLUMNS
from preptime.tables.report import CheckReport, summarize_audit
from preptime.tables.table import DataSource, batches_for_dates
from preptime.tables.write import write_table

ORDERS_FILE = "orders.parquet"
RESTAURANTS_FILE = "restaurants.parquet"
VALIDATION_FILE = "validation.json"
_CHUNK_ROWS = 250_000


class SnapshotDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a snapshot holds."""

    orders: int
    restaurants: int
    first_day: dt.date
    """Local days that were asked for, both included; likewise the last."""
    last_day: dt.date
    undated: int
    """Orders without a readable time, which are of no day: kept, for the audit to count."""
    out: str


def write_snapshot(
    order_source: DataSource,
    restaurant_source: DataSource,
    restaurants: RestaurantIndex,
    *,
    first: dt.date,
    last: dt.date,
    out: Path,
) -> SnapshotDocument:
    """Write the orders of the local days `first` to `last`, the restaurants and the audit's verdicts below `out`.

    Rows and columns as they came, in the table's order: the same contents give the same bytes. Each file appears whole
    or not at all. Raises `DataError` when there are no orders of these days.
    """
    undated = 0

    def chosen() -> Iterator[pl.DataFrame]:
        nonlocal undated
        for rows in batches_for_dates(order_source, first, last, _CHUNK_ROWS):
            order_dates = audit_orders(rows, restaurants, need_label=False).frame["acknowledged_local"].dt.date()
            undated += order_dates.null_count()
            yield _data_columns(rows.filter(order_dates.is_between(first, last).fill_null(value=True)))

    chunks = [chunk for chunk in chosen() if len(chunk)]
    if not chunks:
        raise DataError(f"{order_source.name} has no orders from {first} to {last}.", "Ask for days that have orders.")
    all_orders = pl.concat(chunks, how="vertical_relaxed")
    write_table(out / ORDERS_FILE, [all_orders])
    restaurant_rows = _data_columns(restaurant_source.frame())
    write_table(out / RESTAURANTS_FILE, [restaurant_rows])
    validation = _without_examples(
        summarize_audit(audit_orders(all_orders, restaurants, need_label=True), len(restaurants))
    )
    (out / VALIDATION_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(validation), indent=1) + b"\n")
    return SnapshotDocument(
        orders=len(all_orders),
        restaurants=len(restaurant_rows),
        first_day=first,
        last_day=last,
        undated=undated,
        out=str(out),
    )


def _data_columns(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(name for name in rows.columns if name not in READER_COLUMNS)


def _without_examples(report: CheckReport) -> CheckReport:
    """Counts alone: examples are for people, and a versioned file of metrics should not hold anybody's orders."""
    return msgspec.structs.replace(report, examples=())
