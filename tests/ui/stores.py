"""A store that the page Models has something to show of, made in a moment."""

from __future__ import annotations

import shutil
from pathlib import Path

import streamlit as st

from preptime.bundle.champion_log import ChampionLog
from preptime.bundle.store import Store
from tests.training.factories import Data, june, make_data, quick_plan, run

RELEASES = Path(__file__).parents[1] / "bundle" / "releases"
ORDERS, RESTAURANTS = "orders.parquet", "restaurants.parquet"
"""Beside the store: what both were trained on."""
REASON = "riders *wait* in <b>Leeds</b>"
FIRST_RELEASE = "2015-06-15-95022e53deb7"
"""Its bundle keeps neither report nor evaluation."""


def stock(root: Path, data: Data | None = None) -> None:
    """Two trainings of a quick recipe: the second is promoted past its comparison, whatever that said."""
    data = data or make_data()
    root.mkdir(parents=True)
    data.orders.write_parquet(root.parent / ORDERS)
    data.restaurants.write_parquet(root.parent / RESTAURANTS)
    store = Store.open(str(root))
    run(data, june(12), store)
    second = run(data, june(14), store, plan=quick_plan(seed=7), may_promote=False, report=True)
    ChampionLog(store).override(
        second.bundle, reason="riders *wait* in <b>Leeds</b>", by="olga", at="2015-06-14T05:00Z"
    )
    shutil.copytree(RELEASES / "0.1.0" / FIRST_RELEASE, root / "bundles" / FIRST_RELEASE)


def forget() -> None:
    """What the pages keep for everybody."""
    st.cache_data.clear()
    st.cache_resource.clear()
