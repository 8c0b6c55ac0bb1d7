"""Room in the store: old bundles go, but none that serves or that a rollback may need."""

from __future__ import annotations

from dataclasses import dataclass

from preptime.bundle.champions import ChampionLog
from preptime.bundle.store import Store
from preptime.errors import UsageError

ROLLBACKS_KEPT = 3
"""How many rollbacks in a row stay possible. A bad promotion is noticed within days; at one promotion a day, three of
them reach back over a weekend."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed: bundles by id, and what crashes had left."""

    bundles: list[str]
    leftovers: list[str]


def prune(store: Store, *, keep: int, abandoned_before: float) -> Pruned:
    """Keep the `keep` newest bundles (by date), the champion and those that three rollbacks may return to.

    `abandoned_before`, seconds since 1970: a half-written bundle that nobody touched since then is cleared; give a time
    at least as long ago as the longest upload. Raises `UsageError` for a negative `keep`.
    """
    if keep < 0:
        raise UsageError(f"keep = {keep}: expected 0 or more.")
    ids = store.bundle_ids()
    kept = set(ids[len(ids) - keep :] if keep < len(ids) else ids) | set(ChampionLog(store).reachable(ROLLBACKS_KEPT))
    removed = [bundle_id for bundle_id in ids if bundle_id not in kept]
    for bundle_id in removed:
        store.delete(bundle_id)
    return Pruned(removed, store.sweep(abandoned_before))
