"""A champion that the store has lost is made again: the same content has the same id (D8)."""

from __future__ import annotations

import datetime as dt

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog
from preptime.bundle.manifest import morning_of
from preptime.bundle.store import Store
from preptime.errors import RefusedBundleError, UsageError
from preptime.training.corpus import Corpus
from preptime.training.publish import refreshed
from preptime.training.refresh import history_for


def restore(store: Store, champion: str, corpus: Corpus, date: dt.date) -> None:
    """Put the champion of the morning of `date` back when that morning refreshed it, and it was pruned or is damaged.

    One that was trained that morning needs nothing here: training it again has written it. `corpus` is what was known.
    Raises `UsageError` when the models it had do not open either, or when what comes out is another bundle.
    """
    if morning_of(champion) != date or _opens(store, champion):
        return
    trained = ChampionLog(store).trainings().get(champion)
    if trained is None:
        return
    parent = _opens(store, trained)
    if parent is None:
        raise UsageError(
            f"{champion}, the champion of the morning of {date}, does not open in {store.url} and is made again from "
            f"the models of {trained}, which does not open there either.",
            train_first(trained),
        )
    made = refreshed(store, parent, history_for(parent, corpus, date), only=champion)
    if made.id != champion:
        raise UsageError(
            f"{champion}, the champion of the morning of {date}, does not open in {store.url}; made again from the "
            f"models of {trained} it is {made.id}, so nothing was replaced.",
            trained_otherwise(champion),
        )


def train_first(bundle: str) -> str:
    """What to do about a bundle that an earlier morning made."""
    return (
        f"Run preptime train --date {morning_of(bundle)} again first. Should another bundle come out there, restore "
        f"{bundle} from a copy of the store."
    )


def trained_otherwise(bundle: str) -> str:
    """What to do when its own morning gives another bundle than it gave."""
    return (
        f"The orders known that morning, or the release of preptime or its libraries, are not those of then: restore "
        f"{bundle} from a copy of the store, or roll back (preptime bundles rollback)."
    )


def _opens(store: Store, bundle: str) -> Bundle | None:
    if not store.has(bundle):  # though a copy may have been fetched before
        return None
    try:
        return verify(store, bundle)
    except RefusedBundleError:  # damaged: that can be made again as well
        return None
