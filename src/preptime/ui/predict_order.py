"""One order on the page Predict: a form, the answer on a line of time, and what if."""

from __future__ import annotations

import datetime as dt

import numpy as np
import streamlit as st

from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.errors import PreptimeError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.scoring.scorer import FALLBACK_LEVEL, PREDICTED_READY_AT, PREDICTION_REASON
from preptime.scoring.what_if import VARIABLES, OrderInput, Variable, predict_what_if, predicted_seconds
from preptime.ui import formatting, prediction_charts
from preptime.ui.components import caption, prediction_card, show_error, titled_chart
from preptime.ui.connections import DashboardContext
from preptime.ui.predictors import Predictor, explain_api_error, known_restaurants
from preptime.ui.theme import palette

MAX_LISTED_RESTAURANTS = 5_000
"""Restaurants that a list to type in may have; with more, a search narrows them first."""
_QUANTILE_LEVELS = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}
_WHAT_IF_TITLES: dict[Variable, tuple[str, str]] = {
    "items": ("Items", "If it had more or fewer items."),
    "value": ("Value", "If it were worth more or less."),
    "hour": ("Hour", "If it came at another hour of that day."),
    "day": ("Day", "If it came on another day of that week."),
}


def draw_single_order(predictor: Predictor | None, context: DashboardContext) -> None:
    """The form, and below it the answer."""
    left, right = st.columns([2, 3], gap="large")
    with left:
        order = _order_form(known_restaurants(context), context)
    if predictor is None or order is None:
        return
    try:
        what_if_result = predict_what_if(order, predictor.predict)
    except PreptimeError as error:
        raise explain_api_error(error, context) from error
    with right:
        reason = what_if_result.prediction[PREDICTION_REASON]
        if reason is not None:
            show_error(
                "This order cannot be predicted.", f"{validation_rule(ValidationReason(str(reason))).description}."
            )
            return
        _show_prediction(order, what_if_result.prediction)
    st.subheader("What if?")
    caption("The line is the answer (p50), the band p10 to p90, the dashed line the order as it stands. Minutes.")
    current_values = _current_values(order)
    for pair in (VARIABLES[:2], VARIABLES[2:]):
        for column, varied_input in zip(st.columns(2, gap="large"), pair, strict=True):
            with column:
                rows = what_if_result.curves.filter(what_if_result.curves["variable"] == varied_input)
                titled_chart(
                    *_WHAT_IF_TITLES[varied_input],
                    prediction_charts.what_if_chart(rows, varied_input, current_values[varied_input], palette()),
                )


def _order_form(restaurants: RestaurantIndex | None, context: DashboardContext) -> OrderInput | None:
    restaurant_id, city, type_of_food = (
        _choose_listed_restaurant(restaurants)
        if restaurants is not None and len(restaurants)
        else _enter_unlisted_restaurant(restaurants)
    )
    value_column, items_column = st.columns(2, wrap=False)
    order_value = value_column.number_input("Value, £", 0.0, 100_000.0, 24.5, 0.5, key="order_value")
    item_count = items_column.number_input("Items", 1, 10_000, 3, 1, key="order_items")
    day_column, time_column = st.columns(2, wrap=False)
    date = day_column.date_input("Day", _default_order_date(context), key="order_day")
    local_time = time_column.time_input("Time, restaurant's clock", dt.time(19, 0), key="order_time", step=900)
    if restaurant_id is None or local_time is None:
        return None
    acknowledged_at = dt.datetime.combine(date, local_time)
    return OrderInput(
        restaurant_id, acknowledged_at, float(order_value), int(item_count), city or None, type_of_food or None
    )


def _choose_listed_restaurant(restaurants: RestaurantIndex) -> tuple[int | None, str | None, str | None]:
    indices = np.arange(len(restaurants))
    if len(restaurants) > MAX_LISTED_RESTAURANTS:
        query = st.text_input("Search", key="order_search", placeholder="id, city or type of food") or ""
        indices = _search_restaurants(restaurants, query)
    labels_by_id = {
        int(restaurants.restaurant_id[index]): _restaurant_label(restaurants, int(index))
        for index in indices[:MAX_LISTED_RESTAURANTS]
    }
    restaurant_id = st.selectbox(
        "Restaurant",
        [*labels_by_id, UNKNOWN_CODE],
        format_func=lambda listed_id: (
            "another, not in this list" if listed_id == UNKNOWN_CODE else labels_by_id[listed_id]
        ),
        key="order_restaurant",
        help="Type an id, a city or a type of food.",
    )
    if restaurant_id == UNKNOWN_CODE:
        return _enter_unlisted_restaurant(restaurants)
    index = int(restaurants.positions(np.array([restaurant_id]))[0])
    vocabularies = restaurants.vocabularies
    city_column, food_column = st.columns(2, wrap=False)
    city_column.text_input("City", _category_name(vocabularies.city, restaurants.city[index]), disabled=True)
    food_column.text_input(
        "Type of food", _category_name(vocabularies.type_of_food, restaurants.type_of_food[index]), disabled=True
    )
    return restaurant_id, None, None


def _enter_unlisted_restaurant(restaurants: RestaurantIndex | None) -> tuple[int | None, str | None, str | None]:
    restaurant_id = st.number_input("Restaurant's id", 0, 2**53 - 1, 1, 1, key="order_restaurant_id")
    city_column, food_column = st.columns(2, wrap=False)
    if restaurants is None:
        city_text = city_column.text_input("City", key="order_city_text", placeholder="optional")
        food_text = food_column.text_input("Type of food", key="order_food_text", placeholder="optional")
        return int(restaurant_id), city_text, food_text
    vocabularies = restaurants.vocabularies
    return (
        int(restaurant_id),
        city_column.selectbox("City", vocabularies.city, index=None, key="order_city", placeholder="not known"),
        food_column.selectbox(
            "Type of food", vocabularies.type_of_food, index=None, key="order_food", placeholder="not known"
        ),
    )


def _search_restaurants(restaurants: RestaurantIndex, query: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Places of restaurants whose id begins with what is searched, or whose city or food holds it."""
    search_text = query.strip().lower()
    cities = [code for code, name in enumerate(restaurants.vocabularies.city) if search_text in name.lower()]
    foods = [code for code, name in enumerate(restaurants.vocabularies.type_of_food) if search_text in name.lower()]
    is_match = np.isin(restaurants.city, cities) | np.isin(restaurants.type_of_food, foods)
    if search_text.isdigit():
        is_match |= np.char.startswith(restaurants.restaurant_id.astype(str), search_text)
    return np.flatnonzero(is_match)


def _restaurant_label(restaurants: RestaurantIndex, index: int) -> str:
    vocabularies = restaurants.vocabularies
    return (
        f"{restaurants.restaurant_id[index]} · {_category_name(vocabularies.city, restaurants.city[index])} · "
        + _category_name(vocabularies.type_of_food, restaurants.type_of_food[index])
    )


def _category_name(vocabulary: tuple[str, ...], code: np.int32) -> str:
    return "not known" if code == UNKNOWN_CODE else vocabulary[code]


def _default_order_date(context: DashboardContext) -> dt.date:
    """The day whose morning the champion knows, so that the form needs no clock."""
    try:
        return context.bundle().manifest.date
    except PreptimeError:  # a page without a store: the API may still answer
        return dt.datetime.now(dt.UTC).date()


def _show_prediction(order: OrderInput, prediction: dict[str, object]) -> None:
    seconds = {name: predicted_seconds(prediction, level) or 0.0 for name, level in _QUANTILE_LEVELS.items()}
    clock_times = {"acknowledged": formatting.format_clock_time(order.acknowledged_at)}
    for name, value in seconds.items():
        format_time = formatting.format_clock_time_rounded_up if name == "p90" else formatting.format_clock_time
        clock_times[name] = format_time(order.acknowledged_at + dt.timedelta(seconds=value))
    clock_times["p50"] = formatting.format_clock_time(
        dt.datetime.fromisoformat(str(prediction[PREDICTED_READY_AT]))
    )  # as the answer rounds its seconds
    prediction_card(
        clock_times["p50"],
        f"{formatting.format_duration(seconds['p50'])} after it was acknowledged",
        f"Eight orders in ten like it are ready {formatting.format_interval(seconds['p10'], seconds['p90'])} after, nine in ten by "
        f"{clock_times['p90']}. It stands on {formatting.FALLBACK_LEVEL_DESCRIPTIONS[str(prediction[FALLBACK_LEVEL])]}.",
    )
    minutes = {name: value / 60 for name, value in seconds.items()}
    st.altair_chart(prediction_charts.prediction_timeline(minutes, clock_times, palette()), theme=None)
    caption("The band is p10 to p90; its darker part begins where half are ready and ends at p80, eight in ten.")


def _current_values(order: OrderInput) -> dict[Variable, float]:
    return {
        "items": float(order.number_of_items),
        "value": order.order_value_gbp,
        "hour": order.acknowledged_at.hour,
        "day": float(order.acknowledged_at.weekday()),
    }
