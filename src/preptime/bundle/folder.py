"""A place for bundles and the log that is a folder: what becomes visible is whole, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from preptime.bundle.manifest import MANIFEST_FILE

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
