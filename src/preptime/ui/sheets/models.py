"""The page Models: the champion and its challengers, compared, explained, and changed by who may."""

from __future__ import annotations

import streamlit as st

from preptime.ui.access import access
from preptime.ui.models import change, log, one, stock, two
from preptime.ui.models.reading import stock as read_stock

VIEWS = ("Bundles", "One bundle", "Side by side", "Champion log", "Change the champion")


def page() -> None:
    """The view that somebody picks; only that one is worked out."""
    st.title("Models")
    allowed = access()
    store = allowed.store
    found = read_stock(store)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="models-view", label_visibility="collapsed"
    )
    if view == "Bundles":
        stock.show(found)
    elif view == "One bundle":
        one.show(store, found)
    elif view == "Side by side":
        two.show(allowed, found)
    elif view == "Champion log":
        log.show(found)
    else:
        change.show(allowed, found)
