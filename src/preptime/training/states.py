"""The history's state of more orders than memory holds: batch after batch, audited side by side, counted in order."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.verdict import Purpose, Reason
from preptime.features.directory import Directory
from preptime.features.state import CompletedOrders, HistoryState
from preptime.tables.audit import audit, to_order_columns
from preptime.tables.columns import FILE
from preptime.tables.duplicates import identity, is_among, later_duplicates, repeated
from preptime.tables.table import Table
from preptime.training.corpus import known_rows
from preptime.training.progress import Progress, silent

BATCH_ROWS = 400_000
"""Orders in a batch. Half as many save 50 MB and take a second more for 10 million orders."""
NEAR_BATCHES = 3
"""Batches in which an order is looked for that came before; of 10 million orders in a month they are three days."""
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

    The same, to the bit, as `audit` of the whole table gives of what was known then. Memory holds the state, a few
    batches and 8 bytes an order: a key by which to find an order that came in an earlier batch. What came within the
    last `NEAR_BATCHES`, as an order sent twice does, is found at once; when a key came in batches farther apart, the
    table is read once more. Equal keys are always compared in full, so that no chance collision costs an order.

    Raises `DataError` as `audit` and the table do.
    """
    state, suspects = _count(table, directory, before, np.empty(0, np.uint64), progress)
    if len(suspects):
        del state  # two of them would be the largest thing in memory
        state, _ = _count(table, directory, before, suspects, progress)
    return state


@dataclass(frozen=True, slots=True)
class _Names:
    """What tells the orders of a batch from others."""

    identity: pl.DataFrame
    named: NDArray[np.intp]
    """Rows that have an identity, duplicates within the batch left out."""
    keys: NDArray[np.uint64]
    """Of the named rows."""

    def having(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], pl.DataFrame]:
        """The rows that have one of these ascending keys, and their identity."""
        rows = self.named[is_among(self.keys, keys)]
        return rows, self.identity[rows]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one batch gives to count."""

    file: str
    completed: CompletedOrders
    rows: NDArray[np.intp]
    """Where each of them stood in the batch."""
    names: _Names


def _count(
    table: Table, directory: Directory, before: dt.date, suspects: NDArray[np.uint64], progress: Progress
) -> tuple[HistoryState, NDArray[np.uint64]]:
    """The state without what `suspects` prove to be duplicates, and the keys that came in batches farther apart."""
    state = HistoryState.empty(len(directory))
    read = partial(_read, directory=directory, before=before)
    parts = [part.name for part in table.partitions()]
    share = {name: (count + 1) / len(parts) for count, name in enumerate(parts)}
    stage = "History, again without duplicates" if len(suspects) else "History"
    keys = []
    near: deque[_Names] = deque(maxlen=NEAR_BATCHES)
    earlier: list[pl.DataFrame] = []
    for batch in _in_order(read, table.batches(BATCH_ROWS)):
        names = batch.names
        again = _again(near, names)
        if len(suspects):
            rows, own = names.having(suspects)
            again = np.union1d(again, _later(earlier, rows, own))
            earlier.append(own)
        kept = ~np.isin(batch.rows, again)
        state.count(directory, batch.completed if kept.all() else batch.completed.take(kept))
        keys.append(names.keys[~np.isin(names.named, again)])
        near.append(names)
        progress(stage, share.get(batch.file, 0.0))
    return state, repeated(np.concatenate(keys))


def _again(near: Iterable[_Names], names: _Names) -> NDArray[np.intp]:
    """The rows that came in one of the batches before."""
    keys = repeated(np.concatenate([*(one.keys for one in near), names.keys]))
    if not len(keys):
        return np.empty(0, np.intp)
    return _later([one.having(keys)[1] for one in near], *names.having(keys))


def _later(earlier: list[pl.DataFrame], rows: NDArray[np.intp], own: pl.DataFrame) -> NDArray[np.intp]:
    """Which of `rows`, whose identity is `own`, came earlier too."""
    together = pl.concat([*earlier, own], how="vertical_relaxed")
    return rows[later_duplicates(together)[len(together) - len(own) :]]


def _read(batch: pl.DataFrame, *, directory: Directory, before: dt.date) -> _Batch:
    # Opening hours are a flag that keeps nothing out of a history, so none are inferred.
    judged = audit(batch, directory, need_label=True, opening=np.full(len(directory), np.nan))
    audited = known_rows(judged, directory, before)
    kept = audited.kept(Purpose.HISTORY)
    known = audited.frame.select(_READ).filter(pl.Series(kept))
    ready = known["ready_local"].to_physical().to_numpy() // MICROSECONDS
    label = known["prep_time_seconds"].cast(pl.Int64).to_numpy()
    who = identity(audited.source, audited.frame)
    first = (audited.reasons & np.uint32(Reason.DUPLICATE.bit)) == 0
    named = np.flatnonzero(first & who.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy())
    return _Batch(
        file=str(batch[FILE][0]) if FILE in batch.columns else "",
        completed=CompletedOrders(to_order_columns(known), ready, label),
        rows=np.flatnonzero(kept),
        names=_Names(who, named, who.hash_rows().to_numpy()[named]),
    )


def _in_order(read: Callable[[pl.DataFrame], _Batch], batches: Iterator[pl.DataFrame]) -> Iterator[_Batch]:
    """What `read` makes of each batch, in their order, a few at a time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[Future[_Batch]] = deque()
        for batch in batches:
            waiting.append(pool.submit(read, batch))
            if len(waiting) == WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
