"""`refresh`: the champion's models with this morning's history, so that history is never stale (D7)."""

from __future__ import annotations

import datetime as dt

import msgspec

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog, Entry
from preptime.bundle.store import Store
from preptime.errors import UsageError
from preptime.features.directory import Directory
from preptime.features.history import History, build_history
from preptime.features.state import HistoryState
from preptime.tables.gate import GateThresholds, gate_days, refusal
from preptime.tables.table import Table
from preptime.training.corpus import Corpus, date_of
from preptime.training.progress import Progress, silent
from preptime.training.publish import Who, publish_refresh
from preptime.training.states import history_state


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


def refresh(
    orders: Table,
    directory: Directory,
    date: dt.date,
    store: Store,
    who: Who,
    *,
    thresholds: GateThresholds | None = None,
    progress: Progress = silent,
) -> RefreshDocument:
    """Publish the history of the morning of `date` with the champion's models, from a table of any size.

    Raises `UsageError` without a champion, for a date before the champion's, and for a refresh that a person rolled
    back; `DataError` when yesterday's orders are missing or too few; `RefusedBundleError` for a champion that fails
    verification, `StoreError` when someone else promoted meanwhile.
    """
    entry, champion = champion_of(store, date)
    # The champion's models know the codes they were fitted with.
    named = directory.named(champion.manifest.vocabularies)
    state = history_state(orders, named, date, progress)
    completed = {date_of(number): int(sums[0].sum()) for number, sums in state.recent.items()}
    passed = gate_days(completed, date, thresholds or GateThresholds())
    if not passed.passed:
        raise refusal(passed)
    published = publish_refresh(store, champion, build_history(state, named, date), after=entry, who=who)
    if published is None:
        raise UsageError(
            f"A person rolled back the history of {date} under the models of {entry.bundle}.",
            "Repair the orders, or promote that bundle by its id with a reason: preptime bundles promote.",
        )
    return RefreshDocument(
        date=date,
        bundle=published.bundle,
        parent=champion.manifest.parent or champion.manifest.id,
        champion_number=published.number,
        orders=int(state.orders.sum()),
        unknown_values=_unknown(directory, named),
    )


def history_for(champion: Bundle, known: Corpus, date: dt.date) -> History:
    """The history of a morning in the champion's vocabularies: its models know the codes they were fitted with."""
    directory = known.directory.named(champion.manifest.vocabularies)
    state = HistoryState.of(directory, known.completed.take(known.history))
    return build_history(state, directory, date)


def champion_of(store: Store, date: dt.date) -> tuple[Entry, Bundle]:
    """The champion that the morning of `date` may replace, verified."""
    entry = ChampionLog(store).current()
    if entry is None:
        raise UsageError(f"{store.url} has no champion.", "Train and promote one first: preptime train.")
    if entry.date > date:
        raise UsageError(
            f"The champion {entry.bundle} is of {entry.date}, later than {date}.",
            "A refresh of an earlier morning would give it an older history.",
        )
    return entry, verify(store, entry.bundle)


def _unknown(mine: Directory, theirs: Directory) -> dict[str, int]:
    lost = {
        name: int(((getattr(theirs, name) < 0) & (getattr(mine, name) >= 0)).sum())
        for name in ("country", "city", "type_of_food")
    }
    return {name: count for name, count in lost.items() if count}
