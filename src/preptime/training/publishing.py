"""Publishes bundles in a store and names the champion, for `train`, `refresh`, and `respond`."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog, LogEntry, LogEntryDraft
from preptime.bundle.isolated_check import load_written
from preptime.bundle.manifest import Manifest, ManifestDraft, to_json_object
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from preptime.features.history import History
from preptime.features.shrinkage import build_history
from preptime.schema.schema import OPTIONAL_MODEL_COLUMNS, CustomFeature, Schema
from preptime.training.training_data import TrainingData

if TYPE_CHECKING:  # the comparison imports the libraries that train, which a refresh does without
    from preptime.training.comparison import Comparison

REFRESH_REASON_PREFIX = "New history. "
"""Start of a refresh's reason in the champion log."""


@dataclass(frozen=True, slots=True)
class AuditActor:
    """Who promotes, and when. The champion log records it, and no decision depends on it."""

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
    """Make a challenger that this process has written the champion, after verifying it as it is in the store."""
    load_written(store, bundle_id)
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
    """Publish the champion's models with a newer history, verified but without a comparison (decision 7).

    `history` uses the champion's vocabularies. Returns None if a user rolled back this bundle earlier: it stays in
    the store and isn't promoted.
    """
    manifest = write_refreshed_bundle(store, champion, history)
    load_written(store, manifest.id)
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
    """Write the champion's models with another history to the store, with golden orders computed from that history.

    The parent is the bundle that was trained, regardless of the number of refreshes since then, so that two refreshes
    for the same date give the same bundle. `expected_id` is passed to `write_bundle`.
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
        graphs=champion.model_files(),
        history=history,
        golden_orders=champion.golden_orders(),
        extra_files=champion.training_files(),
        expected_id=expected_id,
    )


def build_champion_history(champion: Bundle, data: TrainingData, date: dt.date) -> History:
    """Return the history as of `date` in the champion's vocabularies, whose codes its models were fitted with.

    What `explain_stale_history` names is missing in the history. Don't publish it then.
    """
    restaurants = data.restaurants.recoded(champion.manifest.vocabularies, champion.history.feature_set)
    return build_history(data.recoded(restaurants).initial_state(data.is_history), restaurants, date)


def explain_stale_history(champion: Manifest, schema: Schema, date: dt.date) -> str | None:
    """Return why a history as of `date` from orders of `schema` can't be published with the champion's models, or None.

    It needs each column and feature that the champion's history is built from or that its orders must have. Another
    declaration can give other values.
    """
    declared = {_without_title(feature) for feature in schema.features}
    has_values = champion.schema.has("order_value") and schema.has("order_value")
    needed = [
        *(name for name in OPTIONAL_MODEL_COLUMNS if champion.schema.has(name) and not schema.has(name)),
        *(["the currency"] if has_values and schema.currency != champion.schema.currency else []),
        *(
            feature.name
            for feature in champion.schema.features
            if (feature.type == "category" or feature.of == "restaurant" or feature.required)
            and _without_title(feature) not in declared
        ),
    ]
    if not needed:
        return None
    return (
        f"The champion's history isn't updated, because it needs {', '.join(needed)}, which the schema lacks or "
        f"declares differently. To update it, run preptime refresh --date {date}, which uses the champion's schema."
    )


def _without_title(feature: CustomFeature) -> CustomFeature:
    return msgspec.structs.replace(feature, title="")
