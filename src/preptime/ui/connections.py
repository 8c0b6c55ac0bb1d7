"""What a page may reach: the settings, the store and its bundles, the API, and whether this person is an operator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

from preptime.bundle.bundle import Bundle, fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from preptime.client import Client
from preptime.errors import UsageError
from preptime.keys import Keys
from preptime.settings import Settings

CHAMPION_POLL_SECONDS = 5
"""Between two looks at the champion log, as the API's own."""
BUNDLE_CACHE_SIZE = 3
"""Opened bundles that stay in memory: the champion, the one before, and one to compare with."""
API_TIMEOUT_SECONDS = 60.0
"""A request may carry ten thousand orders, and other people ask as well."""
API_ATTEMPTS = 3
"""Somebody is waiting: they are told soon that nobody answers."""


@dataclass(frozen=True)
class DashboardContext:
    """The settings, and what they lead to."""

    settings: Settings

    @property
    def store(self) -> Store:
        """The store. Nothing is read yet."""
        return Store.open(self.settings.store)

    @property
    def api_url(self) -> str:
        """Where the API is asked: the setting, else this machine."""
        return self.settings.api_url or f"http://127.0.0.1:{self.settings.port}"

    def champion_id(self) -> str:
        """The champion's bundle. Raises `UsageError` when there is none yet, `StoreError`."""
        bundle_id = _read_champion_id(self.settings.store)
        if bundle_id is None:
            raise UsageError(
                f"{self.settings.store} has no champion yet, so nothing here can predict.",
                "Train one: preptime train --store STORE --orders ORDERS --restaurants RESTAURANTS --date TODAY",
            )
        return bundle_id

    def bundle(self, bundle_id: str | None = None) -> Bundle:
        """A bundle, by default the champion; opened once, for everybody. Raises what opening it raises."""
        return _load_bundle(self.settings.store, bundle_id or self.champion_id())

    def client(self, key: str, *, attempts: int = API_ATTEMPTS) -> Client:
        """A client of the API with this key. Raises `UsageError` for an address that is none, or a key that is."""
        return Client(self.api_url, key, timeout_seconds=API_TIMEOUT_SECONDS, max_attempts=attempts)

    def operator_name(self, key: str) -> str | None:
        """The name of the operator's key that somebody shows, or None."""
        return Keys.from_setting(self.settings.operator_keys, "PREPTIME_OPERATOR_KEYS").name_of(key)


@st.cache_resource(show_spinner=False)
def get_context() -> DashboardContext:
    """The access of this process, whose environment `preptime ui` has filled. Raises `UsageError`."""
    return DashboardContext(Settings.load(os.environ))


def clear_champion_cache() -> None:
    """Look at the champion log anew at the next question: somebody has just promoted."""
    _read_champion_id.clear()


@st.cache_data(ttl=CHAMPION_POLL_SECONDS, show_spinner=False)
def _read_champion_id(store_url: str) -> str | None:
    entry = ChampionLog(Store.open(store_url)).current()
    return entry.bundle if entry else None


def preload_champion(settings: Settings) -> None:
    """Open the champion before the first visitor asks for it. Raises what opening raises."""
    entry = ChampionLog(Store.open(settings.store)).current()
    if entry is not None:
        _load_bundle(settings.store, entry.bundle)


@lru_cache(maxsize=BUNDLE_CACHE_SIZE)
def _load_bundle(store_url: str, bundle_id: str) -> Bundle:
    return fetch_verified(Store.open(store_url), bundle_id)
