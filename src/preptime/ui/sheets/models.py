"""The page Models: the champion and its challengers, compared, explained, and changed by who may."""

from __future__ import annotations

import streamlit as st

from preptime.ui.access import get_context
from preptime.ui.models import change, log, one, stock, two
from preptime.ui.models.reading import read_listing as read_stock

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
        stock.show(bundles)
    elif view == "Bundle details":
        one.show(store, bundles)
    elif view == "Compare bundles":
        two.show(context, bundles)
    elif view == "Champion log":
        log.show(bundles)
    else:
        change.show(context, bundles)
