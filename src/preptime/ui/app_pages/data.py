"""The page Data: the notebook's exploration of the orders, with filters."""

from __future__ import annotations

import streamlit as st

from preptime.exploration import OrderFilter, OrderSample
from preptime.ui.components import caption, metric_cards, show_info
from preptime.ui.data import views
from preptime.ui.data.source import NamedOrders, choose_source

VIEWS = ("Distributions", "By time and category", "Correlation", "Restaurants", "Label audit")


def page() -> None:
    """Draw the selected view of the filtered orders. The other views aren't computed."""
    st.title("Data")
    source_data = choose_source()
    if source_data is None:
        return
    _show_source_name(source_data)
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], required=True, key="data-view", label_visibility="collapsed"
    )
    if view == "Label audit":
        views.label_audit(source_data.data)
        return
    orders = source_data.data.sample
    selected_orders = orders.filtered(_choose_orders(orders)) if len(orders) else orders
    if not len(selected_orders):
        show_info(
            f"No order with a usable {orders.schema.target.title} matches the filters.",
            "Change the filters, or see the view Label audit.",
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
    report = source_data.data.report
    days_text = f", {report.first_day} to {report.last_day}" if report.first_day else ""
    caption(f"{source_data.name}: {report.orders:,} orders{days_text}. Hours and days are local to each restaurant.")


def _choose_orders(orders: OrderSample) -> OrderFilter:
    """Draw the filters above the views and return their values."""
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
        help=f"Excludes orders above the outlier limit of all {orders.schema.target.title}s.",
    )
    return OrderFilter(tuple(cities), tuple(foods), days, exclude_outliers=without_outliers)
