"""Names of columns: those a table adds to a file's own, and what is said when one is missing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from preptime.errors import DataError

ROW_COLUMN = "_row"
"""Row number in its file, from 1, the header not counted."""
FILE_COLUMN = "_file"
"""Name of the file that the row stands in."""
SURPLUS_COLUMN = "_surplus"
"""In a csv: the first cell beyond the header's columns, or null. Only there when a line has one."""
READER_COLUMNS = (ROW_COLUMN, FILE_COLUMN, SURPLUS_COLUMN)


def require_columns(columns: Sequence[str], required_names: Iterable[str], description: str) -> None:
    """Raises `DataError` when one of `names` is not among `columns`, naming the closest match."""
    missing = [name for name in required_names if name not in columns]
    if not missing:
        return
    data_columns = [column for column in columns if column not in READER_COLUMNS]
    matches_by_name = {name: difflib.get_close_matches(name, data_columns, n=1, cutoff=0.6) for name in missing}
    suggestions = "; ".join(
        f"{suggestions[0]!r} is the closest to {name}" for name, suggestions in matches_by_name.items() if suggestions
    )
    column_list = ", ".join(repr(column) for column in data_columns[:20]) + (", …" if len(data_columns) > 20 else "")
    plural = "s" if len(missing) > 1 else ""
    verb = "are" if plural else "is"
    raise DataError(
        f"The column{plural} {', '.join(missing)} {verb} missing from {description}, which has {column_list}.",
        f"Rename or add {'them' if plural else 'it'}{': ' + suggestions if suggestions else ''}.",
    )
