"""Where bundles and the log of champions are kept: a folder, or any fsspec URL, by the same code."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from preptime.bundle.folder import FolderPlace
from preptime.bundle.manifest import MANIFEST, Manifest, decode, describe, is_bundle_id, refused
from preptime.errors import StoreError, UsageError

BUNDLES = "bundles"
CHAMPION = "champion"
COPIES_KEPT = 4
"""Copies of a remote store's bundles: what is served, what is loaded beside it, and two to roll back to."""
_HINT = "Check that it exists, and that this account may read it, or write to it if that was asked."


class Place(Protocol):
    """What a store needs of storage. `put` shows a folder whole or not at all; `create` never overwrites."""

    def names(self, folder: str) -> list[str]: ...
    def exists(self, name: str) -> bool: ...
    def read(self, name: str) -> bytes: ...
    def create(self, name: str, content: bytes) -> bool: ...
    def put(self, folder: str, files: Mapping[str, bytes]) -> None: ...
    def remove(self, folder: str) -> None: ...
    def sweep(self, folder: str, before: float) -> list[str]: ...
    def modified(self, name: str) -> float: ...
    def writable(self) -> bool: ...
    def now(self) -> float | None: ...


class Store:
    """Bundles by id, and the files of the log. Raises `StoreError` when storage fails."""

    def __init__(self, url: str, place: Place, cache: Path | None = None) -> None:
        self.url = url
        self._place = place
        self._cache = cache

    @classmethod
    def open(cls, url: str, *, cache: Path | None = None) -> Store:
        """The store at `url`: a path, `file://`, `memory://`, `gs://`. Nothing is read or made yet.

        The bundles of a remote store that were fetched last are kept in the folder `cache` (default: `preptime` in
        `$XDG_CACHE_HOME`, else in `~/.cache`).
        """
        scheme, separator, _ = url.partition("://")
        if not separator:
            return cls(url, FolderPlace(Path(url)))
        if scheme in {"file", "local"}:
            return cls(url, FolderPlace(Path(url2pathname(urlsplit(url).path))))
        if scheme in {"gs", "gcs"}:
            return cls(url, _open_google(url), cache)
        from preptime.bundle.objects import open_objects

        return cls(url, open_objects(url), cache)

    def bundle_ids(self) -> list[str]:
        """Every whole bundle, oldest date first."""
        with self._storage_errors():
            ids = [name for name in self._place.names(BUNDLES) if is_bundle_id(name)]
            return [name for name in ids if self._place.exists(f"{BUNDLES}/{name}/{MANIFEST}")]

    def has(self, bundle_id: str) -> bool:
        """Whether this bundle is here, whole."""
        with self._storage_errors():
            return is_bundle_id(bundle_id) and self._place.exists(f"{BUNDLES}/{bundle_id}/{MANIFEST}")

    def manifest(self, bundle_id: str) -> Manifest:
        """What a bundle says of itself, without fetching it. Raises `RefusedBundleError`, `UsageError`."""
        self._require(bundle_id)
        with self._storage_errors():
            manifest = decode(self._place.read(f"{BUNDLES}/{bundle_id}/{MANIFEST}"))
        if manifest.id != bundle_id:
            raise refused(f"{bundle_id}/{MANIFEST}", f"id {bundle_id}", manifest.id)
        return manifest

    def read_file(self, manifest: Manifest, name: str) -> bytes:
        """One file of a bundle, without fetching the others, checked against the manifest.

        Raises `UsageError` where it has none of that name, `RefusedBundleError` for a damaged one.
        """
        if name not in manifest.files:
            raise UsageError(f"{manifest.id} has no {name}.", "`preptime bundles show` lists its files.")
        with self._storage_errors():
            content = self._place.read(f"{BUNDLES}/{manifest.id}/{name}")
        found, expected = describe({name: content})[name], manifest.files[name]
        if found != expected:
            raise refused(f"{manifest.id}/{name}", f"SHA-256 {expected.sha256}", found.sha256)
        return content

    def put(self, bundle_id: str, files: Mapping[str, bytes]) -> None:
        """Keep a bundle, whole or not at all. One that is already here stays: same id, same bytes."""
        with self._storage_errors():
            self._place.put(f"{BUNDLES}/{bundle_id}", files)

    def holds(self, bundle_id: str, files: Mapping[str, bytes]) -> bool:
        """Whether the store has these files of a bundle as they are here, byte for byte."""
        with self._storage_errors():
            try:
                return all(self._place.read(f"{BUNDLES}/{bundle_id}/{name}") == files[name] for name in files)
            except FileNotFoundError:
                return False

    def fetch(self, bundle_id: str) -> Path:
        """A local folder with this bundle: the store's own, or a copy of a remote one, checked file by file.

        Raises `UsageError` when there is no such bundle, `RefusedBundleError` when it arrived damaged.
        """
        if isinstance(self._place, FolderPlace):
            self._require(bundle_id)
            return self._place.root / BUNDLES / bundle_id
        cache = FolderPlace(self._cache or _default_cache())
        folder = cache.root / BUNDLES / bundle_id
        if not cache.exists(f"{BUNDLES}/{bundle_id}/{MANIFEST}"):
            self._download(bundle_id, cache)
            with self._storage_errors():
                _keep_latest(folder)
        return folder

    def forget(self, bundle_id: str) -> None:
        """Drop the copy of a remote bundle, so that it is fetched anew. A store that is a folder has no copies."""
        if not isinstance(self._place, FolderPlace):
            shutil.rmtree((self._cache or _default_cache()) / BUNDLES / bundle_id, ignore_errors=True)

    def delete(self, bundle_id: str) -> None:
        """Remove a bundle. Whether something still names it is the caller's question (`prune` asks it)."""
        self._require(bundle_id)
        with self._storage_errors():
            self._place.remove(f"{BUNDLES}/{bundle_id}")

    def sweep(self, before: float) -> list[str]:
        """Clear what crashes left behind and nobody touched since `before` (seconds since 1970); what was cleared."""
        with self._storage_errors():
            left = self._place.sweep(BUNDLES, before)
            if isinstance(self._place, FolderPlace):
                left += self._place.sweep(CHAMPION, before)
            return left

    def log_names(self) -> list[str]:
        """Names in the folder of the log, sorted."""
        with self._storage_errors():
            return self._place.names(CHAMPION)

    def read_log(self, name: str) -> bytes:
        """One file of the log."""
        with self._storage_errors():
            return self._place.read(f"{CHAMPION}/{name}")

    def create_log(self, name: str, content: bytes) -> bool:
        """Add a file to the log, whole. False: that name is taken."""
        with self._storage_errors():
            return self._place.create(f"{CHAMPION}/{name}", content)

    def log_written_at(self, name: str) -> float:
        """When a file of the log was written, by the storage's clock (seconds since 1970)."""
        with self._storage_errors():
            return self._place.modified(f"{CHAMPION}/{name}")

    def writable(self) -> bool:
        """Whether this account may write here. Nothing is written to find out."""
        with self._storage_errors():
            return self._place.writable()

    def now(self) -> float | None:
        """The storage's own clock (seconds since 1970), where it has one and tells it."""
        with self._storage_errors():
            return self._place.now()

    def _require(self, bundle_id: str) -> None:
        if not self.has(bundle_id):
            raise UsageError(f"{self.url} has no bundle {bundle_id!r}.", "`preptime bundles list` shows what it has.")

    def _download(self, bundle_id: str, cache: FolderPlace) -> None:
        manifest = self.manifest(bundle_id)
        with self._storage_errors():
            files = {name: self._place.read(f"{BUNDLES}/{bundle_id}/{name}") for name in manifest.files}
            arrived = describe(files)
            for name, expected in manifest.files.items():
                if arrived[name] != expected:
                    raise refused(f"{bundle_id}/{name}", f"SHA-256 {expected.sha256}", arrived[name].sha256)
            files[MANIFEST] = self._place.read(f"{BUNDLES}/{bundle_id}/{MANIFEST}")
            cache.put(f"{BUNDLES}/{bundle_id}", files)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.url}: {error}.", _HINT) from error


def _open_google(url: str) -> Place:
    try:
        from preptime.bundle.google import GooglePlace
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("google"):
            raise
        raise StoreError(f"{url}: google-cloud-storage is not installed.", "Install preptime[gcs].") from error
    return GooglePlace(url)


def _keep_latest(fetched: Path) -> None:
    """Remove the copies that are older than the latest few: a server fetches a bundle a day, for ever."""
    copies = [path for path in fetched.parent.iterdir() if is_bundle_id(path.name) and path != fetched]
    for path in sorted(copies, key=lambda path: path.stat().st_mtime)[: -COPIES_KEPT + 1]:
        shutil.rmtree(path, ignore_errors=True)  # on Windows one that is still served stays, until the next time


def _default_cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "preptime"
    try:
        return Path.home() / ".cache" / "preptime"
    except RuntimeError as error:  # a container's user without a home
        raise StoreError(f"No folder for fetched bundles: {error}", "Name one in XDG_CACHE_HOME.") from error
