"""What happened, as it was known on the morning of D: one pass over the orders, keeping the days that are looked at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.order import OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import Purpose, Reason, mask
from preptime.features.clock import day
from preptime.features.directory import Directory
from preptime.features.state import CompletedOrders
from preptime.tables.audit import Audited, audit, to_order_columns
from preptime.tables.order_key import order_keys
from preptime.tables.table import Table, batches_of_days

EPOCH = dt.date(1970, 1, 1)
BATCH_ROWS = 400_000
"""Orders read at a time; as many as a refresh reads."""
NO_KEY = 0
"""The key of an order that nothing tells from another."""


def day_number(date: dt.date) -> int:
    """Local days since 1970-01-01, as `preptime.features.clock.day` counts them."""
    return (date - EPOCH).days


def date_of(number: int) -> dt.date:
    """The date of a day number."""
    return EPOCH + dt.timedelta(days=number)


@dataclass(frozen=True)
class Outcomes:
    """N orders that were ready before the morning, each once, by day of acknowledgement; about 80 bytes an order."""

    key: NDArray[np.uint64]
    """Hash of the order key; `NO_KEY` for those without. Two of ten million orders share one with probability 3e-6."""
    completed: CompletedOrders
    """Categories are codes of the restaurants file."""
    reasons: NDArray[np.uint32]
    """Bit masks of `preptime.domain.verdict.Reason`."""

    @classmethod
    def none(cls) -> Outcomes:
        """Not one."""
        whole, codes = np.empty(0, np.int64), np.empty(0, np.int32)
        orders = OrderColumns(whole, whole, np.empty(0, np.float64), whole, codes, codes, codes)
        return cls(np.empty(0, np.uint64), CompletedOrders(orders, whole, whole), np.empty(0, np.uint32))

    def __len__(self) -> int:
        return len(self.key)

    @property
    def day(self) -> NDArray[np.int64]:
        """[N] local day of acknowledgement."""
        return day(self.completed.orders.acknowledged_at)

    @property
    def evaluable(self) -> NDArray[np.bool_]:
        """[N] the label set `up_to_3h`."""
        return self.kept(Purpose.EVALUATION)

    def kept(self, purpose: Purpose) -> NDArray[np.bool_]:
        """[N] which may be used for `purpose`."""
        kept: NDArray[np.bool_] = (self.reasons & np.uint32(mask(purpose))) == 0
        return kept

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Outcomes:
        """The same at `rows`."""
        return Outcomes(self.key[rows], self.completed.take(rows), self.reasons[rows])


@dataclass(frozen=True)
class Known:
    """Everything one pass over the table gives."""

    outcomes: Outcomes
    """Those acknowledged on the days asked for."""
    audited_days: NDArray[np.int64]
    """[M] local day of every row that was judged, duplicates and rows without a usable label too; -1 for a row whose
    time cannot be read."""
    audited_reasons: NDArray[np.uint32]
    """[M]"""


def read_outcomes(table: Table, directory: Directory, date: dt.date, first: dt.date) -> Known:
    """The orders acknowledged from `first` to the day before `date` and ready before the midnight of `date`.

    Memory holds one batch and the days asked for, however long the table is. Of an order delivered twice the first
    row that has an outcome counts.
    """
    parts, days, reasons = list[Outcomes](), list[NDArray[np.int64]](), list[NDArray[np.uint32]]()
    for batch in known_batches(table, directory, date, first):
        frame = batch.frame
        acknowledged = _days(frame["acknowledged_local"])
        wanted = (acknowledged >= day_number(first)) | (acknowledged < 0)
        days.append(acknowledged[wanted])
        reasons.append(batch.reasons[wanted])
        usable = wanted & (acknowledged >= 0) & frame["prep_time_seconds"].is_not_null().to_numpy()
        usable &= (batch.reasons & np.uint32(mask(Purpose.SCORING) | Reason.DUPLICATE.bit)) == 0
        parts.append(_outcomes(batch, usable))
    if not parts:
        return Known(Outcomes.none(), np.empty(0, np.int64), np.empty(0, np.uint32))
    return Known(_each_once(parts), np.concatenate(days), np.concatenate(reasons))


def known_batches(table: Table, directory: Directory, date: dt.date, first: dt.date | None = None) -> Iterator[Audited]:
    """The table's rows as they were known on the morning of `date`, batch by batch: neither open nor ready later.

    Judged without the others, so that a row which came before its outcome makes no duplicate of the one that has it.
    With `first` a table that knows days may leave those before it unread.
    """
    midnight = dt.datetime.combine(date, dt.time())
    # Opening hours are a flag that keeps nothing out of an evaluation, so none are inferred.
    opening = np.full(len(directory), np.nan)
    last = date - dt.timedelta(days=1)
    rows = table.batches(BATCH_ROWS) if first is None else batches_of_days(table, first, last, BATCH_ROWS)
    for batch in rows:
        audited = audit(batch, directory, need_label=True, opening=opening)
        frame = audited.frame
        later = (frame["acknowledged_local"] >= midnight) | (frame["ready_local"] >= midnight)
        against = audited.reasons & ~np.uint32(Reason.MISSING_VALUE.bit | Reason.DUPLICATE.bit)
        is_open = frame["ready_local"].is_null().to_numpy() & (against == 0)
        unknown = later.fill_null(value=False).to_numpy() | is_open
        if unknown.any():
            audited = audit(batch.filter(pl.Series(~unknown)), directory, need_label=True, opening=opening)
        yield audited


def hashed(keys: pl.Series) -> NDArray[np.uint64]:
    """[N] order keys as numbers; `NO_KEY` where there is none."""
    numbers = keys.hash().to_numpy()
    return np.where(keys.is_null().to_numpy(), np.uint64(NO_KEY), np.maximum(numbers, np.uint64(1)))


def _outcomes(batch: Audited, usable: NDArray[np.bool_]) -> Outcomes:
    rows = pl.Series(usable)
    frame = batch.frame.filter(rows)
    keys = hashed(order_keys(batch.source.filter(rows), frame))
    ready = frame["ready_local"].to_physical().to_numpy() // MICROSECONDS
    seconds = frame["prep_time_seconds"].cast(pl.Int64).to_numpy()
    return Outcomes(keys, CompletedOrders(to_order_columns(frame), ready, seconds), batch.reasons[usable])


def _each_once(parts: list[Outcomes]) -> Outcomes:
    """The parts as one, in an order that does not depend on the table's, the first of each key."""
    orders = [part.completed.orders for part in parts]
    columns = {one.name: np.concatenate([getattr(part, one.name) for part in orders]) for one in fields(OrderColumns)}
    completed = CompletedOrders(
        OrderColumns(**columns),
        np.concatenate([part.completed.ready_at for part in parts]),
        np.concatenate([part.completed.prep_time_seconds for part in parts]),
    )
    together = Outcomes(
        np.concatenate([part.key for part in parts]), completed, np.concatenate([part.reasons for part in parts])
    )
    named = together.key != NO_KEY
    first = np.zeros(len(together), np.bool_)
    first[np.unique(together.key, return_index=True)[1]] = True
    once = together.take(first | ~named)
    of = once.completed
    return once.take(np.lexsort((of.prep_time_seconds, of.orders.restaurant_id, once.key, of.orders.acknowledged_at)))


def _days(moments: pl.Series) -> NDArray[np.int64]:
    microseconds = moments.to_physical().fill_null(-MICROSECONDS).to_numpy()
    return np.where(moments.is_null().to_numpy(), -1, day(microseconds // MICROSECONDS))
