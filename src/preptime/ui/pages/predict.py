"""The page Predict."""

from __future__ import annotations

import streamlit as st

from preptime.ui.access import access
from preptime.ui.parts import notice


def page() -> None:
    """Says what would predict."""
    st.title("When will the food be ready?")
    notice(f"The champion is {access().champion_id()}.")
