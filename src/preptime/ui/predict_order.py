"""The tab "One order" of the page Predict: a form, the prediction on a timeline, and what-if charts."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import streamlit as st

from preptime.domain.data_dictionary import ORDERS_DICTIONARY
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.errors import PreptimeError
from preptime.evaluation.report_data import backtest_from_manifest
from preptime.features.restaurant_index import RestaurantIndex
from preptime.scoring.scorer import FALLBACK_LEVEL, PREDICTED_READY_AT, PREDICTION_REASON
from preptime.scoring.what_if import VARIABLES, OrderInput, Variable, predict_what_if, predicted_seconds
from preptime.ui import formatting, prediction_charts
from preptime.ui.components import caption, field_error, prediction_card, show_error, unframed_chart
from preptime.ui.connections import DashboardContext
from preptime.ui.display_names import FALLBACK_LEVEL_DESCRIPTIONS
from preptime.ui.predictors import Predictor, explain_api_error, known_restaurants
from preptime.ui.theme import palette

MAX_LISTED_RESTAURANTS = 5_000
"""Maximum restaurants in the selection list. With more, a search field filters them first."""
_QUANTILE_LEVELS = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}
_COLUMNS = {entry.name: entry for entry in ORDERS_DICTIONARY}
_WHAT_IF_TITLES: dict[Variable, tuple[str, str]] = {
    "items": ("Items", "The prediction for more or fewer items."),
    "value": ("Value", "The prediction for a higher or lower order value."),
    "hour": ("Hour", "The prediction for another hour of that day."),
    "day": ("Day", "The prediction for another day of that week."),
}


def draw_single_order(predictor: Predictor | None, context: DashboardContext) -> None:
    """Draw the form, the prediction, and the what-if charts."""
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
                "This order can't be predicted.", f"{validation_rule(ValidationReason(str(reason))).description}."
            )
            return
        _show_prediction(order, what_if_result.prediction)
    st.subheader("What if?")
    caption("The line is the prediction (p50) in minutes, the band p10 to p90. The dashed line marks this order.")
    current_values = _current_values(order)
    hours = _evaluated_hours(predictor, context)
    for pair in (VARIABLES[:2], VARIABLES[2:]):
        for column, varied_input in zip(st.columns(2, gap="large"), pair, strict=True):
            with column:
                rows = what_if_result.curves.filter(what_if_result.curves["variable"] == varied_input)
                title, description = _WHAT_IF_TITLES[varied_input]
                unknown_hours = hours.without_orders if hours and varied_input == "hour" else ()
                unframed_chart(
                    title,
                    f"{description} {hours.caption}" if hours and unknown_hours else description,
                    prediction_charts.what_if_chart(
                        rows, varied_input, current_values[varied_input], palette(), unknown_hours=unknown_hours
                    ),
                )


@dataclass(frozen=True)
class _EvaluatedHours:
    """The local hours of a bundle's backtest."""

    without_orders: tuple[int, ...]
    caption: str


def _evaluated_hours(predictor: Predictor, context: DashboardContext) -> _EvaluatedHours | None:
    """Return the hours without orders in the backtest of the bundle that predicts, or None if it's unknown here."""
    try:
        backtest = backtest_from_manifest(context.bundle(predictor.bundle_id).manifest)
    except PreptimeError:  # the API can serve a bundle of another store
        return None
    hours = {segment.value for segment in backtest.segments if segment.segment == "hour"} if backtest else set()
    if backtest is None or not hours:
        return None
    return _EvaluatedHours(
        tuple(hour for hour in range(24) if str(hour) not in hours),
        f"No order of the backtest, {backtest.first_day} to {backtest.last_day}, is in the gray hours. Predictions "
        "there are extrapolated.",
    )


def _order_form(restaurants: RestaurantIndex | None, context: DashboardContext) -> OrderInput | None:
    restaurant_id, city, type_of_food = (
        _choose_listed_restaurant(restaurants)
        if restaurants is not None and len(restaurants)
        else _enter_unlisted_restaurant(restaurants)
    )
    value_column, items_column = st.columns(2, wrap=False)
    with value_column:
        order_value = _number_field("Value, £", "order_value_gbp", 24.5, 0.5, key="order_value")
    with items_column:
        item_count = _number_field("Items", "number_of_items", 3, 1, key="order_items")
    day_column, time_column = st.columns(2, wrap=False)
    date = day_column.date_input("Day", _default_order_date(context), key="order_day")
    local_time = time_column.time_input("Local time at the restaurant", dt.time(19, 0), key="order_time", step=900)
    if restaurant_id is None or order_value is None or item_count is None:
        return None
    acknowledged_at = dt.datetime.combine(date, local_time)
    return OrderInput(
        restaurant_id, acknowledged_at, float(order_value), int(item_count), city or None, type_of_food or None
    )


def _number_field(label: str, column: str, default: float, step: float, *, key: str) -> float | None:
    """Draw a field for a number. Show the valid range below an invalid number, and return None.

    Streamlit's own limits would keep the previous valid number, and with it the previous prediction.
    """
    value = st.number_input(label, value=default, step=step, key=key)
    entry = _COLUMNS[column]
    if (entry.minimum or 0) <= value <= (entry.maximum or 0):
        return value
    field_error(f"Enter {entry.expected_text}.")
    return None


def _choose_listed_restaurant(restaurants: RestaurantIndex) -> tuple[int | None, str | None, str | None]:
    indices = np.arange(len(restaurants))
    if len(restaurants) > MAX_LISTED_RESTAURANTS:
        query = st.text_input("Search", key="order_search", placeholder="ID, city, or type of food") or ""
        indices = _search_restaurants(restaurants, query)
    labels_by_id = {
        int(restaurants.restaurant_id[index]): _restaurant_label(restaurants, int(index))
        for index in indices[:MAX_LISTED_RESTAURANTS]
    }
    restaurant_id = st.selectbox(
        "Restaurant",
        [*labels_by_id, UNKNOWN_CODE],
        format_func=lambda listed_id: "Another restaurant" if listed_id == UNKNOWN_CODE else labels_by_id[listed_id],
        key="order_restaurant",
        help="Type an ID, a city, or a type of food.",
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
    entered_id = _number_field("Restaurant ID", "restaurant_id", 1, 1, key="order_restaurant_id")
    restaurant_id = None if entered_id is None else int(entered_id)
    city_column, food_column = st.columns(2, wrap=False)
    if restaurants is None:
        city_text = city_column.text_input("City", key="order_city_text", placeholder="optional")
        food_text = food_column.text_input("Type of food", key="order_food_text", placeholder="optional")
        return restaurant_id, city_text, food_text
    vocabularies = restaurants.vocabularies
    return (
        restaurant_id,
        city_column.selectbox("City", vocabularies.city, index=None, key="order_city", placeholder="unknown"),
        food_column.selectbox(
            "Type of food", vocabularies.type_of_food, index=None, key="order_food", placeholder="unknown"
        ),
    )


def _search_restaurants(restaurants: RestaurantIndex, query: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return indices of restaurants whose ID starts with the query, or whose city or type of food contains it."""
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
    return "unknown" if code == UNKNOWN_CODE else vocabulary[code]


def _default_order_date(context: DashboardContext) -> dt.date:
    """Return the champion's as-of date, or today without a champion."""
    try:
        return context.bundle().manifest.date
    except PreptimeError:  # without a store, the API can still predict
        return dt.datetime.now(dt.UTC).date()


def _show_prediction(order: OrderInput, prediction: dict[str, object]) -> None:
    seconds = {name: predicted_seconds(prediction, level) or 0.0 for name, level in _QUANTILE_LEVELS.items()}
    clock_times = {"acknowledged": formatting.format_clock_time(order.acknowledged_at)}
    for name, value in seconds.items():
        format_time = formatting.format_clock_time_rounded_up if name == "p90" else formatting.format_clock_time
        clock_times[name] = format_time(order.acknowledged_at + dt.timedelta(seconds=value))
    clock_times["p50"] = formatting.format_clock_time(
        dt.datetime.fromisoformat(str(prediction[PREDICTED_READY_AT]))
    )  # rounded as in the prediction
    interval = formatting.format_interval(seconds["p10"], seconds["p90"])
    prediction_card(
        clock_times["p50"],
        f"{formatting.format_duration(seconds['p50'])} after acknowledgement",
        f"80% of such orders are ready {interval} after acknowledgement, and 90% by {clock_times['p90']}. "
        f"Based on {FALLBACK_LEVEL_DESCRIPTIONS[str(prediction[FALLBACK_LEVEL])]}.",
    )
    minutes = {name: value / 60 for name, value in seconds.items()}
    st.altair_chart(prediction_charts.prediction_timeline(minutes, clock_times, palette()), theme=None)
    caption("The band is p10 to p90. Its darker part is p50 to p80.")


def _current_values(order: OrderInput) -> dict[Variable, float]:
    return {
        "items": float(order.number_of_items),
        "value": order.order_value_gbp,
        "hour": order.acknowledged_at.hour,
        "day": float(order.acknowledged_at.weekday()),
    }
