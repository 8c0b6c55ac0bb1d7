"""Which kind of table an address means. A new kind is one file beside this one and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.request import url2pathname

from preptime.errors import UsageError
from preptime.tables.files import open_files
from preptime.tables.table import Table

KINDS: dict[str, Callable[[str], Table]] = {
    "": open_files,
    "file": lambda url: open_files(url2pathname(url.removeprefix("file://"))),
}
"""How to open an address, by its scheme; no scheme means files."""


def open_table(source: str | Path) -> Table:
    """The table at a path, a folder or glob of partitions, or an address with a known scheme.

    Raises `DataError` when nothing readable is there and `UsageError` for an unknown scheme.
    """
    address = str(source)
    scheme, separator, _ = address.partition("://")
    kind = KINDS.get(scheme if separator else "")
    if kind is None:
        raise UsageError(
            f"Nothing here reads {scheme}:// addresses.",
            "Give a path, a folder or a glob of csv or parquet files.",
        )
    return kind(address)
