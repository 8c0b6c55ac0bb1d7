"""`refresh`: the champion's models with this morning's history, so that history is never stale (D7)."""

from __future__ import annotations

import datetime as dt

import msgspec

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champions import ChampionLog, LogEntry
from preptime.bundle.store import Store
from preptime.errors import UsageError
from preptime.features.directory import RestaurantIndex
from preptime.features.history import History, build_history
from preptime.features.state import HistoryState
from preptime.tables.gate import GateThresholds, evaluate_daily_counts, gate_error
from preptime.tables.table import DataSource
from preptime.training.corpus import TrainingData, date_from_day_number
from preptime.training.progress import ProgressCallback, no_progress
from preptime.training.publish import AuditActor, publish_refresh
from preptime.training.states import stream_history_state


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
