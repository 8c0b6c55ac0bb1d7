"""The page Data: the notebook's looks at the orders, for whoever wants to choose among them."""

from __future__ import annotations

import streamlit as st

from preptime.exploration import OrderFilter, OrderSample
from preptime.ui.components import caption, metric_cards, show_info
from preptime.ui.data import views
from preptime.ui.data.source import NamedOrders, choose_source
from preptime.ui.data.views import label_audit

VIEWS = ("Distributions", "By time and category", "Correlation", "Restaurants", "Label audit")


def page() -> None:
    """Some orders, and the view of them that somebody picks; only that one is worked out."""
    st.title("Data")
    source_data = choose_source()
    if source_data is None:
        return
    _show_source_name(source_data)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="data-view", label_visibility="collapsed"
    )
    if view == "Label audit":
        label_audit(source_data.data)
        return
    selected_orders = (
        source_data.data.sample.filtered(_choose_orders(source_data.data.sample))
        if len(source_data.data.sample)
        else source_data.data.sample
    )
    if not len(selected_orders):
        show_info(
            "No order with a usable preparation time is left to look at.", "Choose others, or see the label audit."
        )
        return
    metric_cards(views.summary_metrics(selected_orders))
    if view == "Distributions":
        views.distributions(selected_orders)
    elif view == "By time and category":
        views.by_time_and_category(selected_orders)
    elif view == "Correlation":
        views.correlation(selected_orders)
    else:
        views.restaurants(selected_orders)


def _show_source_name(source_data: NamedOrders) -> None:
    days = (
        f", {source_data.data.report.first_day} to {source_data.data.report.last_day}"
        if source_data.data.report.first_day
        else ""
    )
    caption(
        f"{source_data.name}: {source_data.data.report.orders:,} orders{days}. Hours and days are each restaurant's own."
    )


def _choose_orders(orders: OrderSample) -> OrderFilter:
    """What somebody chooses above the views."""
    first, last = orders.date_range
    cities_column, foods_column, days_column = st.columns([2, 2, 3])
    cities = cities_column.multiselect("Cities", orders.category_values("city"), key="data-cities", placeholder="all")
    foods = foods_column.multiselect(
        "Types of food", orders.category_values("type_of_food"), key="data-foods", placeholder="all"
    )
    if first < last:
        days = days_column.slider("Days", first, last, (first, last), key=f"data-days-{first}-{last}", format="D MMM")
    else:
        days = (first, last)
    without_outliers = st.toggle(
        "Without outliers",
        key="data-without-outliers",
        help="Leaves out orders over the outlier limit of all preparation times.",
    )
    return OrderFilter(tuple(cities), tuple(foods), days, exclude_outliers=without_outliers)
