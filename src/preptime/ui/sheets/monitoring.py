"""The page Monitoring."""

from __future__ import annotations

import streamlit as st

from preptime.ui.parts import notice


def page() -> None:
    """Says that there is nothing here yet."""
    st.title("Monitoring")
    notice("This page is being built.")
