"""Creates a store for tests of the page Models within seconds."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from tests.training.factories import SyntheticData, copy_bundle, june, make_synthetic_data, quick_plan, run_training

ORDERS, RESTAURANTS = "orders.parquet", "restaurants.parquet"
"""Files next to the store, with the training data of both bundles."""
REASON = "riders *wait* in <b>Leeds</b>"
FINGERPRINT_WITHOUT_REPORT = "no report"
"""Identifies the bundle that has neither a report nor an evaluation, as in the first release. Its `rf` is weak."""


def fill_store(root: Path, data: SyntheticData | None = None) -> None:
    """Train two small bundles and copy the first. The second is promoted manually, regardless of its comparison."""
    data = data or make_synthetic_data()
    root.mkdir(parents=True)
    data.orders.write_parquet(root.parent / ORDERS)
    data.restaurants.write_parquet(root.parent / RESTAURANTS)
    store = Store.open(str(root))
    first = run_training(data, june(12), store)
    plan = quick_plan(seed=7, with_live_model=True)
    second = run_training(data, june(14), store, plan=plan, allow_promotion=False, with_report=True)
    ChampionLog(store).override(second.bundle, reason=REASON, by="olga", at="2015-06-14T05:00Z")
    copy_bundle(store, first.bundle, data_fingerprint=FINGERPRINT_WITHOUT_REPORT, weak_models=("rf",))


def clear_caches() -> None:
    """Clear Streamlit's caches, which all sessions share."""
    st.cache_data.clear()
    st.cache_resource.clear()
