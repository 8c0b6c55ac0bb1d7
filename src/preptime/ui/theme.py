"""Colors of the dashboard in the light and the dark theme. They match the colors of the charts (Okabe and Ito)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from preptime.evaluation.charts import Palette

_LIGHT: dict[str, str] = {
    "primaryColor": "#0072b2",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f4f6f8",
    "textColor": "#1f2328",
    "linkColor": "#0072b2",
    "borderColor": "#dfe3e8",
}
_DARK: dict[str, str] = {
    "primaryColor": "#56b4e9",
    "backgroundColor": "#0f141a",
    "secondaryBackgroundColor": "#161b22",
    "textColor": "#e6edf3",
    "linkColor": "#56b4e9",
    "borderColor": "#2d343d",
}


def theme_options() -> dict[str, object]:
    """Return Streamlit's theme options. Fonts come with Streamlit, so none is loaded from the network."""
    options: dict[str, object] = {
        "theme.font": "sans-serif",
        "theme.baseFontSize": 15,
        "theme.headingFontSizes": ["1.9rem", "1.35rem", "1.1rem", "1rem", "0.9rem", "0.85rem"],
        "theme.headingFontWeights": [700, 600, 600, 600, 600, 600],
        "theme.baseRadius": "0.5rem",
        "theme.showWidgetBorder": True,
        "theme.paddingTop": "1.6rem",
    }
    options |= {f"theme.light.{name}": value for name, value in _LIGHT.items()}
    return options | {f"theme.dark.{name}": value for name, value in _DARK.items()}


def is_dark() -> bool:
    """Return whether the theme of this session is dark."""
    return st.context.theme.type == "dark"


def palette() -> Palette:
    """Return the chart colors for the theme of this session."""
    from preptime.evaluation.charts import DARK, LIGHT

    return DARK if is_dark() else LIGHT
