"""Creates a store for tests of the page Models within seconds."""

from __future__ import annotations

from pathlib import Path

import msgspec
import streamlit as st

from preptime.bundle.bundle import fetch_verified
from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.manifest import ManifestDraft
from preptime.bundle.store import Store
from preptime.bundle.writer import write_bundle
from tests.training.factories import SyntheticData, june, make_synthetic_data, quick_plan, run_training

ORDERS, RESTAURANTS = "orders.parquet", "restaurants.parquet"
"""Files next to the store, with the training data of both bundles."""
REASON = "riders *wait* in <b>Leeds</b>"
FINGERPRINT_WITHOUT_REPORT = "no report"
"""Identifies the bundle that has neither a report nor an evaluation, as in the first release."""


def fill_store(root: Path, data: SyntheticData | None = None) -> None:
    """Train two small bundles and copy the first. The second is promoted manually, regardless of its comparison."""
    data = data or make_synthetic_data()
    root.mkdir(parents=True)
    data.orders.write_parquet(root.parent / ORDERS)
    data.restaurants.write_parquet(root.parent / RESTAURANTS)
    store = Store.open(str(root))
    first = run_training(data, june(12), store)
    second = run_training(data, june(14), store, plan=quick_plan(seed=7), allow_promotion=False, with_report=True)
    ChampionLog(store).override(second.bundle, reason=REASON, by="olga", at="2015-06-14T05:00Z")
    copy_bundle(store, first.bundle, FINGERPRINT_WITHOUT_REPORT)


def copy_bundle(store: Store, bundle_id: str, data_fingerprint: str) -> str:
    """Write another bundle with the same models, without a report and an evaluation. Return its ID."""
    bundle = fetch_verified(store, bundle_id)
    draft = msgspec.convert(bundle.manifest, ManifestDraft, from_attributes=True)
    return write_bundle(
        store,
        msgspec.structs.replace(draft, data_fingerprint=data_fingerprint),
        graphs=bundle.graph_files(),
        history=bundle.history,
        golden_orders=bundle.golden_orders(),
    ).id


def clear_caches() -> None:
    """Clear Streamlit's caches, which all sessions share."""
    st.cache_data.clear()
    st.cache_resource.clear()
