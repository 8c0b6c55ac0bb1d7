"""What happened, as it was known on the morning of D: one pass over the orders, keeping the days that are looked at."""

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
"""Orders read at a time; as many as a refresh reads."""
NO_KEY_HASH = 0
"""The key of an order that nothing tells from another."""


def to_day_number(date: dt.date) -> int:
    """Local days since 1970-01-01, as `preptime.features.spec.day` counts them."""
    return (date - EPOCH).days


def to_date(number: int) -> dt.date:
    """The date of a day number."""
    return EPOCH + dt.timedelta(days=number)


@dataclass(frozen=True)
class Outcomes:
    """N orders that were ready before the morning, each once, by day of acknowledgement; about 80 bytes an order."""

    key_hash: NDArray[np.uint64]
    """Hash of the order key; `NO_KEY` for those without. Two of ten million orders share one with probability 3e-6."""
    completed: CompletedOrders
    """Categories are codes of the restaurants file."""
    reasons: NDArray[np.uint32]
    """Bit masks of `preptime.domain.validation_reasons.Reason`."""

    @classmethod
    def empty(cls) -> Outcomes:
        """Not one."""
        integers, codes = np.empty(0, np.int64), np.empty(0, np.int32)
        orders = OrderColumns(integers, integers, np.empty(0, np.float64), integers, codes, codes, codes)
        return cls(np.empty(0, np.uint64), CompletedOrders(orders, integers, integers), np.empty(0, np.uint32))

    def __len__(self) -> int:
        return len(self.key_hash)

    @property
    def day(self) -> NDArray[np.int64]:
        """[N] local day of acknowledgement."""
        return local_day(self.completed.orders.acknowledged_at)

    @property
    def is_evaluable(self) -> NDArray[np.bool_]:
        """[N] the label set `up_to_3h`."""
        return self.usable_for(Purpose.EVALUATION)

    def usable_for(self, purpose: Purpose) -> NDArray[np.bool_]:
        """[N] which may be used for `purpose`."""
        kept: NDArray[np.bool_] = (self.reasons & np.uint32(exclusion_mask(purpose))) == 0
        return kept

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Outcomes:
        """The same at `rows`."""
        return Outcomes(self.key_hash[rows], self.completed.take(rows), self.reasons[rows])


@dataclass(frozen=True)
class AuditedOutcomes:
    """Everything one pass over the table gives."""

    outcomes: Outcomes
    """Those acknowledged on the days asked for."""
    audited_days: NDArray[np.int64]
    """[M] local day of every row that was judged, duplicates and rows without a usable label too; -1 for a row whose
    time cannot be read."""
    audited_reasons: NDArray[np.uint32]
    """[M]"""


def read_outcomes(source: DataSource, restaurants: RestaurantIndex, date: dt.date, first: dt.date) -> AuditedOutcomes:
    """The orders acknowledged from `first` to the day before `date` and ready before the midnight of `date`.

    Memory holds one batch and the days asked for, however long the table is. Of an order delivered twice the first
    row that has an outcome counts.
    """
    parts, days, reasons = list[Outcomes](), list[NDArray[np.int64]](), list[NDArray[np.uint32]]()
    for batch in batches_as_of(source, restaurants, date, first):
        frame = batch.frame
        acknowledged = _day_numbers(frame["acknowledged_local"])
        wanted = (acknowledged >= to_day_number(first)) | (acknowledged < 0)
        days.append(acknowledged[wanted])
        reasons.append(batch.reasons[wanted])
        usable = wanted & (acknowledged >= 0) & frame["prep_time_seconds"].is_not_null().to_numpy()
        usable &= (batch.reasons & np.uint32(exclusion_mask(Purpose.SCORING) | ValidationReason.DUPLICATE.bit)) == 0
        parts.append(_to_outcomes(batch, usable))
    if not parts:
        return AuditedOutcomes(Outcomes.empty(), np.empty(0, np.int64), np.empty(0, np.uint32))
    return AuditedOutcomes(_merge_without_duplicates(parts), np.concatenate(days), np.concatenate(reasons))


def batches_as_of(
    source: DataSource, restaurants: RestaurantIndex, date: dt.date, first: dt.date | None = None
) -> Iterator[AuditedOrders]:
    """The table's rows as they were known on the morning of `date`, batch by batch: neither open nor ready later.

    Judged without the others, so that a row which came before its outcome makes no duplicate of the one that has it.
    With `first` a table that knows days may leave those before it unread.
    """
    midnight = dt.datetime.combine(date, dt.time())
    # Opening hours are a flag that keeps nothing out of an evaluation, so none are inferred.
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
    """[N] order keys as numbers; `NO_KEY` where there is none."""
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
    """The parts as one, in an order that does not depend on the table's, the first of each key."""
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
