"""Storage backends of a store: a local folder, an fsspec URL, and `memory://`.

Files and bundles appear complete or not at all, also after a crash. `gs://` has its own backend (`gcs.py`), because
fsspec's drivers check whether a name exists before they write, so two concurrent promotions could both succeed.

Only `open_fsspec_backend` and `MemoryBackend` import fsspec, so that a store in a folder doesn't load it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from preptime.bundle.manifest import MANIFEST_FILE, is_bundle_id
from preptime.errors import StoreError

if TYPE_CHECKING:
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.spec import AbstractFileSystem

TEMPORARY_PREFIX = ".tmp-"
"""Prefix of files and folders that are being written or deleted. Reads ignore them; `remove_abandoned` deletes them."""

_HARD_LINK_UNSUPPORTED_ERRNOS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


class LocalBackend:
    """A local folder. Names are relative to `root`, with `/` between folders. Methods raise `OSError`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list_names(self, folder: str) -> list[str]:
        """Return the sorted names directly in `folder`, or none if it doesn't exist."""
        try:
            entry_names = [path.name for path in (self.root / folder).iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in entry_names if not name.startswith(TEMPORARY_PREFIX))

    def file_exists(self, name: str) -> bool:
        """Return whether the file exists."""
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """Return the content of the file."""
        return (self.root / name).read_bytes()

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Create a file atomically and return True. If the file exists, return False and don't change it."""
        final = self.root / name
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.parent / _temporary_name()
        try:
            _write(temporary, content)
            _publish_file(temporary, final)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(final.parent)
        return True

    def write_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a bundle's folder under a temporary name, then rename it. An existing bundle doesn't change."""
        final = self.root / folder
        if (final / MANIFEST_FILE).is_file():
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.parent / _temporary_name()
        try:
            for name, content in files.items():
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                _write(temporary / name, content)
            for inner in {(temporary / name).parent for name in files}:
                _sync_folder(inner)
            temporary.rename(final)
        except OSError:
            # Renaming to a folder with content fails on every system. That's fine if another process wrote the bundle.
            if not (final / MANIFEST_FILE).is_file():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync_folder(final.parent)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder in one step by renaming it, then delete its files."""
        final = self.root / folder
        temporary = final.parent / _temporary_name()
        final.rename(temporary)
        shutil.rmtree(temporary)

    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]:
        """Delete what a crash left in `folder` and return the names.

        Only files and folders that were last modified before `modified_before` (seconds since 1970) are deleted.
        """
        base = self.root / folder
        leftovers = sorted(base.glob(f"{TEMPORARY_PREFIX}*"))
        removed: list[str] = []
        for path in leftovers:
            if _last_modified(path) < modified_before:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                removed.append(path.name)
        return removed

    def modified_at(self, name: str) -> float:
        """Return when the file was written, seconds since 1970, by the clock of the file system."""
        return (self.root / name).stat().st_mtime

    def is_writable(self) -> bool:
        """Return whether this user can write to the folder, or create it if it doesn't exist. Nothing is written."""
        ancestors = (self.root.absolute(), *self.root.absolute().parents)
        # `Path.exists` would raise an error for a path that this user can't access.
        nearest_existing = next(path for path in ancestors if os.access(path, os.F_OK))
        return nearest_existing.is_dir() and os.access(nearest_existing, os.W_OK | os.X_OK)

    def storage_time(self) -> float | None:
        """Return None: a folder has no clock other than this machine's."""
        return None


def _temporary_name() -> str:
    return f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _publish_file(temporary: Path, final: Path) -> None:
    """Give a complete file its final name in one step. Raises `FileExistsError` if the name exists."""
    if os.name == "nt":
        temporary.rename(final)  # on Windows, this doesn't replace an existing file
    else:
        try:
            final.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _HARD_LINK_UNSUPPORTED_ERRNOS:
                raise
            raise OSError(
                error.errno, "this file system has no hard links, which the champion log needs", str(final)
            ) from error


def _sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to disk, so that they survive a power failure. Windows doesn't need it."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _last_modified(path: Path) -> float:
    return max(item.stat().st_mtime for item in (path, *path.rglob("*")))


class FsspecBackend:
    """Storage behind an fsspec driver. Names are relative to the URL. Methods raise `OSError`.

    A bundle exists if its manifest exists. The manifest is therefore written last and deleted first.
    """

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    def list_names(self, folder: str) -> list[str]:
        """Return the sorted names directly in `folder`, or none if it doesn't exist."""
        self._fs.invalidate_cache()  # drivers cache listings, which would hide a promotion by another machine
        try:
            object_paths = self._fs.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in object_paths})

    def file_exists(self, name: str) -> bool:
        """Return whether the object exists."""
        self._fs.invalidate_cache()
        return self._fs.exists(self._path(name))

    def read(self, name: str) -> bytes:
        """Return the content of the object."""
        return self._fs.cat_file(self._path(name))

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Raise `StoreError`: another process could write between the check and the write."""
        raise StoreError(
            f"{self._root}/{name}: {self._protocol()} storage cannot create a file ({len(content)} bytes) exclusively.",
            "Use a store in a folder or at a gs:// URL.",
        )

    def write_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a bundle's folder, the manifest last. Files that a crash left there are overwritten."""
        if self.file_exists(f"{folder}/{MANIFEST_FILE}"):
            return
        for name in sorted(files, key=lambda name: (name == MANIFEST_FILE, name)):
            self._fs.pipe_file(self._path(f"{folder}/{name}"), files[name])

    def remove_folder(self, folder: str) -> None:
        """Delete the manifest, then the other files."""
        self._fs.rm_file(self._path(f"{folder}/{MANIFEST_FILE}"))
        for path in self._list_files(folder):
            self._fs.rm_file(path)

    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]:
        """Delete bundles without a manifest in `folder` and return their names.

        Only bundles that were last modified before `modified_before` (seconds since 1970) are deleted.
        """
        removed: list[str] = []
        for name in filter(is_bundle_id, self.list_names(folder)):
            paths = self._list_files(f"{folder}/{name}")
            is_complete = self._path(f"{folder}/{name}/{MANIFEST_FILE}") in paths
            if not is_complete and all(self._fs.modified(path).timestamp() < modified_before for path in paths):
                for path in paths:
                    self._fs.rm_file(path)
                removed.append(name)
        return removed

    def modified_at(self, name: str) -> float:
        """Return when the object was written, seconds since 1970."""
        return self._fs.modified(self._path(name)).timestamp()

    def is_writable(self) -> bool:
        """Return False: this storage can't hold the champion log."""
        return False

    def storage_time(self) -> float | None:
        """Return None: the clock of the storage isn't known."""
        return None

    def _list_files(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        return self._fs.find(self._path(folder))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _protocol(self) -> str:
        protocol = self._fs.protocol
        return protocol if isinstance(protocol, str) else "/".join(protocol)


class MemoryBackend(FsspecBackend):
    """`memory://` storage, for tests and examples. Reads and exclusive creation are atomic, unlike in its driver."""

    def __init__(self, fs: MemoryFileSystem, root: str) -> None:
        super().__init__(fs, root)
        self._objects = fs.store
        self._memory = fs

    def read(self, name: str) -> bytes:
        """Return the content without moving the position, which all readers of a memory file share."""
        try:
            return self._objects[self._path(name)].getvalue()
        except KeyError:
            raise FileNotFoundError(self._path(name)) from None

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Create an object and return True. If the object exists, return False and don't change it."""
        from fsspec.implementations.memory import MemoryFile

        path = self._path(name)
        new_file = MemoryFile(self._memory, path, content)
        return self._objects.setdefault(path, new_file) is new_file  # atomic under the global interpreter lock

    def is_writable(self) -> bool:
        """Return True: the storage is the memory of this process."""
        return True


def open_fsspec_backend(url: str) -> FsspecBackend:
    """Return the backend for an fsspec URL. Raises `StoreError` if its driver is unknown or isn't installed."""
    from fsspec.core import url_to_fs
    from fsspec.implementations.memory import MemoryFileSystem

    try:
        fs, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StoreError(f"{url}: {error}.", "Use a folder or a gs:// URL.") from error
    return MemoryBackend(fs, root) if isinstance(fs, MemoryFileSystem) else FsspecBackend(fs, root)
