"""Whether a process still lives, told by a lock that ends with it: at once, whatever it died of."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO


def lock_file(file: BinaryIO) -> None:
    """Lock the file until every handle of it is closed, those included that were duplicated, or this process ends.

    Where a system has no such locks nothing happens, and `is_locked` knows nothing.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the file; True where that cannot be known."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
