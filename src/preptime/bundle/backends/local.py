"""A store in a local folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from preptime.atomic_write import forget_temporary, temporary_path
from preptime.bundle.manifest import MANIFEST_FILE, is_bundle_id

TEMPORARY_PREFIX = ".tmp-"
"""Prefix of files and folders that are being written or deleted. Reads ignore them. The next write to the same folder
deletes those of killed processes, and `remove_abandoned` deletes all old ones."""

_HARD_LINK_UNSUPPORTED_ERRNOS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


class LocalBackend:
    """A local folder. Names are relative to `root`, with `/` between folders. Methods raise `OSError`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list_names(self, folder: str) -> list[str]:
        """Return the sorted names directly in `folder`, or none if it doesn't exist."""
        entry_names = list[str]()
        with suppress(FileNotFoundError):
            entry_names = [path.name for path in (self.root / folder).iterdir()]
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
        temporary = temporary_path(final.parent, TEMPORARY_PREFIX)
        try:
            _write(temporary, content)
            _publish_file(temporary, final)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
            forget_temporary(temporary)
        _sync_folder(final.parent)
        return True

    def write_folder(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write a bundle's folder under a temporary name, then rename it.

        An existing bundle doesn't change. A folder without a manifest is replaced.
        """
        final = self.root / folder
        if (final / MANIFEST_FILE).is_file():
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(final.parent, TEMPORARY_PREFIX)
        inner_folders = sorted({temporary / parent for name in files for parent in PurePosixPath(name).parents})
        try:
            for inner in inner_folders:
                inner.mkdir()
            for name, content in files.items():
                _write(temporary / name, content)  # fails if another process has deleted the folder
            for inner in inner_folders:
                _sync_folder(inner)
            if final.is_dir() and not (final / MANIFEST_FILE).is_file():
                with suppress(FileNotFoundError):  # another process removed it
                    self.remove_folder(folder)
            temporary.rename(final)
        except OSError:
            # Renaming to a folder with content fails on every system. That's fine if another process wrote the bundle.
            if not (final / MANIFEST_FILE).is_file():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            forget_temporary(temporary)
        _sync_folder(final.parent)

    def remove_folder(self, folder: str) -> None:
        """Remove a folder in one step by renaming it, then delete its files."""
        final = self.root / folder
        temporary = temporary_path(final.parent, TEMPORARY_PREFIX)
        final.rename(temporary)
        shutil.rmtree(temporary)
        forget_temporary(temporary)

    def remove_abandoned(self, folder: str, modified_before: float) -> list[str]:
        """Delete what a crash left in `folder` and return the names.

        Only files and folders that were last modified before `modified_before` (seconds since 1970) are deleted.
        """
        removed: list[str] = []
        for path in sorted((self.root / folder).glob("*")):
            if _is_leftover(path) and _last_modified(path) < modified_before:
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


def list_files(folder: Path) -> set[str]:
    """Return the names of everything that isn't a folder in `folder` and its subfolders, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _is_leftover(path: Path) -> bool:
    """Return whether this is a temporary file or folder, or the folder of a bundle without a manifest."""
    is_incomplete = is_bundle_id(path.name) and path.is_dir() and not (path / MANIFEST_FILE).is_file()
    return path.name.startswith(TEMPORARY_PREFIX) or is_incomplete


def _last_modified(path: Path) -> float:
    return max(item.stat().st_mtime for item in (path, *path.rglob("*")))
