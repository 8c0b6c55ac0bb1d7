"""What the page reads of the store, kept for a while: bundles never change, the log only grows."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from preptime.bundle.listing import Listing, listing
from preptime.bundle.manifest import REPORT, Manifest
from preptime.bundle.store import Store
from preptime.evaluation.pictured import Pictured, pictured_of

LOOK_SECONDS = 5
"""Between two looks at the store."""


def stock(store: Store) -> Listing:
    """Every bundle and the champion log. Raises `StoreError`."""
    return _stock(store.url)


def forget_stock() -> None:
    """Look anew at the next question: somebody has just changed the champion."""
    _stock.clear()


def pictured(store: Store, manifest: Manifest) -> Pictured | None:
    """What a bundle's pictures are drawn from, if it keeps that. Raises `StoreError`, `RefusedBundleError`."""
    return _pictured(store.url, _Known(manifest))


def report(store: Store, manifest: Manifest) -> bytes | None:
    """The report of the training run, if the bundle carries one. Raises likewise."""
    return store.read_file(manifest, REPORT) if REPORT in manifest.files else None


@st.cache_resource(ttl=LOOK_SECONDS, max_entries=4, show_spinner="Looking into the store")
def _stock(url: str) -> Listing:
    return listing(Store.open(url), read=_manifest)


@st.cache_resource(max_entries=2_000, show_spinner=False)
def _kept(url: str, bundle_id: str) -> Manifest:
    return Store.open(url).manifest(bundle_id)


def _manifest(store: Store, bundle_id: str) -> Manifest:
    return _kept(store.url, bundle_id)


@dataclass(frozen=True)
class _Known:
    """A manifest, which its id stands for."""

    manifest: Manifest


@st.cache_resource(max_entries=20, show_spinner=False, hash_funcs={_Known: lambda known: known.manifest.id})
def _pictured(url: str, known: _Known) -> Pictured | None:
    return pictured_of(Store.open(url), known.manifest)
