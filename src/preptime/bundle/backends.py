"""A place for bundles and the log that is a folder: what becomes visible is whole, whatever happens on the way.

A place for bundles behind an fsspec URL: objects appear whole, and nothing can be moved at once.

`gs://` has a place of its own (`google.py`): fsspec's drivers look whether a name is taken and write then, and two
promotions could both win.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from preptime.bundle.manifest import MANIFEST_FILE, is_bundle_id
from preptime.errors import StoreError

TEMPORARY_PREFIX = ".tmp-"
"""What a name starts with while its content is on its way in or out. Nobody reads these; `remove_abandoned` clears them."""

_HARD_LINK_UNSUPPORTED_ERRNOS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


class LocalBackend:
    """Names are relative to `root`, with `/` between folders. Every method raises `OSError` as the system does."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list_names(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in `folder`; none when it does not exist."""
        try:
            entry_names = [path.name for path in (self.root / folder).iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in entry_names if not name.startswith(TEMPORARY_PREFIX))

    def file_exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """The whole content."""
        return (self.root / name).read_bytes()

    def create_exclusive(self, name: str, content: bytes) -> bool:
        """Write a file that did not exist, whole or not at all. False: someone else had created it first."""
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
        """Write a bundle's folder under a temporary name, then move it. One that is there already stays."""
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
            # A rename onto a folder with content fails, on every system. Was it someone writing the same bundle?
            if not (final / MANIFEST_FILE).is_file():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync_folder(final.parent)

    def remove_folder(self, folder: str) -> None:
        """Make a folder vanish at once; its files then go one by one."""
        final = self.root / folder
        temporary = final.parent / _temporary_name()
        final.rename(temporary)
        shutil.rmtree(temporary)

    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]:
        """Clear what a crash left in `folder` and nobody has touched since `modified_before` (seconds since 1970); its names."""
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
        """When the file was written, by the clock of whoever holds the file system (seconds since 1970)."""
        return (self.root / name).stat().st_mtime

    def is_writable(self) -> bool:
        """Whether this user may write here, or make the folder where it is not there yet. Nothing is written."""
        ancestors = (self.root.absolute(), *self.root.absolute().parents)
        nearest_existing = next(
            path for path in ancestors if os.access(path, os.F_OK)
        )  # Path.exists raises where it may not look
        return nearest_existing.is_dir() and os.access(nearest_existing, os.W_OK | os.X_OK)

    def storage_time(self) -> float | None:
        """A folder has no clock but this machine's."""
        return None


def _temporary_name() -> str:
    return f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _publish_file(temporary: Path, final: Path) -> None:
    """Give a finished file its name, failing when the name is taken. Both ways are one step of the file system."""
    if os.name == "nt":
        temporary.rename(final)  # refuses to replace on Windows; on other systems it would
    else:
        try:
            final.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _HARD_LINK_UNSUPPORTED_ERRNOS:
                raise
            raise OSError(error.errno, "this file system has no hard links, which the log needs", str(final)) from error


def _sync_folder(folder: Path) -> None:
    """Make names in `folder` survive a power cut. Windows has no such call and needs none."""
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
