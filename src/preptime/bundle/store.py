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

from preptime.bundle.backends import LocalBackend
from preptime.bundle.manifest import (
    MANIFEST_FILE,
    Manifest,
    decode_manifest,
    describe_files,
    is_bundle_id,
    refused_bundle_error,
)
from preptime.errors import StoreError, UsageError

BUNDLES_FOLDER = "bundles"
LOG_FOLDER = "champion"
MAX_CACHED_BUNDLES = 4
"""Copies of a remote store's bundles: what is served, what is loaded beside it, and two to roll back to."""
_STORAGE_ERROR_HINT = "Check that it exists, and that this account may read it, or write to it if that was asked."


class StorageBackend(Protocol):
    """What a store needs of storage. `write_folder` shows a folder whole or not at all; `create_exclusive` never overwrites."""

    def list_names(self, folder: str) -> list[str]: ...
    def file_exists(self, name: str) -> bool: ...
    def read(self, name: str) -> bytes: ...
    def create_exclusive(self, name: str, content: bytes) -> bool: ...
    def write_folder(self, folder: str, files: Mapping[str, bytes]) -> None: ...
    def remove_folder(self, folder: str) -> None: ...
    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]: ...
    def modified_at(self, name: str) -> float: ...
    def is_writable(self) -> bool: ...
    def storage_time(self) -> float | None: ...


class Store:
    """Bundles by id, and the files of the log. Raises `StoreError` when storage fails."""

    def __init__(self, url: str, backend: StorageBackend, cache: Path | None = None) -> None:
        self.url = url
        self._backend = backend
        self._cache = cache

    @classmethod
    def open(cls, url: str, *, cache: Path | None = None) -> Store:
        """The store at `url`: a path, `file://`, `memory://`, `gs://`. Nothing is read or made yet.

        The bundles of a remote store that were fetched last are kept in the folder `cache` (default: `preptime` in
        `$XDG_CACHE_HOME`, else in `~/.cache`).
        """
        scheme, separator, _ = url.partition("://")
        if not separator:
            return cls(url, LocalBackend(Path(url)))
        if scheme in {"file", "local"}:
            return cls(url, LocalBackend(Path(url2pathname(urlsplit(url).path))))
        if scheme in {"gs", "gcs"}:
            return cls(url, _open_gcs_backend(url), cache)
        from preptime.bundle.backends import open_fsspec_backend

        return cls(url, open_fsspec_backend(url), cache)

    def bundle_ids(self) -> list[str]:
        """Every whole bundle, oldest date first."""
        with self._storage_errors():
            ids = [name for name in self._backend.list_names(BUNDLES_FOLDER) if is_bundle_id(name)]
            return [name for name in ids if self._backend.file_exists(f"{BUNDLES_FOLDER}/{name}/{MANIFEST_FILE}")]

    def has_bundle(self, bundle_id: str) -> bool:
        """Whether this bundle is here, whole."""
        with self._storage_errors():
            return is_bundle_id(bundle_id) and self._backend.file_exists(
                f"{BUNDLES_FOLDER}/{bundle_id}/{MANIFEST_FILE}"
            )

    def read_manifest(self, bundle_id: str) -> Manifest:
        """What a bundle says of itself, without fetching it. Raises `BundleVerificationError`, `UsageError`."""
        self._require_bundle(bundle_id)
        with self._storage_errors():
            manifest = decode_manifest(self._backend.read(f"{BUNDLES_FOLDER}/{bundle_id}/{MANIFEST_FILE}"))
        if manifest.id != bundle_id:
            raise refused_bundle_error(f"{bundle_id}/{MANIFEST_FILE}", f"id {bundle_id}", manifest.id)
        return manifest

    def read_file(self, manifest: Manifest, name: str) -> bytes:
        """One file of a bundle, without fetching the others, checked against the manifest.

        Raises `UsageError` where it has none of that name, `BundleVerificationError` for a damaged one.
        """
        if name not in manifest.files:
            raise UsageError(f"{manifest.id} has no {name}.", "`preptime bundles show` lists its files.")
        with self._storage_errors():
            content = self._backend.read(f"{BUNDLES_FOLDER}/{manifest.id}/{name}")
        actual, expected = describe_files({name: content})[name], manifest.files[name]
        if actual != expected:
            raise refused_bundle_error(f"{manifest.id}/{name}", f"SHA-256 {expected.sha256}", actual.sha256)
        return content

    def write_bundle_files(self, bundle_id: str, files: Mapping[str, bytes]) -> None:
        """Keep a bundle, whole or not at all. One that is already here stays: same id, same bytes."""
        with self._storage_errors():
            self._backend.write_folder(f"{BUNDLES_FOLDER}/{bundle_id}", files)

    def has_same_files(self, bundle_id: str, files: Mapping[str, bytes]) -> bool:
        """Whether the store has these files of a bundle as they are here, byte for byte."""
        with self._storage_errors():
            try:
                return all(self._backend.read(f"{BUNDLES_FOLDER}/{bundle_id}/{name}") == files[name] for name in files)
            except FileNotFoundError:
                return False

    def fetch(self, bundle_id: str) -> Path:
        """A local folder with this bundle: the store's own, or a copy of a remote one, checked file by file.

        Raises `UsageError` when there is no such bundle, `BundleVerificationError` when it arrived damaged.
        """
        if isinstance(self._backend, LocalBackend):
            self._require_bundle(bundle_id)
            return self._backend.root / BUNDLES_FOLDER / bundle_id
        cache = LocalBackend(self._cache or _default_cache_folder())
        folder = cache.root / BUNDLES_FOLDER / bundle_id
        if not cache.file_exists(f"{BUNDLES_FOLDER}/{bundle_id}/{MANIFEST_FILE}"):
            self._download(bundle_id, cache)
            with self._storage_errors():
                _evict_old_copies(folder)
        return folder

    def drop_cached_copy(self, bundle_id: str) -> None:
        """Drop the copy of a remote bundle, so that it is fetched anew. A store that is a folder has no copies."""
        if not isinstance(self._backend, LocalBackend):
            shutil.rmtree((self._cache or _default_cache_folder()) / BUNDLES_FOLDER / bundle_id, ignore_errors=True)

    def delete(self, bundle_id: str) -> None:
        """Remove a bundle. Whether something still names it is the caller's question (`prune` asks it)."""
        self._require_bundle(bundle_id)
        with self._storage_errors():
            self._backend.remove_folder(f"{BUNDLES_FOLDER}/{bundle_id}")

    def remove_abandoned(self, modified_before: float) -> list[str]:
        """Clear what crashes left behind and nobody touched since `modified_before` (seconds since 1970); what was cleared."""
        with self._storage_errors():
            removed = self._backend.remove_abandoned(BUNDLES_FOLDER, modified_before)
            if isinstance(self._backend, LocalBackend):
                removed += self._backend.remove_abandoned(LOG_FOLDER, modified_before)
            return removed

    def log_file_names(self) -> list[str]:
        """Names in the folder of the log, sorted."""
        with self._storage_errors():
            return self._backend.list_names(LOG_FOLDER)

    def read_log(self, name: str) -> bytes:
        """One file of the log."""
        with self._storage_errors():
            return self._backend.read(f"{LOG_FOLDER}/{name}")

    def create_log(self, name: str, content: bytes) -> bool:
        """Add a file to the log, whole. False: that name is taken."""
        with self._storage_errors():
            return self._backend.create_exclusive(f"{LOG_FOLDER}/{name}", content)

    def log_written_at(self, name: str) -> float:
        """When a file of the log was written, by the storage's clock (seconds since 1970)."""
        with self._storage_errors():
            return self._backend.modified_at(f"{LOG_FOLDER}/{name}")

    def is_writable(self) -> bool:
        """Whether this account may write here. Nothing is written to find out."""
        with self._storage_errors():
            return self._backend.is_writable()

    def storage_time(self) -> float | None:
        """The storage's own clock (seconds since 1970), where it has one and tells it."""
        with self._storage_errors():
            return self._backend.storage_time()

    def _require_bundle(self, bundle_id: str) -> None:
        if not self.has_bundle(bundle_id):
            raise UsageError(f"{self.url} has no bundle {bundle_id!r}.", "`preptime bundles list` shows what it has.")

    def _download(self, bundle_id: str, cache: LocalBackend) -> None:
        manifest = self.read_manifest(bundle_id)
        with self._storage_errors():
            files = {name: self._backend.read(f"{BUNDLES_FOLDER}/{bundle_id}/{name}") for name in manifest.files}
            downloaded = describe_files(files)
            for name, expected in manifest.files.items():
                if downloaded[name] != expected:
                    raise refused_bundle_error(
                        f"{bundle_id}/{name}", f"SHA-256 {expected.sha256}", downloaded[name].sha256
                    )
            files[MANIFEST_FILE] = self._backend.read(f"{BUNDLES_FOLDER}/{bundle_id}/{MANIFEST_FILE}")
            cache.write_folder(f"{BUNDLES_FOLDER}/{bundle_id}", files)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.url}: {error}.", _STORAGE_ERROR_HINT) from error


def _open_gcs_backend(url: str) -> StorageBackend:
    try:
        from preptime.bundle.gcs import GcsBackend
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("google"):
            raise
        raise StoreError(f"{url}: google-cloud-storage is not installed.", "Install preptime[gcs].") from error
    return GcsBackend(url)


def _evict_old_copies(fetched: Path) -> None:
    """Remove the copies that are older than the latest few: a server fetches a bundle a day, for ever."""
    copies = [path for path in fetched.parent.iterdir() if is_bundle_id(path.name) and path != fetched]
    for path in sorted(copies, key=lambda path: path.stat().st_mtime)[: -MAX_CACHED_BUNDLES + 1]:
        shutil.rmtree(path, ignore_errors=True)  # on Windows one that is still served stays, until the next time


def _default_cache_folder() -> Path:
    cache_home = os.environ.get("XDG_CACHE_HOME")
    if cache_home:
        return Path(cache_home) / "preptime"
    try:
        return Path.home() / ".cache" / "preptime"
    except RuntimeError as error:  # a container's user without a home
        raise StoreError(f"No folder for fetched bundles: {error}", "Name one in XDG_CACHE_HOME.") from error
