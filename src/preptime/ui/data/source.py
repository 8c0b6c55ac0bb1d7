"""The data source of the page Data: the configured tables, which all users see, or files uploaded in one session."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import streamlit as st

from preptime.errors import DataError
from preptime.exploration import ExplorationData, load_exploration
from preptime.redaction import redact_address
from preptime.schema.schema import Schema
from preptime.schema.toml_file import find_schema
from preptime.sources.registry import open_source
from preptime.ui.components import show_failures, show_info
from preptime.ui.configured_orders import (
    are_orders_configured,
    derives_restaurants,
    read_configured_restaurants,
    read_restaurants_at,
)
from preptime.ui.connections import get_context
from preptime.ui.session_registry import MEGABYTE
from preptime.ui.upload_session import FOLDER_PREFIX, check_decompressed_size

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

CACHE_SECONDS = 600
"""The configured tables are read again after this time, or when a file has changed."""

_UPLOADED_DATA_KEY = "data-uploaded"


@dataclass(frozen=True)
class NamedOrders:
    """Orders to explore, with the name of their source."""

    name: str
    data: ExplorationData


@dataclass(frozen=True)
class _UploadedData:
    """Uploaded orders. They're kept in session memory and deleted with the session."""

    id: str
    orders: NamedOrders


@dataclass(frozen=True)
class _ConfiguredSources:
    """The configured tables, the modification times of their files, and their schema, as a cache key."""

    orders: str
    restaurants: str
    modified_times: tuple[int | None, int | None]
    schema: bytes
    """The schema as JSON."""


def choose_source() -> NamedOrders | None:
    """Return the uploaded or configured orders. Without either, show what to do and return None."""
    settings = get_context().settings
    schema, _ = find_schema(settings.schema)
    is_configured = are_orders_configured(settings, schema)
    with st.expander("Use your own orders", expanded=not is_configured):
        uploaded_source = _upload_source(settings.restaurants, schema)
    if uploaded_source is not None:
        return uploaded_source
    if not is_configured:
        show_info(
            "No orders are configured.",
            "Upload a file, or set PREPTIME_ORDERS and PREPTIME_RESTAURANTS and restart the dashboard.",
        )
        return None
    configured_sources = _ConfiguredSources(
        settings.orders,
        settings.restaurants,
        (_modified_time(settings.orders), _modified_time(settings.restaurants)),
        msgspec.json.encode(schema),
    )
    return NamedOrders(_display_name(settings.orders), _explore_configured(configured_sources))


def _upload_source(configured_restaurants: str, schema: Schema) -> NamedOrders | None:
    orders_file = st.file_uploader(
        f"Orders with {schema.target.title}, CSV or Parquet, up to {get_context().settings.ui_max_upload_mb:,} MB",
        key="data-orders",
        help="CSV, .csv.gz, or Parquet, as for `preptime check`. The file stays in this session and isn't stored.",
    )
    restaurants_file = st.file_uploader(
        f"Restaurants{_default_text(configured_restaurants, schema)}",
        key="data-restaurants",
    )
    if orders_file is None:
        st.session_state.pop(_UPLOADED_DATA_KEY, None)
        return None
    if restaurants_file is None and not configured_restaurants and not derives_restaurants(schema):
        show_info(
            "The restaurants file is missing.",
            "Upload it too. It contains the city, the type of food, and the time zone of each restaurant.",
        )
        return None
    upload_id = f"{orders_file.file_id} {restaurants_file.file_id if restaurants_file else ''}"
    cached_upload = st.session_state.get(_UPLOADED_DATA_KEY)
    if isinstance(cached_upload, _UploadedData) and cached_upload.id == upload_id:
        return cached_upload.orders
    uploaded_source: NamedOrders | None = None
    with show_failures(), st.spinner("Reading the orders"):
        uploaded_source = _read_upload(orders_file, restaurants_file, configured_restaurants, schema)
        st.session_state[_UPLOADED_DATA_KEY] = _UploadedData(upload_id, uploaded_source)
    return uploaded_source


def _default_text(configured_restaurants: str, schema: Schema) -> str:
    if configured_restaurants:
        return " (optional; default: the configured restaurants)"
    return " (optional; default: derived from the orders)" if derives_restaurants(schema) else ""


def _read_upload(
    orders_file: UploadedFile, restaurants_file: UploadedFile | None, configured_restaurants: str, schema: Schema
) -> NamedOrders:
    restaurants = read_restaurants_at(configured_restaurants, schema)
    max_bytes = get_context().settings.ui_max_upload_mb * MEGABYTE
    for file in filter(None, (orders_file, restaurants_file)):
        check_decompressed_size(file.name, file, max_bytes)
    if restaurants_file is not None:
        with _TemporaryUpload(restaurants_file) as path:
            restaurants = read_restaurants_at(path, schema)
    with _TemporaryUpload(orders_file) as path:
        return NamedOrders(orders_file.name, load_exploration(open_source(path, schema), restaurants))


class _TemporaryUpload:
    """An upload as a temporary file while it's read. A `DataError` of the body shows the original file name."""

    def __init__(self, file: UploadedFile) -> None:
        self._file = file
        # The prefix of upload sessions, so that `remove_orphaned_folders` also deletes it after a crash.
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
    schema = msgspec.json.decode(sources.schema, type=Schema)
    restaurants = read_configured_restaurants(sources.orders, sources.restaurants, schema)
    return load_exploration(open_source(sources.orders, schema), restaurants)


def _modified_time(address: str) -> int | None:
    """Return the modification time of a file in nanoseconds, or None if the address isn't a file."""
    path = Path(address)
    return path.stat().st_mtime_ns if path.is_file() else None


def _display_name(address: str) -> str:
    """Return an address without secrets: a file name without folders, or a database URL without user and password."""
    scheme, separator, rest = redact_address(address).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else Path(address).name
