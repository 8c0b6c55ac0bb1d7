"""The history's state of more orders than memory holds: batch after batch, audited side by side, counted in order.

`refresh`: the champion's models with this morning's history, so that history is never stale (D7).
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.store import Store
from preptime.domain.data_dictionary import FILE_COLUMN
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.errors import UsageError
from preptime.features.history import History, build_history
from preptime.features.history_state import CompletedOrders, HistoryState
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback, no_progress
from preptime.sources.source import DataSource
from preptime.training.publishing import AuditActor, publish_refresh
from preptime.training.training_data import TrainingData, date_from_day_number, rows_as_of
from preptime.validation.audit import audit_orders, to_order_columns
from preptime.validation.data_gate import GateThresholds, evaluate_daily_counts, gate_error
from preptime.validation.duplicates import find_later_duplicates, isin_sorted, key_columns, repeated_values

BATCH_ROWS = 400_000
"""Orders in a batch. Half as many save 50 MB and take a second more for 10 million orders."""
RECENT_BATCHES = 3
"""Batches in which an order is looked for that came before; of 10 million orders in a month they are three days."""
AUDIT_THREADS = 2
"""Audits at a time. Counting is one thread's work and keeps up with two of them."""

_HISTORY_COLUMNS = (
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


def stream_history_state(
    source: DataSource, restaurants: RestaurantIndex, as_of: dt.date, progress: ProgressCallback = no_progress
) -> HistoryState:
    """The state of all orders of a table that may be used for history and were ready before the morning of `before`.

    The same, to the bit, as `audit` of the whole table gives of what was known then. Memory holds the state, a few
    batches and 8 bytes an order: a key by which to find an order that came in an earlier batch. What came within the
    last `NEAR_BATCHES`, as an order sent twice does, is found at once; when a key came in batches farther apart, the
    table is read once more. Equal keys are always compared in full, so that no chance collision costs an order.

    Raises `DataError` as `audit` and the table do.
    """
    state, suspect_keys = _count_batches(source, restaurants, as_of, np.empty(0, np.uint64), progress)
    if len(suspect_keys):
        del state  # two of them would be the largest thing in memory
        state, _ = _count_batches(source, restaurants, as_of, suspect_keys, progress)
    return state


@dataclass(frozen=True, slots=True)
class _BatchKeys:
    """What tells the orders of a batch from others."""

    identities: pl.DataFrame
    rows: NDArray[np.intp]
    """Rows that have an identity, duplicates within the batch left out."""
    keys: NDArray[np.uint64]
    """Of the named rows."""

    def find_rows(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], pl.DataFrame]:
        """The rows that have one of these ascending keys, and their identity."""
        matching_rows = self.rows[isin_sorted(self.keys, keys)]
        return matching_rows, self.identities[matching_rows]


@dataclass(frozen=True, slots=True)
class _CompletedBatch:
    """What one batch gives to count."""

    file: str
    completed: CompletedOrders
    rows: NDArray[np.intp]
    """Where each of them stood in the batch."""
    batch_keys: _BatchKeys


def _count_batches(
    source: DataSource,
    restaurants: RestaurantIndex,
    as_of: dt.date,
    suspect_keys: NDArray[np.uint64],
    progress: ProgressCallback,
) -> tuple[HistoryState, NDArray[np.uint64]]:
    """The state without what `suspects` prove to be duplicates, and the keys that came in batches farther apart."""
    state = HistoryState.empty(len(restaurants))
    read = partial(_read_batch, directory=restaurants, before=as_of)
    partition_names = [part.name for part in source.partitions()]
    progress_by_partition = {name: (count + 1) / len(partition_names) for count, name in enumerate(partition_names)}
    stage = "History, again without duplicates" if len(suspect_keys) else "History"
    keys = []
    recent: deque[_BatchKeys] = deque(maxlen=RECENT_BATCHES)
    earlier_identities: list[pl.DataFrame] = []
    for batch in _map_in_order(read, source.batches(BATCH_ROWS)):
        batch_keys = batch.batch_keys
        duplicates = _find_duplicates(recent, batch_keys)
        if len(suspect_keys):
            rows, identities = batch_keys.find_rows(suspect_keys)
            duplicates = np.union1d(duplicates, _find_later_duplicates(earlier_identities, rows, identities))
            earlier_identities.append(identities)
        is_kept = ~np.isin(batch.rows, duplicates)
        state.add_orders(restaurants, batch.completed if is_kept.all() else batch.completed.take(is_kept))
        keys.append(batch_keys.keys[~np.isin(batch_keys.rows, duplicates)])
        recent.append(batch_keys)
        progress(stage, progress_by_partition.get(batch.file, 0.0))
    return state, repeated_values(np.concatenate(keys))


def _find_duplicates(recent: Iterable[_BatchKeys], batch_keys: _BatchKeys) -> NDArray[np.intp]:
    """The rows that came in one of the batches before."""
    duplicate_keys = repeated_values(np.concatenate([*(recent_batch.keys for recent_batch in recent), batch_keys.keys]))
    if not len(duplicate_keys):
        return np.empty(0, np.intp)
    return _find_later_duplicates(
        [recent_batch.find_rows(duplicate_keys)[1] for recent_batch in recent], *batch_keys.find_rows(duplicate_keys)
    )


def _find_later_duplicates(
    earlier: list[pl.DataFrame], rows: NDArray[np.intp], identities: pl.DataFrame
) -> NDArray[np.intp]:
    """Which of `rows`, whose identity is `own`, came earlier too."""
    combined = pl.concat([*earlier, identities], how="vertical_relaxed")
    return rows[find_later_duplicates(combined)[len(combined) - len(identities) :]]


def _read_batch(batch: pl.DataFrame, *, directory: RestaurantIndex, before: dt.date) -> _CompletedBatch:
    # Opening hours are a flag that keeps nothing out of a history, so none are inferred.
    audited_batch = audit_orders(batch, directory, need_label=True, opening_times=np.full(len(directory), np.nan))
    audited = rows_as_of(audited_batch, directory, before)
    is_history = audited.usable_for(Purpose.HISTORY)
    known = audited.frame.select(_HISTORY_COLUMNS).filter(pl.Series(is_history))
    ready = known["ready_local"].to_physical().to_numpy() // MICROSECONDS
    prep_time_seconds = known["prep_time_seconds"].cast(pl.Int64).to_numpy()
    identities = key_columns(audited.raw, audited.frame)
    is_first = (audited.reasons & np.uint32(ValidationReason.DUPLICATE.bit)) == 0
    identified_rows = np.flatnonzero(
        is_first & identities.select(pl.all_horizontal(pl.all().is_not_null())).to_series().to_numpy()
    )
    return _CompletedBatch(
        file=str(batch[FILE_COLUMN][0]) if FILE_COLUMN in batch.columns else "",
        completed=CompletedOrders(to_order_columns(known), ready, prep_time_seconds),
        rows=np.flatnonzero(is_history),
        batch_keys=_BatchKeys(identities, identified_rows, identities.hash_rows().to_numpy()[identified_rows]),
    )


def _map_in_order(
    read: Callable[[pl.DataFrame], _CompletedBatch], batches: Iterator[pl.DataFrame]
) -> Iterator[_CompletedBatch]:
    """What `read` makes of each batch, in their order, a few at a time."""
    with ThreadPoolExecutor(AUDIT_THREADS) as pool:
        pending: deque[Future[_CompletedBatch]] = deque()
        for batch in batches:
            pending.append(pool.submit(read, batch))
            if len(pending) == AUDIT_THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class RefreshDocument(msgspec.Struct, frozen=True):
    """The document of `refresh --json`."""

    date: dt.date
    bundle: str
    parent: str
    """The bundle whose models these are."""
    champion_number: int
    orders: int
    """Completed orders that the history counts."""
    unknown_values: dict[str, int]
    """Restaurants whose country, city or food the champion's models do not know, by column."""


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
    """Publish the history of the morning of `date` with the champion's models, from a table of any size.

    Raises `UsageError` without a champion, for a date before the champion's, and for a refresh that a person rolled
    back; `DataError` when yesterday's orders are missing or too few; `BundleVerificationError` for a champion that fails
    verification, `StoreError` when someone else promoted meanwhile.
    """
    entry, champion = champion_to_refresh(store, date)
    # The champion's models know the codes they were fitted with.
    recoded = restaurants.recoded(champion.manifest.vocabularies)
    state = stream_history_state(orders, recoded, date, progress)
    orders_by_date = {date_from_day_number(number): int(sums[0].sum()) for number, sums in state.recent_days.items()}
    gate_result = evaluate_daily_counts(orders_by_date, date, thresholds or GateThresholds())
    if not gate_result.passed:
        raise gate_error(gate_result)
    refresh_entry = publish_refresh(
        store, champion, build_history(state, recoded, date), expected_current=entry, actor=actor
    )
    if refresh_entry is None:
        raise UsageError(
            f"A person rolled back the history of {date} under the models of {entry.bundle}.",
            "Repair the orders, or promote that bundle by its id with a reason: preptime bundles promote.",
        )
    return RefreshDocument(
        date=date,
        bundle=refresh_entry.bundle,
        parent=champion.manifest.parent or champion.manifest.id,
        champion_number=refresh_entry.number,
        orders=int(state.orders.sum()),
        unknown_values=_count_unknown_values(restaurants, recoded),
    )


def build_champion_history(champion: Bundle, data: TrainingData, date: dt.date) -> History:
    """The history of a morning in the champion's vocabularies: its models know the codes they were fitted with."""
    restaurants = data.restaurants.recoded(champion.manifest.vocabularies)
    state = HistoryState.from_orders(restaurants, data.completed.take(data.is_history))
    return build_history(state, restaurants, date)


def champion_to_refresh(store: Store, date: dt.date) -> tuple[LogEntry, Bundle]:
    """The champion that the morning of `date` may replace, verified."""
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion.", "Train and promote one first: preptime train.")
    if entry.date > date:
        raise UsageError(
            f"The champion {entry.bundle} is of {entry.date}, later than {date}.",
            "A refresh of an earlier morning would give it an older history.",
        )
    return entry, fetch_verified(store, entry.bundle)


def _count_unknown_values(restaurants: RestaurantIndex, recoded: RestaurantIndex) -> dict[str, int]:
    unknown_counts = {
        name: int(((getattr(recoded, name) < 0) & (getattr(restaurants, name) >= 0)).sum())
        for name in ("country", "city", "type_of_food")
    }
    return {name: count for name, count in unknown_counts.items() if count}
