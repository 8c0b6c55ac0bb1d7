"""Names of columns: those a table adds to a file's own, and what is said when one is missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from preptime.errors import DataError

ROW = "_row"
"""Row number in its file, from 1, the header not counted."""
FILE = "_file"
"""Name of the file that the row stands in."""
SURPLUS = "_surplus"
"""In a csv: the first cell beyond the header's columns, or null. Only there when a line has one."""
ADDED = (ROW, FILE, SURPLUS)


def require(columns: Sequence[str], names: Iterable[str], where: str) -> None:
    """Raises `DataError` when one of `names` is not among `columns`, naming the closest match."""
    missing = [name for name in names if name not in columns]
    if not missing:
        return
    own = [column for column in columns if column not in ADDED]
    close = {name: difflib.get_close_matches(name, own, n=1, cutoff=0.6) for name in missing}
    found = "; ".join(f"{found[0]!r} is the closest to {name}" for name, found in close.items() if found)
    listed = ", ".join(repr(column) for column in own[:20]) + (", …" if len(own) > 20 else "")
    plural = "s" if len(missing) > 1 else ""
    verb = "are" if plural else "is"
    raise DataError(
        f"The column{plural} {', '.join(missing)} {verb} missing from {where}, which has {listed}.",
        f"Rename or add {'them' if plural else 'it'}{': ' + found if found else ''}.",
    )
