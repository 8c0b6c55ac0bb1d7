"""A champion that the store has lost is made again: the same content has the same id (D8)."""

from __future__ import annotations

import datetime as dt

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champions import ChampionLog
from preptime.bundle.manifest import bundle_date
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, UsageError
from preptime.training.corpus import TrainingData
from preptime.training.publish import write_refreshed_bundle
from preptime.training.refresh import build_champion_history


def restore_champion(store: Store, bundle_id: str, data: TrainingData, date: dt.date) -> None:
    """Put the champion of the morning of `date` back when that morning refreshed it, and it was pruned or is damaged.

    One that was trained that morning needs nothing here: training it again has written it. `corpus` is what was known.
    Raises `UsageError` when the models it had do not open either, or when what comes out is another bundle.
    """
    if bundle_date(bundle_id) != date or _load_if_valid(store, bundle_id):
        return
    training_id = ChampionLog(store).training_by_refresh().get(bundle_id)
    if training_id is None:
        return
    parent = _load_if_valid(store, training_id)
    if parent is None:
        raise UsageError(
            f"{bundle_id}, the champion of the morning of {date}, does not open in {store.url} and is made again from "
            f"the models of {training_id}, which does not open there either.",
            retrain_hint(training_id),
        )
    restored = write_refreshed_bundle(store, parent, build_champion_history(parent, data, date), expected_id=bundle_id)
    if restored.id != bundle_id:
        raise UsageError(
            f"{bundle_id}, the champion of the morning of {date}, does not open in {store.url}; made again from the "
            f"models of {training_id} it is {restored.id}, so nothing was replaced.",
            different_bundle_hint(bundle_id),
        )


def retrain_hint(bundle_id: str) -> str:
    """What to do about a bundle that an earlier morning made."""
    return (
        f"Run preptime train --date {bundle_date(bundle_id)} again first. Should another bundle come out there, restore "
        f"{bundle_id} from a copy of the store."
    )


def different_bundle_hint(bundle_id: str) -> str:
    """What to do when its own morning gives another bundle than it gave."""
    return (
        f"The orders known that morning, or the release of preptime or its libraries, are not those of then: restore "
        f"{bundle_id} from a copy of the store, or roll back (preptime bundles rollback)."
    )


def _load_if_valid(store: Store, bundle_id: str) -> Bundle | None:
    if not store.has_bundle(bundle_id):  # though a copy may have been fetched before
        return None
    try:
        return fetch_verified(store, bundle_id)
    except BundleVerificationError:  # damaged: that can be made again as well
        return None
