"""Writing bundles into a store and naming champions: what `train`, `refresh` and a person share."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import msgspec

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.manifest import Manifest, ManifestDraft, to_json_object
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.features.history import History
from preptime.training.comparison import Comparison

REFRESH_REASON_PREFIX = "New history. "
"""What the reason of a refresh begins with in the log."""


@dataclass(frozen=True, slots=True)
class AuditActor:
    """Who promotes, and when: only written down, nothing is decided by it."""

    by: str
    at: str
    """UTC time as text."""


def promote_challenger(
    store: Store,
    bundle_id: str,
    date: dt.date,
    *,
    comparison: Comparison,
    expected_current: LogEntry | None,
    actor: AuditActor,
) -> LogEntry:
    """Make a challenger that won the champion, once it has been verified as it stands in the store."""
    fetch_verified(store, bundle_id)
    draft = LogEntryDraft(
        bundle=bundle_id,
        date=date,
        action="promote",
        reason=comparison.summary,
        by=actor.by,
        at=actor.at,
        comparison=to_json_object(comparison),
    )
    return ChampionLog(store).append(draft, expected_current)


def publish_refresh(
    store: Store,
    champion: Bundle,
    history: History,
    *,
    expected_current: LogEntry,
    actor: AuditActor,
    reason: str = "The champion's models.",
    comparison: Comparison | None = None,
) -> LogEntry | None:
    """Publish the champion's models with a newer history: verified, without an MAE gate (D7).

    `history` is coded by the champion's vocabularies. The parent is the bundle that was trained, however many refreshes
    ago, so that refreshing twice on the same morning gives the same bundle. None: a person rolled this very bundle
    back, so it stays in the store and out of use.
    """
    manifest = write_refreshed_bundle(store, champion, history)
    fetch_verified(store, manifest.id)
    log = ChampionLog(store)
    if log.was_rolled_back(manifest.id):
        return None
    draft = LogEntryDraft(
        bundle=manifest.id,
        date=manifest.date,
        action="refresh",
        reason=f"{REFRESH_REASON_PREFIX}{reason}",
        by=actor.by,
        at=actor.at,
        comparison=None if comparison is None else to_json_object(comparison),
    )
    return log.append(draft, expected_current)


def write_refreshed_bundle(
    store: Store, champion: Bundle, history: History, *, expected_id: str | None = None
) -> Manifest:
    """Write the champion's models with another history into the store; its golden orders are asked of the new one.

    `only`: see `write_bundle`.
    """
    champion_manifest = champion.manifest
    draft = msgspec.structs.replace(
        msgspec.convert(champion_manifest, ManifestDraft, from_attributes=True),
        kind="refresh",
        date=dt.date.fromisoformat(history.date),
        parent=champion_manifest.parent or champion_manifest.id,
    )
    return write_bundle(
        store,
        draft,
        model=champion.model_bytes(),
        history=history,
        golden_orders=champion.golden_orders(),
        extra_files=champion.training_files(),
        expected_id=expected_id,
    )
