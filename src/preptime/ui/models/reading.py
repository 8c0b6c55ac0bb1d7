"""What the page reads of the store, kept for a while: bundles never change, the log only grows."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from preptime.bundle.listing import StoreListing, list_store
from preptime.bundle.manifest import REPORT_FILE, Manifest
from preptime.bundle.store import Store
from preptime.evaluation.pictured import ReportData, read_report_data

CACHE_SECONDS = 5
"""Between two looks at the store."""


def read_listing(store: Store) -> StoreListing:
    """Every bundle and the champion log. Raises `StoreError`."""
    return _load_listing(store.url)


def clear_listing_cache() -> None:
    """Look anew at the next question: somebody has just changed the champion."""
    _load_listing.clear()


def load_report_data(store: Store, manifest: Manifest) -> ReportData | None:
    """What a bundle's pictures are drawn from, if it keeps that. Raises `StoreError`, `BundleVerificationError`."""
    return _load_report_data(store.url, _ManifestKey(manifest))


def read_report(store: Store, manifest: Manifest) -> bytes | None:
    """The report of the training run, if the bundle carries one. Raises likewise."""
    return store.read_file(manifest, REPORT_FILE) if REPORT_FILE in manifest.files else None


@st.cache_resource(ttl=CACHE_SECONDS, max_entries=4, show_spinner="Reading the store")
def _load_listing(store_url: str) -> StoreListing:
    return list_store(Store.open(store_url), read_manifest=_cached_manifest)


@st.cache_resource(max_entries=2_000, show_spinner=False)
def _load_manifest(store_url: str, bundle_id: str) -> Manifest:
    return Store.open(store_url).read_manifest(bundle_id)


def _cached_manifest(store: Store, bundle_id: str) -> Manifest:
    return _load_manifest(store.url, bundle_id)


@dataclass(frozen=True)
class _ManifestKey:
    """A manifest, which its id stands for."""

    manifest: Manifest


@st.cache_resource(max_entries=20, show_spinner=False, hash_funcs={_ManifestKey: lambda known: known.manifest.id})
def _load_report_data(store_url: str, manifest_key: _ManifestKey) -> ReportData | None:
    return read_report_data(Store.open(store_url), manifest_key.manifest)
