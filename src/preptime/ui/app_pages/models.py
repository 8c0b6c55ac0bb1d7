"""The page Models: the bundles of the store, comparisons, the champion log, and changes of the champion."""

from __future__ import annotations

import streamlit as st

from preptime.ui.connections import get_context
from preptime.ui.models import bundle_comparison, bundle_detail, bundle_list, promotion

VIEWS = ("Bundles", "Bundle details", "Compare bundles", "Champion log", "Change the champion")


def page() -> None:
    """Draw the selected view. The other views aren't computed."""
    st.title("Models")
    context = get_context()
    store = context.store
    bundles = bundle_list.read_listing(store)
    unit = context.time_unit()
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="models-view", label_visibility="collapsed"
    )
    if view == "Bundles":
        bundle_list.show_list(bundles, unit)
    elif view == "Bundle details":
        bundle_detail.show(store, bundles)
    elif view == "Compare bundles":
        bundle_comparison.show(context, bundles)
    elif view == "Champion log":
        bundle_list.show_log(bundles, unit)
    else:
        promotion.show(context, bundles)
