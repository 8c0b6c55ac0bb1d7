"""Writing bundles into a store and naming champions: what `train`, `refresh` and a person share."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import msgspec

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog, Entry, EntryDraft
from preptime.bundle.manifest import Draft, Manifest, document
from preptime.bundle.store import Store
from preptime.bundle.writing import write_bundle
from preptime.features.history import History
from preptime.training.promote import Comparison

REFRESHED = "New history. "
"""What the reason of a refresh begins with in the log."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who promotes, and when: only written down, nothing is decided by it."""

    by: str
    at: str
    """UTC time as text."""


def promote(
    store: Store, bundle_id: str, date: dt.date, *, comparison: Comparison, after: Entry | None, who: Who
) -> Entry:
    """Make a challenger that won the champion, once it has been verified as it stands in the store."""
    verify(store, bundle_id)
    draft = EntryDraft(
        bundle=bundle_id,
        date=date,
        action="promote",
        reason=comparison.sentence,
        by=who.by,
        at=who.at,
        comparison=document(comparison),
    )
    return ChampionLog(store).append(draft, after)


def publish_refresh(
    store: Store,
    champion: Bundle,
    history: History,
    *,
    after: Entry,
    who: Who,
    reason: str = "The champion's models.",
    comparison: Comparison | None = None,
) -> Entry | None:
    """Publish the champion's models with a newer history: verified, without an MAE gate (D7).

    `history` is coded by the champion's vocabularies. The parent is the bundle that was trained, however many refreshes
    ago, so that refreshing twice on the same morning gives the same bundle. None: a person rolled this very bundle
    back, so it stays in the store and out of use.
    """
    manifest = refreshed(store, champion, history)
    verify(store, manifest.id)
    log = ChampionLog(store)
    if log.was_undone(manifest.id):
        return None
    draft = EntryDraft(
        bundle=manifest.id,
        date=manifest.date,
        action="refresh",
        reason=f"{REFRESHED}{reason}",
        by=who.by,
        at=who.at,
        comparison=None if comparison is None else document(comparison),
    )
    return log.append(draft, after)


def refreshed(store: Store, champion: Bundle, history: History, *, only: str | None = None) -> Manifest:
    """Write the champion's models with another history into the store; its golden orders are asked of the new one.

    `only`: see `write_bundle`.
    """
    trained = champion.manifest
    draft = msgspec.structs.replace(
        msgspec.convert(trained, Draft, from_attributes=True),
        kind="refresh",
        date=dt.date.fromisoformat(history.date),
        parent=trained.parent or trained.id,
    )
    return write_bundle(
        store,
        draft,
        model=champion.model_bytes(),
        history=history,
        golden=champion.golden_orders(),
        extra=champion.told(),
        only=only,
    )
