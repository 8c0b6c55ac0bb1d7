"""What monitoring asks of the store: who was champion, what a bundle promised, and what it knew each morning."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from preptime.bundle.bundle import open_arrays, verify_folder
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import Manifest
from preptime.bundle.store import Store
from preptime.features.history import History


class BundleSource(Protocol):
    """Bundles as monitoring needs them. A bundle that has been pruned is no error: it can't be asked any more."""

    def champion_as_of(self, date: dt.date, /) -> str | None:
        """The champion as of `date`, if there was one."""
        ...

    def manifest(self, bundle: str, /) -> Manifest | None:
        """What a bundle says of itself, or nothing when it is gone."""
        ...

    def history(self, bundle: str, /) -> History | None:
        """What a bundle knew, likewise."""
        ...


class StoreBundleSource:
    """A store's bundles. Histories are mapped, not read: of each only the rows asked for come into memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids = frozenset(store.bundle_ids())

    def champion_as_of(self, date: dt.date) -> str | None:
        """The champion log's word."""
        entry = ChampionLog(self._store).as_of(date)
        return None if entry is None else entry.bundle

    def manifest(self, bundle: str) -> Manifest | None:
        """Raises `BundleVerificationError` for a damaged one."""
        return self._store.read_manifest(bundle) if bundle in self._ids else None

    def history(self, bundle: str) -> History | None:
        """Names and sizes of its files are checked, hashes are `bundles verify`'s matter: nothing is predicted here.

        Raises `BundleVerificationError` for a damaged one.
        """
        if bundle not in self._ids:
            return None
        folder = self._store.fetch(bundle)
        manifest = verify_folder(folder, hashes=False)
        return History.from_arrays(manifest.date.isoformat(), manifest.vocabularies, open_arrays(folder, manifest))
