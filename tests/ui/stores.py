"""Creates a store for tests of the page Models within seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import streamlit as st

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from tests.training.factories import SyntheticData, june, make_synthetic_data, quick_plan, run_training

RELEASES = Path(__file__).parents[1] / "bundle" / "releases"
ORDERS, RESTAURANTS = "orders.parquet", "restaurants.parquet"
"""Files next to the store, with the training data of both bundles."""
REASON = "riders *wait* in <b>Leeds</b>"
FIRST_RELEASE_BUNDLE = "2015-06-15-95022e53deb7"
"""A bundle of release 0.1.0. It has neither a report nor an evaluation."""


def fill_store(root: Path, data: SyntheticData | None = None) -> None:
    """Train two small bundles. The second is promoted manually, regardless of its comparison."""
    data = data or make_synthetic_data()
    root.mkdir(parents=True)
    data.orders.write_parquet(root.parent / ORDERS)
    data.restaurants.write_parquet(root.parent / RESTAURANTS)
    store = Store.open(str(root))
    run_training(data, june(12), store)
    second = run_training(data, june(14), store, plan=quick_plan(seed=7), allow_promotion=False, with_report=True)
    ChampionLog(store).override(second.bundle, reason=REASON, by="olga", at="2015-06-14T05:00Z")
    shutil.copytree(RELEASES / "0.1.0" / FIRST_RELEASE_BUNDLE, root / "bundles" / FIRST_RELEASE_BUNDLE)


def clear_caches() -> None:
    """Clear Streamlit's caches, which all sessions share."""
    st.cache_data.clear()
    st.cache_resource.clear()
