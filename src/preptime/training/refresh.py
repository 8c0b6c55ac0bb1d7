"""Refresh: publishes the champion's models with the history as of a date (decision 7).

The history can be built from more orders than fit in memory. Batches are audited in parallel and counted in order.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.isolated_check import load_checked
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.domain.data_dictionary import FILE_COLUMN
from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.errors import UsageError
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.shrinkage import build_history
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import Schema
from preptime.sources.parallel import map_in_order
from preptime.sources.source import DataSource
from preptime.training.history_rows import audit_batch, completed_orders, without_duplicate_reason
from preptime.training.publishing import AuditActor, publish_refresh
from preptime.training.saved_state import SavedState
from preptime.training.training_data import rows_as_of
from preptime.validation.data_gate import GateThresholds, gate_error
from preptime.validation.duplicates import (
    find_later_duplicates,
    hash_identities,
    identity_columns,
    isin_sorted,
    repeated_values,
)
from preptime.validation.gate_checks import evaluate_history
from preptime.validation.label_counts import LabelCounts, LabelRows
from preptime.validation.order_counts import OrderCounts, OrderRows

BATCH_ROWS = 400_000
"""Orders in a batch. With half as many, 10 million orders take 50 MB less memory and one second more."""
RECENT_BATCHES = 3
"""Batches that are searched for duplicates right away. With 10 million orders in a month, they cover three days."""
AUDIT_THREADS = 2
"""Concurrent audits. Counting uses one thread and keeps up with two audits."""
_POSITION_COLUMN = "_batch_position"
"""The position of each row in its batch."""


class RefreshDocument(msgspec.Struct, frozen=True):
    """The output of `preptime refresh --json`."""

    date: dt.date
    bundle: str
    parent: str
    """The trained bundle whose models it has."""
    champion_number: int
    """Number of the entry in the champion log."""
    orders: int
    """Completed orders in the history."""
    unknown_values: dict[str, int]
    """Restaurants whose country, city, or type of food is unknown to the champion's models, by column."""


def refresh_champion(
    orders: DataSource,
    restaurants: RestaurantIndex,
    date: dt.date,
    store: Store,
    actor: AuditActor,
    *,
    thresholds: GateThresholds | None = None,
    progress: ProgressCallback = no_progress,
) -> RefreshDocument:
    """Publish the champion's models with the history as of `date`, from a data source of any size.

    Raises:
        UsageError: There is no champion, its date is later, or a user rolled back this refresh.
        DataError: The data gate failed. Nothing is written.
        BundleVerificationError: The champion failed verification.
        StoreError: Another process promoted a bundle at the same time.
    """
    entry, champion = _champion_to_refresh(store, date)
    # The champion's models require the codes they were fitted with.
    recoded = restaurants.recoded(champion.manifest.vocabularies, champion.history.feature_set)
    history = stream_history(orders, recoded, date, progress)
    counted = SavedState(date, orders.schema, restaurants, history.state, history.labels, history.orders)
    return _publish(counted, entry, champion, store, actor=actor, thresholds=thresholds or GateThresholds())


def refresh_from_state(
    counted: SavedState,
    date: dt.date,
    store: Store,
    actor: AuditActor,
    *,
    thresholds: GateThresholds | None = None,
) -> RefreshDocument:
    """Publish the champion's models with the history of a state that was counted elsewhere.

    The bundle, and the checks of the data gate, are those of `refresh_champion` with the orders that were counted.

    Raises:
        UsageError: As `refresh_champion`, or the state has another date or was counted for another champion.
        DataError: The data gate failed. Nothing is written.
        BundleVerificationError: The champion failed verification.
        StoreError: Another process promoted a bundle at the same time.
    """
    if counted.date != date:
        raise UsageError(f"The state is as of {counted.date}, not {date}.", f"Use --date {counted.date}.")
    entry, champion = _champion_to_refresh(store, date)
    require_schema_of(counted, champion.manifest)
    return _publish(counted, entry, champion, store, actor=actor, thresholds=thresholds or GateThresholds())


def require_schema_of(counted: SavedState, manifest: Manifest) -> None:
    """Raise `UsageError` if a state was counted with another schema or other custom categories than a champion's."""
    custom = counted.restaurants.vocabularies.custom
    if counted.schema != manifest.schema or custom != manifest.vocabularies.custom:
        raise UsageError(
            f"The state was counted for another champion: {manifest.id} has another schema or other custom categories.",
            "Count the orders again with the current champion: preptime spark state.",
        )


def _publish(
    counted: SavedState,
    entry: LogEntry,
    champion: Bundle,
    store: Store,
    *,
    actor: AuditActor,
    thresholds: GateThresholds,
) -> RefreshDocument:
    """Check what was counted, and publish it with the champion's models. Raises the errors of `refresh_champion`."""
    date, state = counted.date, counted.state
    recoded = counted.restaurants.recoded(champion.manifest.vocabularies, champion.history.feature_set)
    completed_by_day = {number: int(sums[0].sum()) for number, sums in state.recent_days.items()}
    gate_result = evaluate_history(
        completed_by_day, counted.labels, date, thresholds, orders=counted.orders, schema=counted.schema
    )
    if not gate_result.passed:
        raise gate_error(gate_result)
    refresh_entry = publish_refresh(
        store, champion, build_history(state, recoded, date), expected_current=entry, actor=actor
    )
    if refresh_entry is None:
        raise UsageError(
            f"A user rolled back the refresh of {entry.bundle} for {date}.",
            "Correct the orders, or promote the refreshed bundle with a reason: preptime bundles promote.",
        )
    return RefreshDocument(
        date=date,
        bundle=refresh_entry.bundle,
        parent=champion.manifest.parent or champion.manifest.id,
        champion_number=refresh_entry.number,
        orders=int(state.orders.sum()),
        unknown_values=_count_unknown_values(counted.restaurants, recoded),
    )


def _champion_to_refresh(store: Store, date: dt.date) -> tuple[LogEntry, Bundle]:
    """Return the verified champion and its log entry. Raises `UsageError` if a refresh for `date` can't replace it."""
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion.", "First, train and promote a bundle: preptime train.")
    if entry.date > date:
        raise UsageError(
            f"The champion {entry.bundle} has the date {entry.date}, which is later than {date}.",
            f"Set --date to {entry.date} or later. A refresh for an earlier date would publish an older history.",
        )
    return entry, load_checked(store, entry.bundle)


def _count_unknown_values(restaurants: RestaurantIndex, recoded: RestaurantIndex) -> dict[str, int]:
    unknown_counts = {
        name: int(((getattr(recoded, name) < 0) & (getattr(restaurants, name) >= 0)).sum())
        for name in ("country", "city", "type_of_food")
    }
    return {name: count for name, count in unknown_counts.items() if count}


@dataclass(frozen=True, slots=True)
class CountedHistory:
    """What is counted from all orders known as of a date."""

    state: HistoryState
    """The usable orders that were ready before local midnight of the date."""
    labels: LabelCounts
    """All labels."""
    orders: OrderCounts
    """All orders, including open and unusable ones."""


def stream_history(
    source: DataSource, restaurants: RestaurantIndex, as_of: dt.date, progress: ProgressCallback = no_progress
) -> CountedHistory:
    """Count all orders known as of local midnight of `as_of`.

    The result is bit-identical to an audit of the whole data source. Memory holds the state, a few batches, and 8 bytes
    per order: a hash to find duplicates in earlier batches. A duplicate within `RECENT_BATCHES`, the usual case, is
    found immediately. If equal hashes are farther apart, the source is read a second time. Orders with equal hashes
    are always compared in full, so a hash collision never drops an order.

    Raises `DataError` if the source can't be read or audited.
    """
    counted, suspect_keys = _count_batches(source, restaurants, as_of, np.empty(0, np.uint64), progress)
    if len(suspect_keys):
        del counted  # two states would dominate the memory use
        counted, _ = _count_batches(source, restaurants, as_of, suspect_keys, progress)
    return counted


@dataclass(frozen=True, slots=True)
class _BatchKeys:
    """The identities of a batch's orders, to find duplicates in other batches."""

    identities: pl.DataFrame
    """The key columns of all rows of the batch."""
    rows: NDArray[np.intp]
    """[K] rows that have a complete identity, without duplicates within the batch."""
    keys: NDArray[np.uint64]
    """[K] hashes of the identities."""

    def find_rows(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], pl.DataFrame]:
        """Return the rows whose key is one of these ascending keys, and their identities."""
        matching_rows = self.rows[isin_sorted(self.keys, keys)]
        return matching_rows, self.identities[matching_rows]


@dataclass(frozen=True, slots=True)
class _AuditedBatch:
    """The orders of one batch. Rows are those of the K rows that are known as of the date."""

    file: str
    """Name of the file they were read from, or an empty string."""
    completed: CompletedOrders
    rows: NDArray[np.intp]
    """The rows of the completed orders."""
    labels: LabelRows
    orders: OrderRows
    """All orders of the batch, with their rows in the batch."""
    positions: NDArray[np.int64]
    """[K] positions of the known rows in the batch."""
    batch_keys: _BatchKeys


def _count_batches(
    source: DataSource,
    restaurants: RestaurantIndex,
    as_of: dt.date,
    suspect_keys: NDArray[np.uint64],
    progress: ProgressCallback,
) -> tuple[CountedHistory, NDArray[np.uint64]]:
    """Return the sums without duplicates among `suspect_keys`.

    The second value has the keys that occur in batches farther apart, whose orders may be counted twice.
    """
    labels, orders = LabelCounts(), OrderCounts()
    state = HistoryState.empty(len(restaurants), restaurants.vocabularies.category_cells)
    read = partial(_read_batch, restaurants=restaurants, as_of=as_of, schema=source.schema)
    partition_names = [part.name for part in source.partitions()]
    progress_by_partition = {name: (count + 1) / len(partition_names) for count, name in enumerate(partition_names)}
    stage = "History, again without duplicates" if len(suspect_keys) else "History"
    keys = []
    recent: deque[_BatchKeys] = deque(maxlen=RECENT_BATCHES)
    earlier_identities: list[pl.DataFrame] = []
    for batch in map_in_order(source.batches(BATCH_ROWS), read, AUDIT_THREADS, max_pending=AUDIT_THREADS):
        batch_keys = batch.batch_keys
        duplicates = _find_duplicates(recent, batch_keys)
        if len(suspect_keys):
            rows, identities = batch_keys.find_rows(suspect_keys)
            duplicates = np.union1d(duplicates, _find_later_duplicates(earlier_identities, rows, identities))
            earlier_identities.append(identities)
        is_kept = ~np.isin(batch.rows, duplicates)
        state.add_orders(restaurants, batch.completed if is_kept.all() else batch.completed.take(is_kept))
        labels.add(batch.labels.without(duplicates))
        orders.append(OrderCounts.of_batch(batch.orders.with_duplicates(batch.positions[duplicates])))
        keys.append(batch_keys.keys[~np.isin(batch_keys.rows, duplicates)])
        recent.append(batch_keys)
        progress(stage, progress_by_partition.get(batch.file, 0.0))
    return CountedHistory(state, labels, orders), repeated_values(np.concatenate(keys))


def _find_duplicates(recent: Iterable[_BatchKeys], batch_keys: _BatchKeys) -> NDArray[np.intp]:
    """Return the rows that also occur in one of the recent batches."""
    duplicate_keys = repeated_values(np.concatenate([*(recent_batch.keys for recent_batch in recent), batch_keys.keys]))
    if not len(duplicate_keys):
        return np.empty(0, np.intp)
    return _find_later_duplicates(
        [recent_batch.find_rows(duplicate_keys)[1] for recent_batch in recent], *batch_keys.find_rows(duplicate_keys)
    )


def _find_later_duplicates(
    earlier: list[pl.DataFrame], rows: NDArray[np.intp], identities: pl.DataFrame
) -> NDArray[np.intp]:
    """Return the `rows`, with `identities`, that also occur in `earlier`."""
    combined = pl.concat([*earlier, identities], how="vertical_relaxed")
    return rows[find_later_duplicates(combined)[len(combined) - len(identities) :]]


def _read_batch(batch: pl.DataFrame, *, restaurants: RestaurantIndex, as_of: dt.date, schema: Schema) -> _AuditedBatch:
    batch = batch.with_columns(pl.int_range(pl.len()).alias(_POSITION_COLUMN))
    audited_batch = audit_batch(batch, restaurants, schema)
    audited = rows_as_of(audited_batch, restaurants, as_of)
    positions = audited.raw[_POSITION_COLUMN].to_numpy()
    is_history = audited.usable_for(Purpose.HISTORY)
    identities = identity_columns(audited.frame)
    is_first = (audited.reasons & np.uint32(ValidationReason.DUPLICATE.bit)) == 0
    identified_rows, keys = hash_identities(identities)
    is_kept = is_first[identified_rows]
    return _AuditedBatch(
        file=str(batch[FILE_COLUMN][0]) if FILE_COLUMN in batch.columns else "",
        completed=completed_orders(audited, restaurants, is_history),
        rows=np.flatnonzero(is_history),
        labels=LabelRows.from_audited(audited, as_of),
        orders=OrderRows.from_audited(without_duplicate_reason(audited_batch), as_of).with_duplicates(
            positions[~is_first]
        ),
        positions=positions,
        batch_keys=_BatchKeys(identities, identified_rows[is_kept], keys[is_kept]),
    )
