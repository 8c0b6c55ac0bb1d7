"""The page Data: the notebook's looks at the orders, for whoever wants to choose among them."""

from __future__ import annotations

import streamlit as st

from preptime.tables.looked import Choice, Looked
from preptime.ui.data import views
from preptime.ui.data.audit import label_audit
from preptime.ui.data.source import Source, source
from preptime.ui.parts import figures, lead, notice

VIEWS = ("Distributions", "By time and place", "Correlation", "Restaurants", "Label audit")


def page() -> None:
    """Some orders, and the view of them that somebody picks; only that one is worked out."""
    st.title("Data")
    found = source()
    if found is None:
        return
    _name(found)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="data-view", label_visibility="collapsed"
    )
    if view == "Label audit":
        label_audit(found.seen)
        return
    chosen = found.seen.looked.chosen(_choice(found.seen.looked)) if len(found.seen.looked) else found.seen.looked
    if not len(chosen):
        notice("No order with a usable preparation time is left to look at.", "Choose others, or see the label audit.")
        return
    figures(views.summary(chosen))
    if view == "Distributions":
        views.distributions(chosen)
    elif view == "By time and place":
        views.by_time_and_place(chosen)
    elif view == "Correlation":
        views.correlation(chosen)
    else:
        views.restaurants(chosen)


def _name(found: Source) -> None:
    days = f", {found.seen.report.first_day} to {found.seen.report.last_day}" if found.seen.report.first_day else ""
    lead(f"{found.name}: {found.seen.report.orders:,} orders{days}. Hours and days are each restaurant's own.")


def _choice(looked: Looked) -> Choice:
    """What somebody chooses above the views."""
    first, last = looked.days
    one, two, three = st.columns([2, 2, 3])
    cities = one.multiselect("Cities", looked.values("city"), key="data-cities", placeholder="all")
    foods = two.multiselect("Types of food", looked.values("type_of_food"), key="data-foods", placeholder="all")
    if first < last:
        days = three.slider("Days", first, last, (first, last), key=f"data-days-{first}-{last}", format="D MMM")
    else:
        days = (first, last)
    inside = st.toggle(
        "Without outliers", key="data-inside", help="Leaves out orders over the outlier fence of all preparation times."
    )
    return Choice(tuple(cities), tuple(foods), days, inside_fence=inside)
