"""The inventory of a store: listing bundles and the champion log, and pruning old bundles.

Pruning never deletes a bundle that is the champion or that a rollback may need.
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
    """The content of a store at one moment. Hashes and golden orders aren't checked (see `fetch_verified`)."""

    manifests: tuple[Manifest, ...]
    """Sorted by date, oldest first."""
    unreadable: dict[str, str]
    """The error for each bundle whose manifest can't be read, by id."""
    entries: tuple[LogEntry, ...]
    """Every promotion, first to last."""
    missing_entries: tuple[int, ...] = ()
    """Numbers of the promotions whose files are missing in the champion log."""

    @property
    def champion(self) -> LogEntry | None:
        """The champion's entry, or None before the first promotion."""
        return self.entries[-1] if self.entries else None

    @property
    def rollback_target(self) -> LogEntry | None:
        """The entry whose bundle a rollback would restore, or None."""
        number = self.champion.rollback_to if self.champion else None
        return next((entry for entry in self.entries if entry.number == number), None)


def list_store(store: Store, read_manifest: Callable[[Store, str], Manifest] = Store.read_manifest) -> StoreListing:
    """Return every manifest and the champion log of a store.

    A caller that caches manifests, which never change, can pass its own `read_manifest`. Raises `StoreError`.
    """
    manifests, unreadable = list[Manifest](), dict[str, str]()
    for bundle_id in store.bundle_ids():
        try:
            manifests.append(read_manifest(store, bundle_id))
        except BundleVerificationError as error:  # list the other bundles nevertheless
            unreadable[bundle_id] = str(error)
    log = ChampionLog(store).read_all()
    return StoreListing(tuple(manifests), unreadable, log.entries, log.missing)


ROLLBACKS_KEPT = 3
"""Number of consecutive rollbacks that stay possible. A bad promotion is noticed within days. With one promotion per
day, three rollbacks cover a weekend."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted."""

    bundles: list[str]
    """Ids of the deleted bundles."""
    leftovers: list[str]
    """Names of incomplete bundles and temporary files that crashes had left."""


def prune(store: Store, *, keep: int, abandoned_before: float) -> PruneResult:
    """Delete old bundles and what crashes left, and return what was deleted.

    The newest bundles, the champion, the bundles that `ROLLBACKS_KEPT` rollbacks can restore, and the parents of all of
    them stay. A refresh needs its parent, because the next refresh is checked against it. The champion log is read
    again before each deletion, because a bundle can be promoted while others are deleted.

    Args:
        store: The store to prune.
        keep: How many of the newest bundles, by date, to keep.
        abandoned_before: Seconds since 1970. Incomplete bundles that were last modified before it are deleted. The time
            must be earlier than the start of any upload that still runs.

    Raises:
        UsageError: `keep` is negative.
        StoreError: The storage failed.
    """
    if keep < 0:
        raise UsageError(f"keep = {keep}: expected 0 or more.", "Pass how many of the newest bundles to keep.")
    ids = store.bundle_ids()
    newest = ids[len(ids) - keep :] if keep < len(ids) else ids
    log, removed = ChampionLog(store), list[str]()
    kept = _with_parents(store, {*newest, *log.rollback_chain(ROLLBACKS_KEPT)})
    for bundle_id in ids:
        if bundle_id in kept:
            continue
        promoted = set(log.rollback_chain(ROLLBACKS_KEPT)) - kept
        kept |= _with_parents(store, promoted)
        if bundle_id not in kept:
            store.delete(bundle_id)
            removed.append(bundle_id)
    return PruneResult(removed, store.remove_abandoned(abandoned_before))


def _with_parents(store: Store, bundle_ids: set[str]) -> set[str]:
    """Return these bundles, their parents, and so on."""
    visited, pending = set[str](), set(bundle_ids)
    while pending:
        visited |= pending
        pending = {parent for bundle_id in pending if (parent := _parent_of(store, bundle_id))} - visited
    return visited


def _parent_of(store: Store, bundle_id: str) -> str | None:
    try:
        return store.read_manifest(bundle_id).parent if store.has_bundle(bundle_id) else None
    except BundleVerificationError:  # it can't be refreshed, so its parent isn't needed
        return None
