"""The history's state of more orders than memory holds: batch after batch, audited side by side, counted in order."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import Purpose, Reason
from preptime.features.clock import day
from preptime.features.directory import Directory
from preptime.features.state import CompletedOrders, HistoryState
from preptime.tables.audit import audit, to_order_columns
from preptime.tables.columns import FILE
from preptime.tables.duplicates import identity, later_duplicates, repeated
from preptime.tables.table import Table
from preptime.training.corpus import day_number
from preptime.training.progress import Progress, silent

BATCH_ROWS = 500_000
"""Orders in a batch. Three are held at a time, about 150 bytes an order; fewer rows a batch gain nothing."""
WORKERS = 2
"""Audits at a time. Counting is one thread's work and keeps up with two of them."""

_READ = (
    "acknowledged_local",
    "ready_local",
    "restaurant_id",
    "order_value_gbp",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
    "prep_time_seconds",
)


def history_state(table: Table, directory: Directory, before: dt.date, progress: Progress = silent) -> HistoryState:
    """The state of all orders of a table that may be used for history and were ready before the morning of `before`.

    The same, to the bit, as `audit` of the whole table gives. Memory holds the state, a few batches and 8 bytes an
    order: a key by which to find an order that came in an earlier batch. When a key came twice, the table is read once
    more and what carries it is compared in full, so that no chance collision costs an order.

    Raises `DataError` as `audit` and the table do.
    """
    state, suspects = _count(table, directory, before, np.empty(0, np.uint64), progress)
    if len(suspects):
        state, _ = _count(table, directory, before, suspects, progress)
    return state


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one batch gives to count."""

    file: str
    completed: CompletedOrders
    rows: NDArray[np.intp]
    """Where each of them stood in the batch."""
    keys: NDArray[np.uint64]
    """Of every order with an identity, duplicates within the batch left out."""
    suspected: NDArray[np.intp]
    """Rows whose key came twice, and what they are compared by."""
    identity: pl.DataFrame


def _count(
    table: Table, directory: Directory, before: dt.date, suspects: NDArray[np.uint64], progress: Progress
) -> tuple[HistoryState, NDArray[np.uint64]]:
    """The state without what `suspects` prove to be duplicates, and the keys that came in more than one batch."""
    state = HistoryState.empty(len(directory))
    read = partial(_read, directory=directory, before=day_number(before), suspects=suspects)
    names = [part.name for part in table.partitions()]
    share = {name: (count + 1) / len(names) for count, name in enumerate(names)}
    stage = "History, again without duplicates" if len(suspects) else "History"
    keys = []
    earlier = pl.DataFrame()
    for batch in _in_order(read, table.batches(BATCH_ROWS)):
        completed = batch.completed
        if len(batch.suspected):
            earlier = pl.concat([earlier, batch.identity], how="vertical_relaxed") if len(earlier) else batch.identity
            again = batch.suspected[later_duplicates(earlier)[-len(batch.suspected) :]]
            completed = completed.take(~np.isin(batch.rows, again))
        state.count(directory, completed)
        keys.append(batch.keys)
        progress(stage, share.get(batch.file, 0.0))
    return state, repeated(np.concatenate(keys))


def _read(batch: pl.DataFrame, *, directory: Directory, before: int, suspects: NDArray[np.uint64]) -> _Batch:
    # Opening hours are a flag that keeps nothing out of a history, so none are inferred.
    audited = audit(batch, directory, need_label=True, opening=np.full(len(directory), np.nan))
    frame = audited.frame
    kept = audited.kept(Purpose.HISTORY)
    ready = frame["ready_local"].to_physical().fill_null(0).to_numpy() // MICROSECONDS
    kept &= day(ready) < before
    known = frame.select(_READ).filter(pl.Series(kept))
    label = known["prep_time_seconds"].cast(pl.Int64).to_numpy()
    who = identity(batch, frame)
    first = (audited.reasons & np.uint32(Reason.DUPLICATE.bit)) == 0
    named = np.flatnonzero(first & who.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy())
    keys = who.hash_rows().to_numpy()[named]
    suspected = named[np.isin(keys, suspects)]
    return _Batch(
        file=str(batch[FILE][0]) if FILE in batch.columns else "",
        completed=CompletedOrders(to_order_columns(known), ready[kept], label),
        rows=np.flatnonzero(kept),
        keys=keys,
        suspected=suspected,
        identity=who[suspected],
    )


def _in_order(read: Callable[[pl.DataFrame], _Batch], batches: Iterator[pl.DataFrame]) -> Iterator[_Batch]:
    """What `read` makes of each batch, in their order, a few at a time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[_Batch]] = deque()
        for batch in batches:
            waiting.append(pool.submit(read, batch))
            if len(waiting) > WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
