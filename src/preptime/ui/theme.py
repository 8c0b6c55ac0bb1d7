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


STYLE = """<style>
.stMainBlockContainer { max-width: 1180px; }
.callout { border-left: 4px solid #2a8fd0; background: rgba(42, 143, 208, .11); border-radius: .4rem;
  padding: .7rem .9rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.callout span { display: block; font-weight: 500; }
.callout small { display: block; opacity: .8; margin-top: .15rem; font-size: .92em; }
.callout.error { border-color: #d55e00; background: rgba(213, 94, 0, .12); }
.callout.success { border-color: #009e73; background: rgba(0, 158, 115, .12); }
.caption { margin: -.3rem 0 0; opacity: .75; overflow-wrap: anywhere; }
[data-testid="InputInstructions"] { display: none; }
[data-testid="stButtonGroup"] [role="toolbar"] { flex-wrap: wrap; row-gap: .35rem; }
.field-error { color: #c2410c; font-size: .9em; font-weight: 500; margin: -.5rem 0 .2rem; }
.data-table { container-type: inline-size; overflow-x: auto; }
.data-table table { width: 100%; border-collapse: collapse; font-size: .9rem; line-height: 1.35; }
.data-table th { text-align: left; font-weight: 500; opacity: .75; vertical-align: bottom; }
.data-table th, .data-table td { border: 0; border-bottom: 1px solid rgba(127, 137, 150, .25);
  padding: .4rem .6rem .4rem 0; }
.data-table td { vertical-align: top; overflow-wrap: break-word; white-space: pre-wrap; min-width: 3.2em; }
.data-table .number { text-align: right; padding-right: 1.2rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
.data-table td.number, .data-table td.date { white-space: nowrap; }
@container (min-width: 900px) { .data-table td.code { white-space: nowrap; } }
.data-table td.long { min-width: 11em; overflow-wrap: anywhere; }
.data-table th[title] { text-decoration: underline dotted; text-underline-offset: .2em; cursor: help; }
@container (max-width: 560px) {
  .data-table table, .data-table tbody, .data-table tr, .data-table td { display: block; }
  .data-table thead { display: none; }
  .data-table tr { border: 1px solid rgba(127, 137, 150, .3); border-radius: .5rem; padding: .4rem .7rem;
    margin: 0 0 .6rem; }
  .data-table td, .data-table td.number { display: grid; grid-template-columns: 40% 1fr; gap: .6rem; text-align: left;
    border: 0; padding: .15rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
  .data-table td:empty { display: none; }
  .data-table td::before { content: attr(data-label); opacity: .7; }
}
.stHtml dl { margin: 0; padding: 0; }
.metric-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .7rem; margin: 0;
  padding: 0; }
.metric-cards div { border: 1px solid rgba(127, 137, 150, .3); border-radius: .5rem; padding: .6rem .85rem;
  min-width: 0; }
.metric-cards dt { font-size: .85em; opacity: .75; }
.metric-cards dd { margin: 0; font-size: 1.5rem; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.metric-cards dd.long { font-size: 1.05rem; padding: .28rem 0; }
.metric-cards small { opacity: .75; overflow-wrap: anywhere; }
.prediction small { display: block; opacity: .75; }
.prediction b { display: block; font-size: 3.1rem; line-height: 1.05; font-variant-numeric: tabular-nums; }
.prediction span { font-size: 1.15rem; font-weight: 600; }
.prediction p { margin: .35rem 0 0; opacity: .85; }
.chart-card h4 { margin: 0; padding: 0; font-size: 1.05rem; }
.chart-card p { margin: .1rem 0 0; opacity: .75; font-size: .92em; }
.download-links { display: flex; flex-wrap: wrap; gap: .6rem; }
a.download { border: 1px solid rgba(127, 137, 150, .45); border-radius: .5rem; padding: .38rem .8rem; color: inherit;
  text-decoration: none; font-weight: 500; }
a.download:hover, a.download:focus-visible { border-color: #2a8fd0; color: #2a8fd0; }
.definition-list { display: flex; flex-wrap: wrap; gap: .35rem 1.6rem; margin: .2rem 0; }
.definition-list dt { font-size: .8rem; opacity: .7; }
.definition-list dd { margin: 0; overflow-wrap: anywhere; }
.timeline { list-style: none; margin: .4rem 0; padding: 0 0 0 1.3rem; }
.timeline li { position: relative; padding: 0 0 1rem 1.1rem; border-left: 2px solid rgba(127, 137, 150, .35); }
.timeline li::before { content: ""; position: absolute; left: -.5rem; top: .25rem; width: .85rem; height: .85rem;
  border-radius: 50%; background: #0072b2; }
.timeline li.refresh::before { background: #009e73; border-radius: .15rem; }
.timeline li.override::before { background: #d55e00; transform: rotate(45deg); border-radius: .1rem; }
.timeline li.rollback::before { background: #cc79a7; clip-path: polygon(0 50%, 100% 0, 100% 100%); border-radius: 0; }
.timeline b { font-weight: 600; overflow-wrap: anywhere; }
.timeline span { display: block; font-size: .88rem; opacity: .75; }
.timeline p { margin: .1rem 0 0; overflow-wrap: anywhere; white-space: pre-wrap; }
</style>"""
"""Styles that Streamlit's theme can't express. The colors are readable in the light and the dark theme."""
