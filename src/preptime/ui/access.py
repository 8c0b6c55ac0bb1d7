"""What a page may reach: the settings, the store and its bundles, the API, and whether this person is an operator."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import streamlit as st

from preptime.bundle.bundle import Bundle, verify
from preptime.bundle.champions import ChampionLog
from preptime.bundle.store import Store
from preptime.client import Client
from preptime.errors import UsageError
from preptime.keys import Keys
from preptime.settings import Settings

LOOK_SECONDS = 5
"""Between two looks at the champion log, as the API's own."""
BUNDLES_KEPT = 3
"""Opened bundles that stay in memory: the champion, the one before, and one to compare with."""
ANSWER_SECONDS = 60.0
"""A request may carry ten thousand orders, and other people ask as well."""
TRIES = 3
"""Somebody is waiting: they are told soon that nobody answers."""


@dataclass(frozen=True)
class Access:
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
        found = _champion_id(self.settings.store)
        if found is None:
            raise UsageError(
                f"{self.settings.store} has no champion yet, so nothing here can predict.",
                "Train one: preptime train --store STORE --orders ORDERS --restaurants RESTAURANTS --date TODAY",
            )
        return found

    def bundle(self, bundle_id: str | None = None) -> Bundle:
        """A bundle, by default the champion; opened once, for everybody. Raises what opening it raises."""
        return _bundle(self.settings.store, bundle_id or self.champion_id())

    def client(self, key: str, *, tries: int = TRIES) -> Client:
        """A client of the API with this key. Raises `UsageError` for an address that is none, or a key that is."""
        return Client(self.api_url, key, timeout_seconds=ANSWER_SECONDS, tries=tries)

    def operator(self, presented: str) -> str | None:
        """The name of the operator's key that somebody shows, or None."""
        return Keys.of(self.settings.operator_keys, "PREPTIME_OPERATOR_KEYS").name_of(presented)


@st.cache_resource(show_spinner=False)
def access() -> Access:
    """The access of this process, whose environment `preptime ui` has filled. Raises `UsageError`."""
    return Access(Settings.read(os.environ))


def forget_champion() -> None:
    """Look at the champion log anew at the next question: somebody has just promoted."""
    _champion_id.clear()


@st.cache_data(ttl=LOOK_SECONDS, show_spinner=False)
def _champion_id(store: str) -> str | None:
    entry = ChampionLog(Store.open(store)).current()
    return entry.bundle if entry else None


def warm(settings: Settings) -> None:
    """Open the champion before the first visitor asks for it. Raises what opening raises."""
    entry = ChampionLog(Store.open(settings.store)).current()
    if entry is not None:
        _bundle(settings.store, entry.bundle)


@lru_cache(maxsize=BUNDLES_KEPT)
def _bundle(store: str, bundle_id: str) -> Bundle:
    return verify(Store.open(store), bundle_id)
