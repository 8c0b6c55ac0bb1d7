"""What a store holds, for people: every bundle that can be read, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from preptime.bundle.champions import ChampionLog, LogEntry
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.errors import BundleVerificationError


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
