"""The audit: every row is read, every fault gets a reason, no row is dropped (D4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import ORDERS, TARGET, order_column, required
from preptime.domain.order import UNKNOWN, OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import LABEL_CAP_SECONDS, SHORT_LABEL_SECONDS, Purpose, Reason, mask
from preptime.errors import DataError
from preptime.features.directory import Directory
from preptime.tables.categories import read_codes
from preptime.tables.columns import FILE, ROW, SURPLUS, require
from preptime.tables.duplicates import later_duplicates
from preptime.tables.findings import Finding, Findings
from preptime.tables.numbers import Floats, Integers, read_floats, read_integers
from preptime.tables.opening import infer_opening, is_before_opening
from preptime.tables.times import Times, read_times
from preptime.tables.zones import zones_of_orders

CATEGORIES = ("country", "city", "type_of_food")
_TOLERANCE_SECONDS = 1
"""`prep_time_seconds` is a difference of microseconds cut to whole seconds, and some writers round instead."""


@dataclass(frozen=True)
class Audited:
    """N orders as read, in their own places."""

    source: pl.DataFrame
    """The rows as they came, with the columns a table adds (`_row`, `_file`)."""
    frame: pl.DataFrame
    """Parsed columns, null where a cell could not be used: `restaurant_id`, `acknowledged_local`, `acknowledged_utc`
    (microseconds, no zone), `order_value_gbp`, `number_of_items`, codes `country`, `city`, `type_of_food`, the mask
    `reasons`; with labels also `ready_local` and `prep_time_seconds` (whole seconds)."""
    findings: tuple[Finding, ...]
    """What the reasons stand on: rows, column, what was expected."""

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def reasons(self) -> NDArray[np.uint32]:
        """[N] bit masks of `preptime.domain.verdict.Reason`."""
        return self.frame["reasons"].to_numpy()

    def kept(self, purpose: Purpose) -> NDArray[np.bool_]:
        """[N] which orders may be used for `purpose`."""
        kept: NDArray[np.bool_] = (self.reasons & np.uint32(mask(purpose))) == 0
        return kept


def audit(
    orders: pl.DataFrame, directory: Directory, *, need_label: bool, opening: NDArray[np.float64] | None = None
) -> Audited:
    """Read and judge orders.

    With `need_label` (training, evaluation, `check`) labels, duplicates and opening hours are judged too; without it
    label columns are not even looked at. `opening` [R] says when each restaurant of the directory opens (see
    `preptime.tables.opening`); by default it is inferred from these orders. Raises `DataError` for a missing column.
    """
    _require(orders, need_label=need_label)
    findings = Findings(len(orders))
    if SURPLUS in orders.columns:
        findings.add(Reason.MALFORMED_LINE, SURPLUS, orders[SURPLUS].is_not_null().to_numpy(), "as many cells as names")
    restaurant = read_integers(orders["restaurant_id"])
    _judge(findings, "restaurant_id", restaurant)
    position = directory.positions(restaurant.value)
    usable = ~(restaurant.missing | restaurant.bad)
    unlisted = position == UNKNOWN
    findings.add(
        Reason.UNKNOWN_RESTAURANT, "restaurant_id", unlisted & usable, "a restaurant_id of the restaurants file"
    )
    zones, names = zones_of_orders(orders, position, directory)
    acknowledged = read_times(orders["order_acknowledged_at"], zones, names)
    _judge(findings, "order_acknowledged_at", acknowledged)
    value = read_floats(orders["order_value_gbp"])
    _judge(findings, "order_value_gbp", value)
    items = read_integers(orders["number_of_items"])
    _judge(findings, "number_of_items", items)
    columns = {
        "restaurant_id": _series(restaurant),
        "acknowledged_local": _moments(acknowledged.local, acknowledged.missing | acknowledged.bad),
        "acknowledged_utc": _moments(acknowledged.utc, acknowledged.missing | acknowledged.bad),
        "order_value_gbp": _series(value),
        "number_of_items": _series(items),
    }
    codes = {name: _codes(orders, name, position, directory) for name in CATEGORIES}
    columns |= {name: pl.Series(one) for name, one in codes.items()}
    if "open_orders" in orders.columns:
        columns["open_orders"] = _series(read := read_integers(orders["open_orders"]))
        _judge(findings, "open_orders", read, optional=True)
    if need_label:
        label, ready = _labels(findings, orders, acknowledged, zones, names)
        columns |= {TARGET: label, "ready_local": ready}
        opens = _opening(findings, columns, position, codes["city"], len(directory)) if opening is None else opening
        early = is_before_opening(acknowledged.local, position, opens) & ~(acknowledged.missing | acknowledged.bad)
        findings.add(Reason.BEFORE_OPENING, "order_acknowledged_at", early, "a time at which the restaurant is open")
        findings.add(Reason.DUPLICATE, *_duplicates(orders, columns), "each order once")
    carried = {name: orders[name] for name in ("order_id", ROW, FILE) if name in orders.columns}
    frame = pl.DataFrame(carried | columns | {"reasons": pl.Series(findings.bits)})
    return Audited(orders, frame, findings.listed())


def to_order_columns(frame: pl.DataFrame) -> OrderColumns:
    """Audited rows as the columns features are computed from; without a copy where nothing is null.

    Rows that scoring is kept out of have nulls; they become zeros here and their predictions mean nothing.
    """
    local = frame["acknowledged_local"].to_physical().fill_null(0).to_numpy()
    return OrderColumns(
        local // MICROSECONDS,
        frame["restaurant_id"].fill_null(0).to_numpy(),
        frame["order_value_gbp"].fill_null(0.0).to_numpy(),
        frame["number_of_items"].fill_null(0).to_numpy(),
        frame["country"].to_numpy(),
        frame["city"].to_numpy(),
        frame["type_of_food"].to_numpy(),
    )


def _require(orders: pl.DataFrame, *, need_label: bool) -> None:
    require(orders.columns, required(ORDERS, "training" if need_label else "scoring"), "the orders")
    if need_label and TARGET not in orders.columns and "order_ready_at" not in orders.columns:
        raise DataError(
            f"The orders have neither order_ready_at nor {TARGET}.",
            "Add one of them: without it there is no label to learn from.",
        )


def _judge(findings: Findings, name: str, read: Integers | Floats | Times, *, optional: bool = False) -> None:
    """Missing, unreadable, negative and out of the declared range: what every column can be."""
    column = order_column(name)
    if not optional:
        findings.add(Reason.MISSING_VALUE, name, read.missing, column.expected)
    if isinstance(read, Times):
        findings.add(Reason.UNPARSABLE_TIME, name, read.bad, column.expected)
        return
    findings.add(Reason.UNPARSABLE_NUMBER, name, read.bad, column.expected)
    findings.add(Reason.NEGATIVE_VALUE, name, read.value < 0, column.expected)
    low, high = column.minimum or 0, column.maximum or np.inf
    absurd = (read.value < low) & (read.value >= 0) & ~(read.missing | read.bad) if low > 0 else None
    beyond = read.value > high
    findings.add(Reason.OUT_OF_RANGE, name, beyond if absurd is None else beyond | absurd, column.expected)


def _codes(orders: pl.DataFrame, name: str, position: NDArray[np.int64], directory: Directory) -> NDArray[np.int32]:
    """[N] the order's own category where it is understood, else its restaurant's."""
    listed: NDArray[np.int32] = np.append(getattr(directory, name), np.int32(UNKNOWN))[position]
    if name not in orders.columns:
        return listed
    own = read_codes(orders[name], getattr(directory.vocabularies, name))
    return np.where(own == UNKNOWN, listed, own)


def _labels(
    findings: Findings, orders: pl.DataFrame, acknowledged: Times, zones: NDArray[np.int32], names: tuple[str, ...]
) -> tuple[pl.Series, pl.Series]:
    """(label in whole seconds, ready on the wall clock), null where there is none."""
    nothing = np.zeros(len(orders), np.bool_)
    no_start = acknowledged.missing | acknowledged.bad
    ready = read_times(orders["order_ready_at"], zones, names) if "order_ready_at" in orders.columns else None
    given = read_integers(orders[TARGET]) if TARGET in orders.columns else None
    elapsed = (ready.utc - acknowledged.utc) // MICROSECONDS if ready else np.zeros(len(orders), np.int64)
    timed = ~(ready.missing | ready.bad | no_start) if ready else nothing
    written = ~(given.missing | given.bad) if given else nothing
    label = np.where(written, given.value, elapsed) if given else elapsed
    local = acknowledged.local + label * MICROSECONDS
    if ready:
        local = np.where(ready.missing | ready.bad, local, ready.local)
        findings.add(Reason.UNPARSABLE_TIME, "order_ready_at", ready.bad, order_column("order_ready_at").expected)
        before = timed & (ready.utc < acknowledged.utc)
        findings.add(Reason.READY_BEFORE_ACKNOWLEDGED, "order_ready_at", before, "a time after order_acknowledged_at")
    if given:
        _judge(findings, TARGET, given, optional=True)
    if given and ready:
        apart = timed & written & (np.abs(given.value - elapsed) > _TOLERANCE_SECONDS)
        findings.add(Reason.LABEL_CONTRADICTS_TIMES, TARGET, apart, "order_ready_at minus order_acknowledged_at")
    known = timed | written
    absent = (ready.missing if ready else ~nothing) & (given.missing if given else ~nothing)
    expected = "order_ready_at or prep_time_seconds"
    findings.add(Reason.MISSING_VALUE, TARGET if given else "order_ready_at", absent, expected)
    shown = TARGET if given else "order_ready_at"
    findings.add(Reason.LABEL_ZERO, shown, known & (label == 0), "more than 0 seconds")
    findings.add(
        Reason.LABEL_UNDER_A_MINUTE, shown, known & (label > 0) & (label < SHORT_LABEL_SECONDS), "a minute or more"
    )
    over = known & (label > LABEL_CAP_SECONDS)
    findings.add(Reason.LABEL_OVER_CAP, shown, over, f"at most {LABEL_CAP_SECONDS:,} seconds")
    return _masked(pl.Series(label), ~known), _moments(local, ~known | no_start)


def _opening(
    findings: Findings, columns: dict[str, pl.Series], position: NDArray[np.int64], city: NDArray[np.int32], size: int
) -> NDArray[np.float64]:
    # An order left open for a night says nothing about the hour its food was ready.
    good = (findings.bits & np.uint32(mask(Purpose.EVALUATION))) == 0
    ready = columns["ready_local"].to_physical().fill_null(0).to_numpy()
    label = columns[TARGET].fill_null(0).to_numpy()
    return infer_opening(size, position[good], city[good], ready[good], label[good])


def _duplicates(orders: pl.DataFrame, columns: dict[str, pl.Series]) -> tuple[str, NDArray[np.bool_]]:
    """The column to show, and which rows repeat an earlier order: the same id, or without ids the same in all else."""
    if "order_id" in orders.columns:
        return "order_id", later_duplicates(orders.select("order_id"), ["order_id"])
    keys = ["restaurant_id", "acknowledged_utc", "order_value_gbp", "number_of_items", TARGET]
    return "order_acknowledged_at", later_duplicates(pl.DataFrame({name: columns[name] for name in keys}), keys)


def _series(read: Integers | Floats) -> pl.Series:
    return _masked(pl.Series(read.value), read.missing | read.bad)


def _moments(microseconds: NDArray[np.int64], unusable: NDArray[np.bool_]) -> pl.Series:
    return _masked(pl.Series(microseconds), unusable).cast(pl.Datetime("us"))


def _masked(values: pl.Series, unusable: NDArray[np.bool_]) -> pl.Series:
    return values.set(pl.Series(unusable), None) if unusable.any() else values
