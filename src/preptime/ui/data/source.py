"""Where the orders come from: the configured tables, which everybody sees, or files that one visitor brought."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from preptime.errors import DataError
from preptime.exploration import ExplorationData, load_exploration
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.registry import open_source
from preptime.ui.components import show_failures, show_info
from preptime.ui.connections import get_context
from preptime.ui.upload_session import FOLDER_PREFIX
from preptime.validation.restaurants import read_restaurants

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

CACHE_SECONDS = 600
"""The configured tables are read anew after this, and at once when a file has changed."""

_FILE_TYPES = ["csv", "parquet"]
_UPLOADED_DATA_KEY = "data-uploaded"


@dataclass(frozen=True)
class NamedOrders:
    """Orders to look at, and what they are called."""

    name: str
    data: ExplorationData


@dataclass(frozen=True)
class _UploadedData:
    """What a visitor brought, read: it lives in their session and goes with it."""

    id: str
    orders: NamedOrders


@dataclass(frozen=True)
class _ConfiguredSources:
    """The configured tables, and when their files were written: a changed file is another one."""

    orders: str
    restaurants: str
    modified_times: tuple[int | None, int | None]


def choose_source() -> NamedOrders | None:
    """The orders that this visitor looks at; nothing, and a sentence, where there are none."""
    settings = get_context().settings
    is_configured = bool(settings.orders and settings.restaurants)
    with st.expander("Look at your own orders", expanded=not is_configured):
        uploaded_source = _upload_source(settings.restaurants)
    if uploaded_source is not None:
        return uploaded_source
    if not is_configured:
        show_info(
            "No orders are configured, so there is nothing to look at yet.",
            "Bring a file above, or set PREPTIME_ORDERS and PREPTIME_RESTAURANTS and start the page again.",
        )
        return None
    configured_sources = _ConfiguredSources(
        settings.orders, settings.restaurants, (_modified_time(settings.orders), _modified_time(settings.restaurants))
    )
    return NamedOrders(_display_name(settings.orders), _explore_configured(configured_sources))


def _upload_source(configured_restaurants: str) -> NamedOrders | None:
    orders_file = st.file_uploader(
        "Orders with their preparation times",
        type=_FILE_TYPES,
        key="data-orders",
        help="csv or parquet, as for `preptime check`. It stays in this session and is not kept on disk.",
    )
    restaurants_file = st.file_uploader(
        "Restaurants" + (" (else the configured ones)" if configured_restaurants else ""),
        type=_FILE_TYPES,
        key="data-restaurants",
    )
    if orders_file is None:
        st.session_state.pop(_UPLOADED_DATA_KEY, None)
        return None
    if restaurants_file is None and not configured_restaurants:
        show_info(
            "Restaurants are missing.", "They say where each restaurant is and what it cooks: bring that file too."
        )
        return None
    upload_id = f"{orders_file.file_id} {restaurants_file.file_id if restaurants_file else ''}"
    cached_upload = st.session_state.get(_UPLOADED_DATA_KEY)
    if isinstance(cached_upload, _UploadedData) and cached_upload.id == upload_id:
        return cached_upload.orders
    uploaded_source: NamedOrders | None = None
    with show_failures(), st.spinner("Reading the orders"):
        uploaded_source = _read_upload(orders_file, restaurants_file, configured_restaurants)
        st.session_state[_UPLOADED_DATA_KEY] = _UploadedData(upload_id, uploaded_source)
    return uploaded_source


def _read_upload(
    orders_file: UploadedFile, restaurants_file: UploadedFile | None, configured_restaurants: str
) -> NamedOrders:
    restaurants = (
        _restaurants_from_file(restaurants_file)
        if restaurants_file
        else read_restaurants(open_source(configured_restaurants).frame())
    )
    return NamedOrders(orders_file.name, _explore_file(orders_file, restaurants))


def _restaurants_from_file(file: UploadedFile) -> RestaurantIndex:
    with _TemporaryUpload(file) as path:
        return read_restaurants(open_source(path).frame())


def _explore_file(file: UploadedFile, restaurants: RestaurantIndex) -> ExplorationData:
    with _TemporaryUpload(file) as path:
        return load_exploration(open_source(path), restaurants)


class _TemporaryUpload:
    """An upload as a file, for as long as it is read; errors call it by its visitor's name for it."""

    def __init__(self, file: UploadedFile) -> None:
        self._file = file
        # Named as the desks are, so that what a crash leaves is swept with them.
        self._folder = tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}{os.getpid()}-")
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


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=1, show_spinner="Reading the orders")
def _explore_configured(sources: _ConfiguredSources) -> ExplorationData:
    return load_exploration(open_source(sources.orders), read_restaurants(open_source(sources.restaurants).frame()))


def _modified_time(address: str) -> int | None:
    """When a file was last written, in nanoseconds; nothing of what is no single file."""
    path = Path(address)
    return path.stat().st_mtime_ns if path.is_file() else None


def _display_name(address: str) -> str:
    """What visitors may read of an address: a file's name without its folders, a database without user and password."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else Path(address).name
