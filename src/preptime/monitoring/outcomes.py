"""Outcomes of orders as of a date, read in one pass over the orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.orders import OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask
from preptime.features.history_state import CompletedOrders
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import local_day
from preptime.sources.source import DataSource, batches_for_dates
from preptime.validation.audit import AuditedOrders, audit_orders, to_order_columns
from preptime.validation.duplicates import order_keys

EPOCH = dt.date(1970, 1, 1)
BATCH_ROWS = 400_000
"""Rows per batch, the same as for a refresh."""
NO_KEY_HASH = 0
"""The hash of an order without a key."""


def to_day_number(date: dt.date) -> int:
    """Return the number of local days since 1970-01-01, as `preptime.features.spec.local_day` counts them."""
    return (date - EPOCH).days


def to_date(number: int) -> dt.date:
    """Return the date of a day number."""
    return EPOCH + dt.timedelta(days=number)


@dataclass(frozen=True)
class Outcomes:
    """N orders that were ready as of the date, without duplicates, by day of acknowledgement.

    An order takes about 80 bytes.
    """

    key_hash: NDArray[np.uint64]
    """Hash of the order key, or `NO_KEY_HASH`. Two of ten million orders collide with probability 3e-6."""
    completed: CompletedOrders
    """Categories have the codes of the restaurants file."""
    reasons: NDArray[np.uint32]
    """Bit masks of `preptime.domain.validation_reasons.ValidationReason`."""

    @classmethod
    def empty(cls) -> Outcomes:
        """Return an instance without orders."""
        integers, codes = np.empty(0, np.int64), np.empty(0, np.int32)
        orders = OrderColumns(integers, integers, np.empty(0, np.float64), integers, codes, codes, codes)
        return cls(np.empty(0, np.uint64), CompletedOrders(orders, integers, integers), np.empty(0, np.uint32))

    def __len__(self) -> int:
        return len(self.key_hash)

    @property
    def day(self) -> NDArray[np.int64]:
        """The local day of acknowledgement, [N]."""
        return local_day(self.completed.orders.acknowledged_at)

    @property
    def is_evaluable(self) -> NDArray[np.bool_]:
        """Which orders are in the label set `up_to_3h`, [N]."""
        return self.usable_for(Purpose.EVALUATION)

    def usable_for(self, purpose: Purpose) -> NDArray[np.bool_]:
        """Return which orders can be used for `purpose`, [N]."""
        kept: NDArray[np.bool_] = (self.reasons & np.uint32(exclusion_mask(purpose))) == 0
        return kept

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Outcomes:
        """Return the orders at `rows`, which are indices or a mask."""
        return Outcomes(self.key_hash[rows], self.completed.take(rows), self.reasons[rows])


@dataclass(frozen=True)
class AuditedOutcomes:
    """The results of one pass over the orders."""

    outcomes: Outcomes
    """Outcomes of orders acknowledged on the requested days."""
    audited_days: NDArray[np.int64]
    """[M] local day of every validated row, including duplicates and rows without a usable label. -1 if the time can't
    be parsed."""
    audited_reasons: NDArray[np.uint32]
    """[M] bit masks of validation reasons."""


def read_outcomes(source: DataSource, restaurants: RestaurantIndex, date: dt.date, first: dt.date) -> AuditedOutcomes:
    """Return the orders acknowledged from `first` to the day before `date` and ready before midnight of `date`.

    Memory holds one batch and the requested days for any number of orders. If an order occurs twice, its first row with
    an outcome counts.
    """
    parts, days, reasons = list[Outcomes](), list[NDArray[np.int64]](), list[NDArray[np.uint32]]()
    for batch in batches_as_of(source, restaurants, date, first):
        frame = batch.frame
        acknowledged = _day_numbers(frame["acknowledged_local"])
        requested = (acknowledged >= to_day_number(first)) | (acknowledged < 0)
        days.append(acknowledged[requested])
        reasons.append(batch.reasons[requested])
        usable = requested & (acknowledged >= 0) & frame["prep_time_seconds"].is_not_null().to_numpy()
        usable &= (batch.reasons & np.uint32(exclusion_mask(Purpose.SCORING) | ValidationReason.DUPLICATE.bit)) == 0
        parts.append(_to_outcomes(batch, usable))
    if not parts:
        return AuditedOutcomes(Outcomes.empty(), np.empty(0, np.int64), np.empty(0, np.uint32))
    return AuditedOutcomes(_merge_without_duplicates(parts), np.concatenate(days), np.concatenate(reasons))


def batches_as_of(
    source: DataSource, restaurants: RestaurantIndex, date: dt.date, first: dt.date | None = None
) -> Iterator[AuditedOrders]:
    """Yield the rows known as of `date`, in batches, without orders that are open or ready later.

    Each batch is validated without these orders, so an open row doesn't make the later row with an outcome a duplicate.
    With `first`, a source that is partitioned by day can skip earlier days.
    """
    midnight = dt.datetime.combine(date, dt.time())
    # Opening hours exclude no orders from evaluation, so they aren't inferred.
    opening = np.full(len(restaurants), np.nan)
    last = date - dt.timedelta(days=1)
    rows = source.batches(BATCH_ROWS) if first is None else batches_for_dates(source, first, last, BATCH_ROWS)
    for batch in rows:
        audited = audit_orders(batch, restaurants, need_label=True, opening_times=opening)
        frame = audited.frame
        after_midnight = (frame["acknowledged_local"] >= midnight) | (frame["ready_local"] >= midnight)
        other_reasons = audited.reasons & ~np.uint32(
            ValidationReason.MISSING_VALUE.bit | ValidationReason.DUPLICATE.bit
        )
        is_open = frame["ready_local"].is_null().to_numpy() & (other_reasons == 0)
        excluded = after_midnight.fill_null(value=False).to_numpy() | is_open
        if excluded.any():
            audited = audit_orders(
                batch.filter(pl.Series(~excluded)), restaurants, need_label=True, opening_times=opening
            )
        yield audited


def hash_keys(keys: pl.Series) -> NDArray[np.uint64]:
    """Return the hashes of order keys, [N]. `NO_KEY_HASH` marks a missing key."""
    numbers = keys.hash().to_numpy()
    return np.where(keys.is_null().to_numpy(), np.uint64(NO_KEY_HASH), np.maximum(numbers, np.uint64(1)))


def _to_outcomes(batch: AuditedOrders, usable: NDArray[np.bool_]) -> Outcomes:
    rows = pl.Series(usable)
    frame = batch.frame.filter(rows)
    keys = hash_keys(order_keys(batch.raw.filter(rows), frame))
    ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
    seconds = frame["prep_time_seconds"].cast(pl.Int64).to_numpy()
    return Outcomes(keys, CompletedOrders(to_order_columns(frame), ready, seconds), batch.reasons[usable])


def _merge_without_duplicates(parts: list[Outcomes]) -> Outcomes:
    """Return the first order of each key from all parts, sorted independently of the order of rows."""
    orders = [part.completed.orders for part in parts]
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in orders]) for field in fields(OrderColumns)
    }
    completed = CompletedOrders(
        OrderColumns(**columns),
        np.concatenate([part.completed.ready_at for part in parts]),
        np.concatenate([part.completed.prep_time_seconds for part in parts]),
    )
    merged = Outcomes(
        np.concatenate([part.key_hash for part in parts]), completed, np.concatenate([part.reasons for part in parts])
    )
    identified = merged.key_hash != NO_KEY_HASH
    first = np.zeros(len(merged), np.bool_)
    first[np.unique(merged.key_hash, return_index=True)[1]] = True
    unique = merged.take(first | ~identified)
    unique_orders = unique.completed
    return unique.take(
        np.lexsort(
            (
                unique_orders.prep_time_seconds,
                unique_orders.orders.restaurant_id,
                unique.key_hash,
                unique_orders.orders.acknowledged_at,
            )
        )
    )


def _day_numbers(timestamps: pl.Series) -> NDArray[np.int64]:
    microseconds = timestamps.to_physical().fill_null(-MICROSECONDS).to_numpy()
    return np.where(timestamps.is_null().to_numpy(), -1, local_day(microseconds // MICROSECONDS))
