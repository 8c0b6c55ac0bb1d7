"""Outcomes of orders as of a date, read in one pass over the orders."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.orders import OrderColumns, concatenate_orders
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask
from preptime.features.history_state import CompletedOrders
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import local_day
from preptime.sources.source import DataSource, batches_for_dates
from preptime.validation.audit import AuditedOrders, audit_orders, is_usable, to_order_columns
from preptime.validation.duplicates import order_keys
from preptime.validation.label_counts import is_open

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
        return is_usable(self.reasons, purpose)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Outcomes:
        """Return the orders at `rows`, which are indices or a mask."""
        return Outcomes(self.key_hash[rows], self.completed.take(rows), self.reasons[rows])


@dataclass(frozen=True)
class UnusableOrders:
    """Why orders of one day can't be used, as counts."""

    by_cause: Counter[tuple[ValidationReason, str]] = field(default_factory=Counter)
    """Unusable orders by validation reason and column. An order can have several."""
    open_orders: int = 0
    """Orders without an outcome as of the date. No other count contains them, because an outcome that arrives later
    must not change the document."""

    def describe(self) -> str:
        """Return what is missing or wrong, such as `889 without number_of_items`, or an empty text."""
        causes = [
            f"{count:,} without {column}"
            if reason is ValidationReason.MISSING_VALUE
            else f"{count:,} with {reason} in {column}"
            for (reason, column), count in sorted(self.by_cause.items(), key=lambda item: (-item[1], item[0]))
        ]
        return ", ".join([*causes, *([f"{self.open_orders:,} without an outcome"] if self.open_orders else [])])


@dataclass(frozen=True)
class AuditedOutcomes:
    """The results of one pass over the orders."""

    outcomes: Outcomes
    """Outcomes of orders acknowledged on the requested days."""
    unusable_days: NDArray[np.int64]
    """[U] local day of every order that isn't in `outcomes`, without duplicates and without open orders."""
    unusable_on_last_day: UnusableOrders
    """Why the orders of the day before the date can't be used."""
    audited_days: NDArray[np.int64]
    """[M] local day of every validated row, including duplicates and rows without a usable label. -1 if the time can't
    be parsed."""
    audited_reasons: NDArray[np.uint32]
    """[M] bit masks of validation reasons."""


def read_outcomes(source: DataSource, restaurants: RestaurantIndex, date: dt.date, first: dt.date) -> AuditedOutcomes:
    """Return the orders acknowledged from `first` to the day before `date` and ready before midnight of `date`.

    Memory holds one batch and the requested days for any number of orders. If an order occurs twice, its first usable
    row counts.
    """
    parts, days, reasons = list[Outcomes](), list[NDArray[np.int64]](), list[NDArray[np.uint32]]()
    unusable_parts, open_parts = list[pl.DataFrame](), list[pl.DataFrame]()
    cause_parts = list[pl.DataFrame]()
    last_day = to_day_number(date) - 1
    for known in batches_as_of(source, restaurants, date, first):
        batch, frame = known.audited, known.audited.frame
        acknowledged = _day_numbers(frame["acknowledged_local"])
        requested = (acknowledged >= to_day_number(first)) | (acknowledged < 0)
        days.append(acknowledged[requested])
        reasons.append(batch.reasons[requested])
        usable = requested & (acknowledged >= 0) & frame["prep_time_seconds"].is_not_null().to_numpy()
        usable &= batch.usable_for(Purpose.SCORING)
        parts.append(_to_outcomes(batch, usable, restaurants))
        is_duplicate = (batch.reasons & np.uint32(ValidationReason.DUPLICATE.bit)) != 0
        is_unusable = requested & (acknowledged >= 0) & ~usable & ~is_duplicate
        unusable_parts.append(_keys_by_day(batch, is_unusable))
        open_parts.append(known.open_orders)
        cause_parts.append(_causes_by_key(batch, is_unusable & (acknowledged == last_day)))
    if not parts:
        nothing = np.empty(0, np.int64)
        return AuditedOutcomes(Outcomes.empty(), nothing, UnusableOrders(), nothing, np.empty(0, np.uint32))
    outcomes = _merge_without_duplicates(parts)
    open_orders = _other_orders(open_parts, outcomes).filter(pl.col("day") == last_day)
    causes = _other_orders(cause_parts, outcomes).select("cause", "column").iter_rows()
    return AuditedOutcomes(
        outcomes,
        _other_orders(unusable_parts, outcomes)["day"].to_numpy(),
        UnusableOrders(
            Counter((ValidationReason(cause), column) for cause, column in causes),
            len(open_orders),
        ),
        np.concatenate(days),
        np.concatenate(reasons),
    )


@dataclass(frozen=True)
class KnownOrders:
    """One batch of the rows known as of a date."""

    audited: AuditedOrders
    """The rows without open orders."""
    open_orders: pl.DataFrame
    """`day` and `key` (hash) of the orders that were acknowledged but not ready before the date."""


def batches_as_of(
    source: DataSource, restaurants: RestaurantIndex, date: dt.date, first: dt.date | None = None
) -> Iterator[KnownOrders]:
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
        audited = audit_orders(batch, restaurants, need_label=True, opening_times=opening, schema=source.schema)
        frame = audited.frame
        after_midnight = (frame["acknowledged_local"] >= midnight) | (frame["ready_local"] >= midnight)
        excluded = after_midnight.fill_null(value=False).to_numpy() | is_open(audited)
        is_acknowledged = (frame["acknowledged_local"] < midnight).fill_null(value=False).to_numpy()
        open_orders = _keys_by_day(audited, excluded & is_acknowledged)
        if excluded.any():
            audited = audit_orders(
                batch.filter(pl.Series(~excluded)),
                restaurants,
                need_label=True,
                opening_times=opening,
                schema=source.schema,
            )
        yield KnownOrders(audited, open_orders)


def hash_keys(keys: pl.Series) -> NDArray[np.uint64]:
    """Return the hashes of order keys, [N]. `NO_KEY_HASH` marks a missing key."""
    numbers = keys.hash().to_numpy()
    return np.where(keys.is_null().to_numpy(), np.uint64(NO_KEY_HASH), np.maximum(numbers, np.uint64(1)))


def _to_outcomes(batch: AuditedOrders, usable: NDArray[np.bool_], restaurants: RestaurantIndex) -> Outcomes:
    rows = pl.Series(usable)
    frame = batch.frame.filter(rows)
    keys = hash_keys(order_keys(frame))
    ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
    seconds = frame["prep_time_seconds"].cast(pl.Int64).to_numpy()
    return Outcomes(keys, CompletedOrders(to_order_columns(frame, restaurants), ready, seconds), batch.reasons[usable])


def _keys_by_day(batch: AuditedOrders, rows: NDArray[np.bool_]) -> pl.DataFrame:
    """Return `day` and `key` (hash) of the rows where `rows` is true."""
    selected = pl.Series(rows)
    frame = batch.frame.filter(selected)
    keys = hash_keys(order_keys(frame))
    return pl.DataFrame({"day": _day_numbers(frame["acknowledged_local"]), "key": keys})


def _causes_by_key(batch: AuditedOrders, rows: NDArray[np.bool_]) -> pl.DataFrame:
    """Return `day`, `key`, `cause` (reason), and `column` of everything that makes the rows of a mask unusable."""
    unusable_mask = exclusion_mask(Purpose.SCORING)
    parts = [_keys_by_day(batch, np.zeros(len(batch), np.bool_)).with_columns(cause=pl.lit(""), column=pl.lit(""))]
    for finding in batch.findings:
        has_cause = np.zeros(len(batch), np.bool_)
        has_cause[finding.rows] = rows[finding.rows]
        if finding.reason.bit & unusable_mask and has_cause.any():
            keys = _keys_by_day(batch, has_cause)
            parts.append(keys.with_columns(cause=pl.lit(str(finding.reason)), column=pl.lit(finding.column)))
    return pl.concat(parts)


def _other_orders(parts: list[pl.DataFrame], outcomes: Outcomes) -> pl.DataFrame:
    """Return the rows of `parts` whose order isn't in `outcomes`, each order (and cause) once, by day."""
    orders = pl.concat(parts).sort(pl.all())
    identity = pl.struct(pl.exclude("day"))
    is_new = ~pl.col("key").is_in(pl.Series(outcomes.key_hash).implode()) & identity.is_first_distinct()
    return orders.filter((pl.col("key") == NO_KEY_HASH) | is_new)


def _merge_without_duplicates(parts: list[Outcomes]) -> Outcomes:
    """Return the first order of each key from all parts, sorted independently of the order of rows.

    It isn't a duplicate, even if an unusable row of the order precedes it in its batch.
    """
    orders = [part.completed.orders for part in parts]
    completed = CompletedOrders(
        concatenate_orders(orders),
        np.concatenate([part.completed.ready_at for part in parts]),
        np.concatenate([part.completed.prep_time_seconds for part in parts]),
    )
    reasons = np.concatenate([part.reasons for part in parts]) & ~np.uint32(ValidationReason.DUPLICATE.bit)
    merged = Outcomes(np.concatenate([part.key_hash for part in parts]), completed, reasons)
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
