"""What a store holds, for people: every bundle that can be read, and why the others cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from preptime.bundle.champions import ChampionLog, Entry
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.errors import RefusedBundleError


@dataclass(frozen=True, slots=True)
class Listing:
    """A store at one moment. Only manifests are read: hashes and golden orders are looked at by `verify`."""

    manifests: tuple[Manifest, ...]
    """Oldest date first."""
    unreadable: dict[str, str]
    """Why a bundle's manifest cannot be read, by its id."""
    log: tuple[Entry, ...]
    """Every promotion, first to last."""

    @property
    def champion(self) -> Entry | None:
        """The entry that serves."""
        return self.log[-1] if self.log else None

    @property
    def returns_to(self) -> Entry | None:
        """The entry that a rollback would go back to."""
        current = self.champion
        return self.log[current.returns_to - 1] if current and current.returns_to else None


def listing(store: Store, read: Callable[[Store, str], Manifest] = Store.manifest) -> Listing:
    """Read every manifest and the log. `read` is for who keeps manifests, which never change. Raises `StoreError`."""
    manifests, unreadable = list[Manifest](), dict[str, str]()
    for bundle_id in store.bundle_ids():
        try:
            manifests.append(read(store, bundle_id))
        except RefusedBundleError as error:  # the others are as good as they were
            unreadable[bundle_id] = str(error)
    return Listing(tuple(manifests), unreadable, tuple(ChampionLog(store).history()))
