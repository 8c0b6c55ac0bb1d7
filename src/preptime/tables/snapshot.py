"""A snapshot: the orders of some days and the restaurants as they are now, as files that can be versioned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl

from preptime.errors import DataError
from preptime.features.directory import Directory
from preptime.tables.audit import audit
from preptime.tables.columns import ADDED
from preptime.tables.report import CheckReport, summary
from preptime.tables.table import Table, batches_of_days
from preptime.tables.write import write_table

ORDERS = "orders.parquet"
RESTAURANTS = "restaurants.parquet"
VERDICTS = "verdicts.json"
_ROWS = 250_000


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


def snapshot(
    orders: Table, restaurants: Table, directory: Directory, *, first: dt.date, last: dt.date, out: Path
) -> SnapshotDocument:
    """Write the orders of the local days `first` to `last`, the restaurants and the audit's verdicts below `out`.

    Rows and columns as they came, in the table's order: the same contents give the same bytes. Each file appears whole
    or not at all. Raises `DataError` when there are no orders of these days.
    """
    undated = 0

    def chosen() -> Iterator[pl.DataFrame]:
        nonlocal undated
        for rows in batches_of_days(orders, first, last, _ROWS):
            day = audit(rows, directory, need_label=False).frame["acknowledged_local"].dt.date()
            undated += day.null_count()
            yield _own(rows.filter(day.is_between(first, last).fill_null(value=True)))

    parts = [part for part in chosen() if len(part)]
    if not parts:
        raise DataError(f"{orders.name} has no orders from {first} to {last}.", "Ask for days that have orders.")
    whole = pl.concat(parts, how="vertical_relaxed")
    write_table(out / ORDERS, [whole])
    listed = _own(restaurants.frame())
    write_table(out / RESTAURANTS, [listed])
    verdicts = _without_places(summary(audit(whole, directory, need_label=True), len(directory)))
    (out / VERDICTS).write_bytes(msgspec.json.format(msgspec.json.encode(verdicts), indent=1) + b"\n")
    return SnapshotDocument(
        orders=len(whole), restaurants=len(listed), first_day=first, last_day=last, undated=undated, out=str(out)
    )


def _own(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(name for name in rows.columns if name not in ADDED)


def _without_places(report: CheckReport) -> CheckReport:
    """Counts alone: examples are for people, and a versioned file of metrics should not hold anybody's orders."""
    return msgspec.structs.replace(report, examples=())
