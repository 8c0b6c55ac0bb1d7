"""The audit: every row is read, every fault gets a reason, no row is dropped (D4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import ORDERS, TARGET, required
from preptime.domain.order import UNKNOWN, OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import Purpose, Reason, mask
from preptime.errors import DataError
from preptime.features.directory import Directory
from preptime.tables.categories import read_codes
from preptime.tables.columns import FILE, ROW, SURPLUS, require
from preptime.tables.duplicates import identity, later_duplicates
from preptime.tables.findings import Finding, Findings
from preptime.tables.judge import judge
from preptime.tables.labels import read_labels
from preptime.tables.numbers import Floats, Integers, read_floats, read_integers
from preptime.tables.opening import infer_opening, is_before_opening
from preptime.tables.times import read_times
from preptime.tables.zones import zones_of_orders

CATEGORIES = ("country", "city", "type_of_food")


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
    readable = ~(restaurant.missing | restaurant.bad)
    position = np.where(readable, directory.positions(restaurant.value), UNKNOWN)
    unlisted = (position == UNKNOWN) & readable
    findings.add(Reason.UNKNOWN_RESTAURANT, "restaurant_id", unlisted, "a restaurant_id of the restaurants file")
    zones, names = zones_of_orders(orders, position, directory)
    acknowledged = read_times(orders["order_acknowledged_at"], zones, names)
    value = read_floats(orders["order_value_gbp"])
    items = read_integers(orders["number_of_items"])
    judge(findings, "restaurant_id", restaurant)
    judge(findings, "order_acknowledged_at", acknowledged)
    judge(findings, "order_value_gbp", value)
    judge(findings, "number_of_items", items)
    unread = acknowledged.missing | acknowledged.bad
    columns = {
        "restaurant_id": _series(restaurant),
        "acknowledged_local": _moments(acknowledged.local, unread),
        "acknowledged_utc": _moments(acknowledged.utc, unread),
        "order_value_gbp": _series(value),
        "number_of_items": _series(items),
    }
    codes = {name: _codes(orders, name, position, directory) for name in CATEGORIES}
    columns |= {name: pl.Series(one) for name, one in codes.items()}
    if "open_orders" in orders.columns:
        columns["open_orders"] = _series(read := read_integers(orders["open_orders"]))
        judge(findings, "open_orders", read, optional=True)
    if need_label:
        labels = read_labels(findings, orders, acknowledged, zones, names)
        columns[TARGET] = _masked(pl.Series(labels.seconds), ~labels.known)
        columns["ready_local"] = _moments(labels.ready_local, ~labels.known | unread)
        opens = _opening(findings, columns, position, codes["city"], len(directory)) if opening is None else opening
        early = is_before_opening(acknowledged.local, position, opens) & ~unread
        findings.add(Reason.BEFORE_OPENING, "order_acknowledged_at", early, "a time at which the restaurant is open")
        shown = "order_id" if "order_id" in orders.columns else "order_acknowledged_at"
        again = later_duplicates(identity(orders, pl.DataFrame(columns)))
        findings.add(Reason.DUPLICATE, shown, again, "each order once")
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


def undated_behind(frame: pl.DataFrame, known: pl.Series) -> pl.Series:
    """[N] which audited rows have no readable time and stand behind the last `known` one (nowhere, if none is)."""
    undated = frame["acknowledged_local"].is_null()
    places = known.arg_true()
    last = len(known) if places.is_empty() else places[-1]
    return undated & (pl.Series(np.arange(len(frame))) > last)


def _require(orders: pl.DataFrame, *, need_label: bool) -> None:
    require(orders.columns, required(ORDERS, "training" if need_label else "scoring"), "the orders")
    if need_label and TARGET not in orders.columns and "order_ready_at" not in orders.columns:
        raise DataError(
            f"The orders have neither order_ready_at nor {TARGET}.",
            "Add one of them: without it there is no label to learn from.",
        )


def _codes(orders: pl.DataFrame, name: str, position: NDArray[np.int64], directory: Directory) -> NDArray[np.int32]:
    """[N] the order's own category where it is understood, else its restaurant's."""
    listed: NDArray[np.int32] = np.append(getattr(directory, name), np.int32(UNKNOWN))[position]
    if name not in orders.columns:
        return listed
    own = read_codes(orders[name], getattr(directory.vocabularies, name))
    return np.where(own == UNKNOWN, listed, own)


def _opening(
    findings: Findings, columns: dict[str, pl.Series], position: NDArray[np.int64], city: NDArray[np.int32], size: int
) -> NDArray[np.float64]:
    # An order left open for a night says nothing about the hour its food was ready.
    good = (findings.bits & np.uint32(mask(Purpose.EVALUATION))) == 0
    ready = columns["ready_local"].to_physical().fill_null(0).to_numpy()
    label = columns[TARGET].fill_null(0).to_numpy()
    return infer_opening(size, position[good], city[good], ready[good], label[good])


def _series(read: Integers | Floats) -> pl.Series:
    return _masked(pl.Series(read.value), read.missing | read.bad)


def _moments(microseconds: NDArray[np.int64], unusable: NDArray[np.bool_]) -> pl.Series:
    return _masked(pl.Series(microseconds), unusable).cast(pl.Datetime("us"))


def _masked(values: pl.Series, unusable: NDArray[np.bool_]) -> pl.Series:
    return values.set(pl.Series(unusable), None) if unusable.any() else values
