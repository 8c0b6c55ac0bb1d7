"""A place for bundles behind an fsspec URL: objects appear whole, and nothing can be moved at once.

`gs://` has a place of its own (`google.py`): fsspec's drivers look whether a name is taken and write then, and two
promotions could both win.
"""

from __future__ import annotations

from collections.abc import Mapping

from fsspec.core import url_to_fs
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from preptime.bundle.manifest import MANIFEST_FILE, is_bundle_id
from preptime.errors import StoreError


class FsspecBackend:
    """Names are relative to the URL. A bundle exists once its manifest does: written last, removed first.

    Every method raises `OSError` as the driver does.
    """

    def __init__(self, fs: AbstractFileSystem, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")

    def list_names(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in `folder`; none when it does not exist."""
        self._fs.invalidate_cache()  # drivers remember listings; a champion promoted elsewhere must be seen
        try:
            object_paths = self._fs.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted({path.rstrip("/").rsplit("/", 1)[-1] for path in object_paths})

    def file_exists(self, name: str) -> bool:
        """Whether there is such an object."""
        self._fs.invalidate_cache()
        return self._fs.exists(self._path(name))

    def read(self, name: str) -> bytes:
        """The whole content."""
        return self._fs.cat_file(self._path(name))

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Refuse: raises `StoreError`, since between a look and a write someone else may write."""
        raise StoreError(
            f"{self._root}/{name}: {self._protocol()} storage cannot create a file ({len(content)} bytes) exclusively.",
            "Keep the store in a folder or under gs://.",
        )

    def write_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a bundle's folder, the manifest last. What a crash left there before is written over."""
        if self.file_exists(f"{folder}/{MANIFEST_FILE}"):
            return
        for name in sorted(files, key=lambda name: (name == MANIFEST_FILE, name)):
            self._fs.pipe_file(self._path(f"{folder}/{name}"), files[name])

    def remove_folder(self, folder: str) -> None:
        """Remove the manifest, then the rest."""
        self._fs.rm_file(self._path(f"{folder}/{MANIFEST_FILE}"))
        for path in self._list_files(folder):
            self._fs.rm_file(path)

    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]:
        """Clear bundles in `folder` without a manifest that nobody has touched since `modified_before` (seconds since 1970)."""
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
        """When the object was written (seconds since 1970)."""
        return self._fs.modified(self._path(name)).timestamp()

    def is_writable(self) -> bool:
        """Never: the log cannot be written here."""
        return False

    def storage_time(self) -> float | None:
        """Its clock is not known."""
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
    """`memory://`, for tests and demonstrations, with the two steps that its driver does not make atomic."""

    def __init__(self, fs: MemoryFileSystem, root: str) -> None:
        super().__init__(fs, root)
        self._objects = fs.store
        self._memory = fs

    def read(self, name: str) -> bytes:
        """The whole content, without moving the position that all readers of a memory file share."""
        try:
            return self._objects[self._path(name)].getvalue()
        except KeyError:
            raise FileNotFoundError(self._path(name)) from None

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Write an object that did not exist. False: someone else had created it first."""
        path = self._path(name)
        new_file = MemoryFile(self._memory, path, content)
        return self._objects.setdefault(path, new_file) is new_file  # one step under the interpreter's lock

    def is_writable(self) -> bool:
        """Always: it is this process's memory."""
        return True


def open_fsspec_backend(url: str) -> FsspecBackend:
    """The place behind an fsspec URL. Raises `StoreError` when its driver is unknown or not installed."""
    try:
        fs, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise StoreError(f"{url}: {error}.", "A store is a folder or a gs:// URL.") from error
    return MemoryBackend(fs, root) if isinstance(fs, MemoryFileSystem) else FsspecBackend(fs, root)
