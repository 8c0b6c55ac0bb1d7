"""The store of bundles and the champion log: a folder, a bucket in Google Cloud Storage, or an fsspec URL."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import platformdirs

from preptime.bundle.backends.local import LocalBackend, list_files
from preptime.bundle.backends.objects import open_fsspec_backend
from preptime.bundle.manifest import (
    MANIFEST_FILE,
    Manifest,
    decode_manifest,
    describe_files,
    is_bundle_id,
    refused_bundle_error,
)
from preptime.errors import StoreError, UsageError, install_hint
from preptime.network import local_store_folder
from preptime.redaction import has_secret, redact_address, remember_secrets

BUNDLES_FOLDER = "bundles"
LOG_FOLDER = "champion"
_LOG_FILE_PATTERN = re.compile(r"[0-9]{6}\.json")
MAX_CACHED_BUNDLES = 4
"""Cached copies of a remote store's bundles: the active one, the one being loaded, and two for rollbacks."""
_STORE_URL_HINT = (
    "Use a folder or a gs:// URL without a user name, a password, or parameters. The library of the storage finds the "
    "credentials, for example with GOOGLE_APPLICATION_CREDENTIALS."
)
_STORAGE_ERROR_HINT = "Check that the store exists, and that this account can read it and, for changes, write to it."
_FULL_DISK_HINT = "Free up disk space, or use a store on another disk."
_CACHE_ERROR_HINT = (
    "This folder caches the bundles of a remote store. Check that this user can write to it, and that its disk has "
    "space, or set XDG_CACHE_HOME to another folder."
)


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """Limits on the check of one bundle in a separate process."""

    timeout_seconds: float = 60.0
    """From the start of the process until its result."""
    memory_mb: int = 512
    """Private memory of the process, 1 MB = 2**20 bytes. The bundle of the demo needs 160 MB, mostly for libraries."""


DEFAULT_LIMITS = CheckLimits()


class StorageBackend(Protocol):
    """The storage operations of a store. `write_folder` is atomic, and `create_exclusive` never overwrites."""

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
    """The bundles by id, and the files of the champion log. Methods raise `StoreError` if the storage fails.

    Example:
        >>> store = Store.open("memory://example")
        >>> store.bundle_ids()
        []
    """

    def __init__(
        self,
        url: str,
        backend: StorageBackend,
        cache: Path | None = None,
        check_limits: CheckLimits = DEFAULT_LIMITS,
    ) -> None:
        self.url = url
        """The address, which contains no secret."""
        self.check_limits = check_limits
        """Limits on the checks of its bundles in a separate process."""
        self._backend = backend
        self._cache = cache

    @classmethod
    def open(cls, url: str, *, cache: Path | None = None, check_limits: CheckLimits = DEFAULT_LIMITS) -> Store:
        """Return the store at a URL. Nothing is read or created yet.

        Args:
            url: A path, or a URL that starts with `file://`, `gs://`, or `memory://`.
            cache: Folder for the latest bundles fetched from a remote store. The default is the user's cache folder,
                for example, `~/.cache/preptime` on Linux, where you can set `XDG_CACHE_HOME`.
            check_limits: Limits on the checks of its bundles in a separate process.

        Raises:
            StoreError: The URL is invalid or contains credentials, or the package for it isn't installed.
        """
        return cls(url, open_backend(url), cache, check_limits)

    def existing(self) -> Store:
        """Return this store, for commands that only read it.

        Raises `UsageError` if it's in a local folder that doesn't exist, such as after a typing error. Otherwise, it
        would look like an empty store.
        """
        if isinstance(self._backend, LocalBackend) and not self._backend.root.is_dir():
            create = f"preptime train {self.option} --orders ORDERS --date DATE"
            raise UsageError(
                f"The store {self.url} doesn't exist.", f"Correct --store or PREPTIME_STORE, or create it: {create}."
            )
        return self

    @property
    def option(self) -> str:
        """The option of commands that names this store, for messages."""
        return f"--store {shlex.quote(self.url)}"

    def bundle_ids(self) -> list[str]:
        """Return the ids of all complete bundles, oldest date first."""
        with self._storage_errors():
            ids = [name for name in self._backend.list_names(BUNDLES_FOLDER) if is_bundle_id(name)]
            return [name for name in ids if self._backend.file_exists(f"{BUNDLES_FOLDER}/{name}/{MANIFEST_FILE}")]

    def has_bundle(self, bundle_id: str) -> bool:
        """Return whether the store has this bundle, complete."""
        with self._storage_errors():
            return is_bundle_id(bundle_id) and self._backend.file_exists(
                f"{BUNDLES_FOLDER}/{bundle_id}/{MANIFEST_FILE}"
            )

    def read_manifest(self, bundle_id: str) -> Manifest:
        """Return the manifest of a bundle without fetching its other files.

        Raises `UsageError` for an unknown bundle, or `BundleVerificationError` for a damaged manifest.
        """
        self._require_bundle(bundle_id)
        manifest = decode_manifest(self._read_bundle_file(bundle_id, MANIFEST_FILE))
        if manifest.id != bundle_id:
            raise refused_bundle_error(f"{bundle_id}/{MANIFEST_FILE}", f"id {bundle_id}", manifest.id)
        return manifest

    def read_file(self, manifest: Manifest, name: str) -> bytes:
        """Return the content of one file of a bundle without fetching the others.

        Raises `UsageError` for an unknown file, or for a bundle that was deleted meanwhile, or
        `BundleVerificationError` if the file is missing or its hash isn't that in the manifest.
        """
        if name not in manifest.files:
            show = f"preptime bundles show {manifest.id} {self.option}"
            raise UsageError(f"{manifest.id} has no {name}.", f"To list its files: {show}.")
        content = self._read_bundle_file(manifest.id, name)
        actual, expected = describe_files({name: content})[name], manifest.files[name]
        if actual != expected:
            raise refused_bundle_error(f"{manifest.id}/{name}", f"SHA-256 {expected.sha256}", actual.sha256)
        return content

    def write_bundle_files(self, bundle_id: str, files: Mapping[str, bytes]) -> None:
        """Write a bundle atomically. An existing bundle doesn't change: the same id means the same bytes."""
        with self._storage_errors():
            self._backend.write_folder(f"{BUNDLES_FOLDER}/{bundle_id}", files)

    def has_same_files(self, bundle_id: str, files: Mapping[str, bytes]) -> bool:
        """Return whether the bundle in the store has these files, byte for byte, and in a folder, no others."""
        with self._storage_errors():
            return _has_same_files(self._backend, bundle_id, files)

    def fetch(self, bundle_id: str) -> Path:
        """Return a local folder with the bundle: the store's own, or a cached copy from a remote store.

        A copy is verified file by file when it's downloaded. Raises `UsageError` for an unknown bundle, or
        `BundleVerificationError` if the download is damaged.
        """
        if isinstance(self._backend, LocalBackend):
            self._require_bundle(bundle_id)
            return self._backend.root / BUNDLES_FOLDER / bundle_id
        cache = self._open_cache()
        folder = cache.root / BUNDLES_FOLDER / bundle_id
        with _cache_errors(cache):
            is_cached = cache.file_exists(f"{BUNDLES_FOLDER}/{bundle_id}/{MANIFEST_FILE}")
        if is_cached:
            with suppress(OSError):  # another process deleted it, or the cache can't be written
                os.utime(folder)
        else:
            self.update_cached_copy(bundle_id)
        return folder

    def update_cached_copy(self, bundle_id: str) -> bool:
        """Replace the cached copy of a remote bundle if it differs from the store, and return whether it did.

        All files in the store are read and verified. A store in a folder has no copies. Raises the errors of `fetch`.
        """
        if isinstance(self._backend, LocalBackend):
            return False
        cache, manifest = self._open_cache(), self.read_manifest(bundle_id)
        files = {name: self.read_file(manifest, name) for name in manifest.files}
        files[MANIFEST_FILE] = self._read_bundle_file(bundle_id, MANIFEST_FILE)
        with _cache_errors(cache):
            if _has_same_files(cache, bundle_id, files):
                return False
            if cache.file_exists(f"{BUNDLES_FOLDER}/{bundle_id}/{MANIFEST_FILE}"):
                cache.remove_folder(f"{BUNDLES_FOLDER}/{bundle_id}")
            cache.write_folder(f"{BUNDLES_FOLDER}/{bundle_id}", files)
            _evict_old_copies(cache, bundle_id)
        return True

    def drop_cached_copy(self, bundle_id: str) -> None:
        """Delete the cached copy of a remote bundle, so that it's fetched again. A store in a folder has no copies."""
        if not isinstance(self._backend, LocalBackend):
            shutil.rmtree(self._open_cache().root / BUNDLES_FOLDER / bundle_id, ignore_errors=True)

    def delete(self, bundle_id: str) -> None:
        """Delete a bundle. The caller must check that no log entry or refresh needs it, as `prune` does."""
        self._require_bundle(bundle_id)
        with self._storage_errors():
            self._backend.remove_folder(f"{BUNDLES_FOLDER}/{bundle_id}")

    def remove_abandoned(self, modified_before: float) -> list[str]:
        """Delete what crashes left and return the names.

        Only files and folders that were last modified before `modified_before` (seconds since 1970) are deleted.
        """
        with self._storage_errors():
            removed = self._backend.remove_abandoned(BUNDLES_FOLDER, modified_before)
            if isinstance(self._backend, LocalBackend):
                removed += self._backend.remove_abandoned(LOG_FOLDER, modified_before)
            return removed

    def log_file_names(self) -> list[str]:
        """Return the sorted names of the files of the champion log, one for each entry. Other files are ignored."""
        with self._storage_errors():
            return [name for name in self._backend.list_names(LOG_FOLDER) if _LOG_FILE_PATTERN.fullmatch(name)]

    def read_log(self, name: str) -> bytes:
        """Return the content of one file of the champion log."""
        with self._storage_errors():
            return self._backend.read(f"{LOG_FOLDER}/{name}")

    def create_log(self, name: str, content: bytes) -> bool:
        """Add a file to the champion log atomically and return True. Return False if the name exists."""
        with self._storage_errors():
            return self._backend.create_exclusive(f"{LOG_FOLDER}/{name}", content)

    def log_written_at(self, name: str) -> float:
        """Return when a file of the champion log was written, seconds since 1970, by the clock of the storage."""
        with self._storage_errors():
            return self._backend.modified_at(f"{LOG_FOLDER}/{name}")

    def is_writable(self) -> bool:
        """Return whether this account can write to the store. Nothing is written."""
        with self._storage_errors():
            return self._backend.is_writable()

    def storage_time(self) -> float | None:
        """Return the clock of the storage, seconds since 1970, or None if it isn't known."""
        with self._storage_errors():
            return self._backend.storage_time()

    def _require_bundle(self, bundle_id: str) -> None:
        if not self.has_bundle(bundle_id):
            list_bundles = f"preptime bundles list {self.option}"
            raise UsageError(f"{self.url} has no bundle {bundle_id!r}.", f"To list its bundles: {list_bundles}.")

    def _read_bundle_file(self, bundle_id: str, name: str) -> bytes:
        with self._storage_errors():
            try:
                return self._backend.read(f"{BUNDLES_FOLDER}/{bundle_id}/{name}")
            except FileNotFoundError:
                self._require_bundle(bundle_id)  # another process can have deleted it
                raise refused_bundle_error(f"{bundle_id}/{name}", "a file", "no file") from None

    def _open_cache(self) -> LocalBackend:
        return LocalBackend(self._cache or _default_cache_folder())

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise StoreError(f"{self.url}: {error}.", _FULL_DISK_HINT if is_full else _STORAGE_ERROR_HINT) from error


def open_backend(url: str) -> StorageBackend:
    """Return the storage at a path or URL. Nothing is read or created yet. Raises the errors of `Store.open`."""
    remember_secrets(url)
    scheme, separator, _ = url.partition("://")
    if has_secret(url) and (separator or not Path(url).exists()):
        raise StoreError(f"{redact_address(url)} can't be the URL of a store.", _STORE_URL_HINT)
    if (folder := local_store_folder(url)) is not None:
        return LocalBackend(folder)
    return _open_gcs_backend(url) if scheme in {"gs", "gcs"} else open_fsspec_backend(url)


def _open_gcs_backend(url: str) -> StorageBackend:
    try:
        from preptime.bundle.backends.gcs import GcsBackend
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("google"):
            raise
        raise StoreError(f"{url}: google-cloud-storage is not installed.", install_hint("gcs")) from error
    return GcsBackend(url)


def _has_same_files(backend: StorageBackend, bundle_id: str, files: Mapping[str, bytes]) -> bool:
    folder = f"{BUNDLES_FOLDER}/{bundle_id}"
    try:
        if any(backend.read(f"{folder}/{name}") != files[name] for name in files):
            return False
    except FileNotFoundError:
        return False
    # A bundle in a folder is loaded from there, which additional files prevent.
    return not isinstance(backend, LocalBackend) or list_files(backend.root / folder) == files.keys()


@contextmanager
def _cache_errors(cache: LocalBackend) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{cache.root}: {error}.", _CACHE_ERROR_HINT) from error


def _evict_old_copies(cache: LocalBackend, fetched: str) -> None:
    """Delete all cached copies except those that were used last, because a server fetches a new bundle every day."""
    folder = cache.root / BUNDLES_FOLDER
    copies = [path for path in folder.iterdir() if is_bundle_id(path.name) and path.name != fetched]
    for path in sorted(copies, key=lambda path: path.stat().st_mtime)[: -MAX_CACHED_BUNDLES + 1]:
        # On Windows, a copy that is in use stays until the next download. Another process can delete the same one.
        with suppress(OSError):
            cache.remove_folder(f"{BUNDLES_FOLDER}/{path.name}")


def _default_cache_folder() -> Path:
    """Return the user's cache folder for preptime. Raises `StoreError` for a user without a home folder."""
    try:
        return platformdirs.user_cache_path("preptime", appauthor=False)
    except RuntimeError as error:  # for example, an arbitrary user id in a container
        raise StoreError(f"No cache folder for bundles: {error}.", "Set XDG_CACHE_HOME to an absolute path.") from error
