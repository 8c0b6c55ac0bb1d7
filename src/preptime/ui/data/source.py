"""Where the orders come from: the configured tables, which everybody sees, or files that one visitor brought."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from preptime.errors import DataError
from preptime.features.directory import Directory
from preptime.tables.directory import read_directory
from preptime.tables.looked import Seen, look
from preptime.tables.open import open_table
from preptime.ui.access import access
from preptime.ui.desk import FOLDER
from preptime.ui.parts import failures, notice

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

READ_AGAIN_SECONDS = 600
"""The configured tables are read anew after this, and at once when a file has changed."""

_KINDS = ["csv", "parquet"]
_BROUGHT = "data-brought"


@dataclass(frozen=True)
class Source:
    """Orders to look at, and what they are called."""

    name: str
    seen: Seen


@dataclass(frozen=True)
class _Brought:
    """What a visitor brought, read: it lives in their session and goes with it."""

    id: str
    source: Source


@dataclass(frozen=True)
class _Tables:
    """The configured tables, and when their files were written: a changed file is another one."""

    orders: str
    restaurants: str
    written: tuple[int | None, int | None]


def source() -> Source | None:
    """The orders that this visitor looks at; nothing, and a sentence, where there are none."""
    settings = access().settings
    configured = bool(settings.orders and settings.restaurants)
    with st.expander("Look at your own orders", expanded=not configured):
        brought = _bring(settings.restaurants)
    if brought is not None:
        return brought
    if not configured:
        notice(
            "No orders are configured, so there is nothing to look at yet.",
            "Bring a file above, or set PREPTIME_ORDERS and PREPTIME_RESTAURANTS and start the page again.",
        )
        return None
    tables = _Tables(settings.orders, settings.restaurants, (_stamp(settings.orders), _stamp(settings.restaurants)))
    return Source(_called(settings.orders), _configured(tables))


def _bring(restaurants: str) -> Source | None:
    orders = st.file_uploader(
        "Orders with their preparation times",
        type=_KINDS,
        key="data-orders",
        help="csv or parquet, as for `preptime check`. It stays in this session and is not kept on disk.",
    )
    own = st.file_uploader(
        "Restaurants" + (" (else the configured ones)" if restaurants else ""), type=_KINDS, key="data-restaurants"
    )
    if orders is None:
        st.session_state.pop(_BROUGHT, None)
        return None
    if own is None and not restaurants:
        notice("Restaurants are missing.", "They say where each restaurant is and what it cooks: bring that file too.")
        return None
    id_ = f"{orders.file_id} {own.file_id if own else ''}"
    known = st.session_state.get(_BROUGHT)
    if isinstance(known, _Brought) and known.id == id_:
        return known.source
    found: Source | None = None
    with failures(), st.spinner("Reading the orders"):
        found = _read(orders, own, restaurants)
        st.session_state[_BROUGHT] = _Brought(id_, found)
    return found


def _read(orders: UploadedFile, own: UploadedFile | None, restaurants: str) -> Source:
    directory = _of_file(own) if own else read_directory(open_table(restaurants).frame())
    return Source(orders.name, _seen(orders, directory))


def _of_file(file: UploadedFile) -> Directory:
    with _Folder(file) as path:
        return read_directory(open_table(path).frame())


def _seen(file: UploadedFile, directory: Directory) -> Seen:
    with _Folder(file) as path:
        return look(open_table(path), directory)


class _Folder:
    """An upload as a file, for as long as it is read; errors call it by its visitor's name for it."""

    def __init__(self, file: UploadedFile) -> None:
        self._file = file
        # Named as the desks are, so that what a crash leaves is swept with them.
        self._folder = tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-")
        suffix = ".parquet" if file.name.lower().endswith(".parquet") else ".csv"
        self._path = Path(self._folder.name) / f"upload{suffix}"

    def __enter__(self) -> Path:
        self._path.write_bytes(self._file.getbuffer())
        return self._path

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._folder.cleanup()
        if isinstance(error, DataError):
            name = self._file.name
            facts = error.facts.replace(str(self._path), name).replace(self._path.name, name)
            raise DataError(facts, error.hint) from error


@st.cache_resource(ttl=READ_AGAIN_SECONDS, max_entries=1, show_spinner="Reading the orders")
def _configured(tables: _Tables) -> Seen:
    return look(open_table(tables.orders), read_directory(open_table(tables.restaurants).frame()))


def _stamp(address: str) -> int | None:
    """When a file was last written, in nanoseconds; nothing of what is no single file."""
    path = Path(address)
    return path.stat().st_mtime_ns if path.is_file() else None


def _called(address: str) -> str:
    """What visitors may read of an address: a file's name without its folders, a database without user and password."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else Path(address).name
