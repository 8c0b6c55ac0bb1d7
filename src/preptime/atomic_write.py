"""Atomic file writes: a file appears under its name when it's complete, or the previous file stays."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"


def temporary_sibling(path: Path) -> Path:
    """Return an unused hidden path in the folder of `path`, so that renaming it to `path` is one step."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY_SUFFIX}")


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


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the content of the file at `path` atomically. Raises `OSError` as the file system does."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
