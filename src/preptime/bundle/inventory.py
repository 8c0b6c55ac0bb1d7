"""What a store holds, for people: every bundle that can be read, and why the others cannot.

Room in the store: old bundles go, but none that serves or that a rollback may need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from preptime.bundle.champion_log import ChampionLog, LogEntry
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError, UsageError


@dataclass(frozen=True, slots=True)
class StoreListing:
    """A store at one moment. Only manifests are read: hashes and golden orders are checked by `fetch_verified`."""

    manifests: tuple[Manifest, ...]
    """Oldest date first."""
    unreadable: dict[str, str]
    """Why a bundle's manifest cannot be read, by its id."""
    entries: tuple[LogEntry, ...]
    """Every promotion, first to last."""

    @property
    def champion(self) -> LogEntry | None:
        """The entry that serves."""
        return self.entries[-1] if self.entries else None

    @property
    def rollback_target(self) -> LogEntry | None:
        """The entry that a rollback would go back to."""
        current = self.champion
        return self.entries[current.rollback_to - 1] if current and current.rollback_to else None


def list_store(store: Store, read_manifest: Callable[[Store, str], Manifest] = Store.read_manifest) -> StoreListing:
    """Read every manifest and the log. `read_manifest` is for who keeps manifests, which never change. Raises `StoreError`."""
    manifests, unreadable = list[Manifest](), dict[str, str]()
    for bundle_id in store.bundle_ids():
        try:
            manifests.append(read_manifest(store, bundle_id))
        except BundleVerificationError as error:  # the others are as good as they were
            unreadable[bundle_id] = str(error)
    return StoreListing(tuple(manifests), unreadable, tuple(ChampionLog(store).entries()))


ROLLBACKS_KEPT = 3
"""How many rollbacks in a row stay possible. A bad promotion is noticed within days; at one promotion a day, three of
them reach back over a weekend."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was removed: bundles by id, and what crashes had left."""

    bundles: list[str]
    leftovers: list[str]


def prune(store: Store, *, keep: int, abandoned_before: float) -> PruneResult:
    """Keep the `keep` newest bundles (by date), the champion, those that three rollbacks may return to, and parents.

    The parent of a kept refresh stays as long as that does: the next refresh is checked against it.
    `abandoned_before`, seconds since 1970: a half-written bundle that nobody touched since then is cleared; give a time
    at least as long ago as the longest upload. Raises `UsageError` for a negative `keep`.
    """
    if keep < 0:
        raise UsageError(f"keep = {keep}: expected 0 or more.")
    ids = store.bundle_ids()
    newest = ids[len(ids) - keep :] if keep < len(ids) else ids
    kept = _with_parents(store, {*newest, *ChampionLog(store).rollback_chain(ROLLBACKS_KEPT)})
    removed = [bundle_id for bundle_id in ids if bundle_id not in kept]
    for bundle_id in removed:
        store.delete(bundle_id)
    return PruneResult(removed, store.remove_abandoned(abandoned_before))


def _with_parents(store: Store, bundle_ids: set[str]) -> set[str]:
    """These, and every parent that one of them names."""
    visited, pending = set[str](), set(bundle_ids)
    while pending:
        visited |= pending
        pending = {parent for bundle_id in pending if (parent := _parent_of(store, bundle_id))} - visited
    return visited


def _parent_of(store: Store, bundle_id: str) -> str | None:
    if not store.has_bundle(bundle_id):
        return None
    try:
        return store.read_manifest(bundle_id).parent
    except BundleVerificationError:  # nothing can be refreshed from it, so nothing will ask for its parent
        return None
