"""The page Models: the champion and its challengers, compared, explained, and changed by who may."""

from __future__ import annotations

import streamlit as st

from preptime.ui.connections import get_context
from preptime.ui.models import bundle_comparison, bundle_detail, bundle_list, promotion
from preptime.ui.models.bundle_list import read_listing as read_stock

VIEWS = ("Bundles", "Bundle details", "Compare bundles", "Champion log", "Change the champion")


def page() -> None:
    """The view that somebody picks; only that one is worked out."""
    st.title("Models")
    context = get_context()
    store = context.store
    bundles = read_stock(store)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="models-view", label_visibility="collapsed"
    )
    if view == "Bundles":
        bundle_list.show_list(bundles)
    elif view == "Bundle details":
        bundle_detail.show(store, bundles)
    elif view == "Compare bundles":
        bundle_comparison.show(context, bundles)
    elif view == "Champion log":
        bundle_list.show_log(bundles)
    else:
        promotion.show(context, bundles)
