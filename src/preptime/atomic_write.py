"""Atomic file writes: a file appears under its name when it's complete, or the previous file stays.

A killed process leaves its temporary file. The next write of the same file removes it. The name of a temporary file has
the machine and the process of its writer, so that the file of a running writer is never removed. Numbers of processes
can be compared only in one PID namespace, so a container counts as a machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
ABANDONED_SECONDS = 24 * 3600.0
"""Age after which a temporary file of another machine is removed. A running writer changes its file all the time."""
_WRITER_PATTERN = re.compile(r"(?:([0-9a-f]{8})-([0-9]{1,10})-)?[0-9a-f]{12,16}")
"""Machine and process of a temporary file. Both can be missing: earlier releases wrote only the last part."""
_own_temporaries: set[Path] = set()
"""Temporary files that this process may have created and hasn't renamed or removed. Shared by all threads."""


def temporary_sibling(path: Path) -> Path:
    """Return an unused hidden path in the folder of `path`, so that renaming it to `path` is one step.

    Removes the temporary files that killed writers of `path` left. Call `forget_temporary` when it no longer exists.
    """
    return temporary_path(path.parent, f".{path.name}.", TEMPORARY_SUFFIX)


def temporary_path(folder: Path, prefix: str, suffix: str = "") -> Path:
    """Return an unused path in `folder` whose name starts with `prefix` and ends with `suffix`.

    Removes the files and folders with this prefix and suffix that killed writers left.
    """
    _remove_abandoned(folder, prefix, suffix)
    temporary = folder / f"{prefix}{_machine()}-{os.getpid()}-{secrets.token_hex(6)}{suffix}"
    _own_temporaries.add(temporary)
    return temporary


def forget_temporary(temporary: Path) -> None:
    """Tell that this process doesn't write to `temporary` any more."""
    _own_temporaries.discard(temporary)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` when the block ends without an error.

    After an error, the temporary file is removed and a previous file at `path` is unchanged. The folder must exist.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with atomic_path(folder / "report.txt") as temporary:
        ...     _ = temporary.write_text("complete")
        >>> (folder / "report.txt").read_text()
        'complete'
    """
    temporary = temporary_sibling(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        forget_temporary(temporary)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of the file at `path` atomically. Raises `OSError` as the file system does."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def remove_own_temporaries() -> None:
    """Remove every temporary file and folder of this process, before it ends without their writers' cleanup."""
    for temporary in list(_own_temporaries):
        _remove(temporary)


def _remove_abandoned(folder: Path, prefix: str, suffix: str) -> None:
    try:
        paths = [path for path in folder.iterdir() if path.name.startswith(prefix) and path.name.endswith(suffix)]
    except OSError:
        return  # the write reports why
    for path in paths:
        writer = _WRITER_PATTERN.fullmatch(path.name.removeprefix(prefix).removesuffix(suffix))
        if writer is not None and _is_abandoned(path, writer[1], writer[2]):
            _remove(path)


def _is_abandoned(temporary: Path, machine: str | None, process: str | None) -> bool:
    if machine == _machine() and process is not None:
        if int(process) == os.getpid():
            return temporary not in _own_temporaries  # an earlier process with the same number, as in a container
        return not is_running(int(process))
    try:
        return temporary.lstat().st_mtime < time.time() - ABANDONED_SECONDS
    except OSError:
        return False  # another process removed it


def _remove(temporary: Path) -> None:
    # A file that can't be removed, for example one of another user, must not prevent the write.
    with suppress(OSError):
        if temporary.is_dir() and not temporary.is_symlink():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Return whether a process of this machine runs, as far as that can be known."""
    if sys.platform == "win32":
        return True  # `os.kill` would end the process, so only the age counts
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return a hash of the machine's name and, on Linux, of its boot and of the PID namespace.

    Containers and copies of a virtual machine can have the same name.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(_BOOT_ID.read_text(encoding="ascii"))
    with suppress(OSError):
        parts.append(str(_PID_NAMESPACE.readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
