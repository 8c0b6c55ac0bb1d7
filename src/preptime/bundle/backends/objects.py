"""A store at an fsspec URL or in `memory://`.

`gs://` has its own backend (`gcs.py`), because fsspec's drivers check whether a name exists before they write. Two
concurrent promotions could both succeed.

Only `open_fsspec_backend` and `MemoryBackend` import fsspec, so that a store in a folder doesn't load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from preptime.bundle.manifest import MANIFEST_FILE, is_bundle_id
from preptime.errors import StoreError

if TYPE_CHECKING:
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.spec import AbstractFileSystem

_URL_HINT = "Use a folder or a gs:// URL."


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
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.implementations.memory import MemoryFileSystem

    try:
        fs, root = url_to_fs(url)
    except Exception as error:  # what a driver raises for a URL depends on the driver
        raise StoreError(f"{url}: {str(error) or type(error).__name__}.", _URL_HINT) from error
    if isinstance(fs, LocalFileSystem):  # for fsspec, a scheme of one letter is a part of a path
        raise StoreError(f"{url}: Protocol not known.", _URL_HINT)
    return MemoryBackend(fs, root) if isinstance(fs, MemoryFileSystem) else FsspecBackend(fs, root)
