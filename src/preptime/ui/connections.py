"""What the pages use: settings, the store and its bundles, the API client, and operator keys."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

from preptime.bundle.bundle import Bundle
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.isolated_check import load_checked
from preptime.bundle.store import CheckLimits, Store
from preptime.client import Client
from preptime.domain.time_units import TimeUnit
from preptime.errors import PreptimeError, UsageError
from preptime.keys import Keys
from preptime.redaction import redact_address
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.schema.toml_file import find_schema
from preptime.settings import Settings

CHAMPION_POLL_SECONDS = 5
"""Interval between two reads of the champion log, as in the API."""
BUNDLE_CACHE_SIZE = 3
"""Loaded bundles that stay in memory: the champion, its predecessor, and one to compare with."""
FAILED_LOAD_SECONDS = 30
"""How long the error of a bundle that can't be loaded is shown without another check, which can take a minute."""
API_PROBE_SECONDS = 10
"""Interval between two checks whether an API listens on this machine."""
API_TIMEOUT_SECONDS = 60.0
"""A request can contain ten thousand orders, and the API serves other clients too."""
API_ATTEMPTS = 3
"""Few, because a user is waiting: an unreachable API is reported after seconds."""


@dataclass(frozen=True)
class DashboardContext:
    """The settings, with access to the store, the API, and the operator keys that they name."""

    settings: Settings

    @property
    def store(self) -> Store:
        """The store, with the limits on checks of its bundles. Opening it reads nothing."""
        limits = CheckLimits(self.settings.bundle_load_timeout_seconds, self.settings.bundle_load_memory_mb)
        return Store.open(self.settings.store, check_limits=limits)

    @property
    def base_path(self) -> str:
        """The prefix of the dashboard's URL paths, without a slash at the end; or empty."""
        return self.settings.ui_base_path.rstrip("/")

    @property
    def api_url(self) -> str:
        """The URL of the API: the setting, or else this machine."""
        return self.settings.api_url or f"http://127.0.0.1:{self.settings.port}"

    @property
    def api_name(self) -> str:
        """The URL of the API without credentials, to show."""
        return redact_address(self.api_url)

    def champion_id(self) -> str:
        """Return the ID of the champion. Raises `UsageError` if the store has none, and `StoreError`."""
        bundle_id = _read_champion_id(self.settings.store)
        if bundle_id is None:
            raise UsageError(
                f"The store {self.settings.store} has no champion yet, so no bundle can predict.",
                "Train one: preptime train --store STORE --orders ORDERS --restaurants RESTAURANTS --date TODAY",
            )
        return bundle_id

    def has_champion(self) -> bool:
        """Return whether the store has a champion, which may be damaged."""
        try:
            return _read_champion_id(self.settings.store) is not None
        except PreptimeError:  # a store that can't be read
            return False

    def has_api(self) -> bool:
        """Return whether an API is configured, or listens on this machine."""
        return bool(self.settings.api_url) or _is_listening(self.settings.port)

    def bundle(self, bundle_id: str | None = None) -> Bundle:
        """Return a bundle, by default the champion. All sessions share it. Raises the errors of `load_checked`."""
        bundle_id = bundle_id or self.champion_id()
        error = _find_load_error(self.settings.store, bundle_id, self.store.check_limits)
        if error is not None:
            raise type(error)(error.facts, error.hint)
        return _load_bundle(self.settings.store, bundle_id, self.store.check_limits)

    def schema(self, bundle_id: str | None = None) -> Schema:
        """Return the schema of a bundle, by default the champion, or the configured one if it can't be read.

        If the configured file can't be read either, it's the built-in schema: the page Data shows the error.
        """
        try:
            return _read_schema(self.settings.store, bundle_id or self.champion_id())
        except PreptimeError:
            try:
                return find_schema(self.settings.schema)[0]
            except PreptimeError:
                return TAKE_HOME_SCHEMA

    def time_unit(self, bundle_id: str | None = None) -> TimeUnit:
        """Return the unit in which times of a bundle are shown, by default the champion's."""
        return self.schema(bundle_id).target.time_unit

    def client(self, key: str, *, attempts: int = API_ATTEMPTS) -> Client:
        """Return a client of the API with this key. Raises `UsageError` if the URL or the key is invalid."""
        return Client(self.api_url, key, timeout_seconds=API_TIMEOUT_SECONDS, max_attempts=attempts)

    def operator_name(self, key: str) -> str | None:
        """Return the name of this operator key, or None if it isn't one."""
        return Keys.from_setting(self.settings.operator_keys, "PREPTIME_OPERATOR_KEYS").name_of(key)


@st.cache_resource(show_spinner=False)
def get_context() -> DashboardContext:
    """Return the context of this process. `preptime ui` sets its environment. Raises `UsageError`."""
    return DashboardContext(Settings.load(os.environ))


def clear_champion_cache() -> None:
    """Make the next `champion_id` read the champion log again, after a promotion."""
    _read_champion_id.clear()
    _find_load_error.clear()


@st.cache_data(ttl=CHAMPION_POLL_SECONDS, show_spinner=False)
def _read_champion_id(store_url: str) -> str | None:
    entry = ChampionLog(Store.open(store_url)).current()
    return entry.bundle if entry else None


@st.cache_resource(max_entries=BUNDLE_CACHE_SIZE, show_spinner=False)
def _read_schema(store_url: str, bundle_id: str) -> Schema:
    return Store.open(store_url).read_manifest(bundle_id).schema


@st.cache_data(ttl=API_PROBE_SECONDS, show_spinner=False)
def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.3).close()
    except OSError:
        return False
    return True


def preload_champion(settings: Settings) -> None:
    """Load the champion before the first user needs it. Raises the errors of `load_checked`."""
    context = DashboardContext(settings)
    entry = ChampionLog(context.store).current()
    if entry is not None:
        context.bundle(entry.bundle)


@st.cache_resource(ttl=FAILED_LOAD_SECONDS, show_spinner=False)
def _find_load_error(store_url: str, bundle_id: str, limits: CheckLimits) -> PreptimeError | None:
    """Load a bundle into the cache, and return the error if that fails. Sessions wait for one check of a bundle."""
    try:
        _load_bundle(store_url, bundle_id, limits)
    except PreptimeError as error:
        return error
    return None


@lru_cache(maxsize=BUNDLE_CACHE_SIZE)
def _load_bundle(store_url: str, bundle_id: str, limits: CheckLimits) -> Bundle:
    return load_checked(Store.open(store_url, check_limits=limits), bundle_id)
