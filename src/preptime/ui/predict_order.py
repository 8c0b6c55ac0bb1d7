"""The tab "One order" of the page Predict: a form, the prediction on a timeline, and what-if charts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from preptime.domain.data_dictionary import Column
from preptime.domain.dispatch import MAX_TRAVEL_SECONDS, decide_order
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.restaurant_ids import EXPECTED_ID, UNKNOWN_RESTAURANT_KEY, parse_restaurant_id
from preptime.domain.time_units import TimeUnit
from preptime.domain.validation_reasons import ValidationReason, validation_rule
from preptime.errors import PreptimeError
from preptime.evaluation.report_data import backtest_from_manifest
from preptime.features.feature_set import valid_range
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import CustomFeature, Schema, Target
from preptime.scoring.field_values import FieldValues
from preptime.scoring.scorer import FALLBACK_LEVEL, PREDICTED_READY_AT, PREDICTION_REASON
from preptime.scoring.what_if import (
    OrderInput,
    Variable,
    WhatIf,
    predict_what_if,
    predicted_seconds,
    text_of_other_value,
)
from preptime.settings import Settings
from preptime.ui import formatting, prediction_charts
from preptime.ui.components import caption, field_error, metric_cards, prediction_card, show_error, unframed_chart
from preptime.ui.connections import DashboardContext
from preptime.ui.dispatch_fields import cost_ratio_field
from preptime.ui.display_names import FALLBACK_LEVEL_DESCRIPTIONS
from preptime.ui.order_explanation import draw_explanation
from preptime.ui.predictors import (
    Predictor,
    explain_api_error,
    known_field_values,
    known_restaurants,
    prediction_schema,
)
from preptime.ui.theme import palette

MAX_LISTED = 5_000
"""Maximum entries of a selection list. With more restaurants, a search field filters them first."""
_PLACES = {"city": "City", "country": "Country", "type_of_food": "Type of food"}
_DEFAULT_VALUE, _DEFAULT_ITEMS = 24.5, 3.0
"""The values of an order without a bundle."""
_WITHOUT_VALUE = "unknown"

FieldValue = float | str | None
_QUANTILE_LEVELS = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}
_DEFAULT_TRAVEL_SECONDS = 600.0
_MAX_CHARTS_IN_PAIRS = 4
"""More charts are drawn three in a row."""
_DESCRIPTIONS = {
    "hour": "The prediction for another hour of that day.",
    "weekday": "The prediction for another day of that week.",
    "items": "The prediction for more or fewer items.",
    "number": "The prediction for a higher or lower value.",
    "category": "The prediction for other values, the most frequent first.",
}


def draw_single_order(predictor: Predictor | None, context: DashboardContext) -> None:
    """Draw the form, the prediction, and the what-if charts."""
    schema = prediction_schema(predictor, context)
    restaurants = known_restaurants(context)
    values = {} if predictor is None else known_field_values(context, predictor.bundle_id)
    left, right = st.columns([2, 3], gap="large")
    with left:
        order = OrderForm(schema, restaurants, values, _default_order_date(context)).draw()
    if predictor is None or order is None:
        return
    try:
        what_if = predict_what_if(order, predictor.predict, schema, restaurants=restaurants, values=values)
        explanation = predictor.explain(order.to_frame(schema, restaurants))
    except PreptimeError as error:
        raise explain_api_error(error, context) from error
    with right:
        reason = what_if.prediction[PREDICTION_REASON]
        if reason is not None:
            show_error(
                "This order can't be predicted.", f"{validation_rule(ValidationReason(str(reason))).description}."
            )
            return
        _show_prediction(order, what_if.prediction, schema.target)
    unit = schema.target.time_unit
    if explanation is not None:
        draw_explanation(explanation, unit)
    if schema.target.has_dispatch:
        st.subheader("When to send the courier?")
        _show_dispatch(order, what_if.prediction, context.settings, unit)
    st.subheader("What if?")
    caption(f"The prediction (p50) in {unit.name}, and p10 to p90 as a band or bar. The dashed line marks this order.")
    _what_if_charts(what_if, _evaluated_hours(predictor, context), unit)


def _what_if_charts(what_if: WhatIf, hours: _EvaluatedHours | None, unit: TimeUnit) -> None:
    per_row = 2 if len(what_if.variables) <= _MAX_CHARTS_IN_PAIRS else 3
    for start in range(0, len(what_if.variables), per_row):
        columns = st.columns(per_row, gap="medium")
        for column, variable in zip(columns, what_if.variables[start : start + per_row], strict=False):
            with column:
                _what_if_chart(what_if, variable, hours, unit)


def _what_if_chart(what_if: WhatIf, variable: Variable, hours: _EvaluatedHours | None, unit: TimeUnit) -> None:
    rows = what_if.curves.filter(what_if.curves["variable"] == variable.name)
    unknown_hours: Sequence[int] = hours.without_orders if hours and variable.kind == "hour" else ()
    description = _DESCRIPTIONS[variable.kind]
    unframed_chart(
        formatting.capitalize_first(variable.title),
        f"{description} {hours.caption}" if hours and unknown_hours else description,
        prediction_charts.what_if_chart(rows, variable, palette(), unknown_hours=unknown_hours, unit=unit),
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


def _default_order_date(context: DashboardContext) -> dt.date:
    """Return the champion's as-of date, or today without a champion."""
    try:
        return context.bundle().manifest.date
    except PreptimeError:  # without a store, the API can still predict
        return dt.datetime.now(dt.UTC).date()


def _show_prediction(order: OrderInput, prediction: dict[str, object], target: Target) -> None:
    seconds = {name: predicted_seconds(prediction, level) or 0.0 for name, level in _QUANTILE_LEVELS.items()}
    clock_times = {"acknowledged": formatting.format_clock_time(order.acknowledged_at)}
    for name, value in seconds.items():
        format_time = formatting.format_clock_time_rounded_up if name == "p90" else formatting.format_clock_time
        clock_times[name] = format_time(order.acknowledged_at + dt.timedelta(seconds=value))
    clock_times["p50"] = formatting.format_clock_time(
        dt.datetime.fromisoformat(str(prediction[PREDICTED_READY_AT]))
    )  # rounded as in the prediction
    unit = target.time_unit
    interval = formatting.format_interval(seconds["p10"], seconds["p90"], unit)
    prediction_card(
        f"{target.event} at about",
        clock_times["p50"],
        f"{formatting.format_duration(seconds['p50'], unit)} after acknowledgement",
        f"80% of such orders are {target.event} {interval} after acknowledgement, and 90% by {clock_times['p90']}. "
        f"Based on {FALLBACK_LEVEL_DESCRIPTIONS[str(prediction[FALLBACK_LEVEL])]}.",
    )
    times = {name: value / unit.seconds for name, value in seconds.items()}
    st.altair_chart(prediction_charts.prediction_timeline(times, clock_times, palette(), unit), theme=None)
    caption("The band is p10 to p90. Its darker part is p50 to p80.")


@st.fragment
def _show_dispatch(order: OrderInput, prediction: dict[str, object], settings: Settings, unit: TimeUnit) -> None:
    """Draw the travel time and the ratio of the costs, the decision, and the costs by dispatch time.

    It's a fragment, so that the slider doesn't predict again.
    """
    quantiles = [predicted_seconds(prediction, level) or 0.0 for level in _QUANTILE_LEVELS.values()]
    left, right = st.columns([2, 3], gap="large")
    with left:
        travel = _travel_field(unit)
        level = cost_ratio_field(settings, key="order_cost_ratio")
    if travel is None:
        return
    decision = decide_order(quantiles, travel, level)
    dispatch_at = formatting.format_clock_time(order.acknowledged_at + dt.timedelta(seconds=decision.dispatch_seconds))
    with left:
        after = f"{formatting.format_duration(decision.dispatch_seconds, unit)} after acknowledgement"
        metric_cards(
            [
                ("dispatch at", dispatch_at, after),
                ("courier waits", formatting.format_duration(decision.courier_wait_seconds, unit), "expected"),
                ("food waits", formatting.format_duration(decision.food_wait_seconds, unit), "expected"),
            ]
        )
    with right:
        unframed_chart(
            "Cost by dispatch time",
            f"The courier should arrive at the {level:.0%} quantile of the ready time. The dashed line is the dispatch "
            "time with the lowest expected cost.",
            prediction_charts.waiting_cost_chart(quantiles, travel, level, palette(), unit),
        )


def _travel_field(unit: TimeUnit) -> float | None:
    """Draw the field for the travel time. Return it in seconds, or None if it's invalid."""
    maximum = MAX_TRAVEL_SECONDS / unit.seconds
    default = _DEFAULT_TRAVEL_SECONDS / unit.seconds
    value = st.number_input(f"Travel time to the restaurant, {unit.name}", value=default, key="order_travel")
    if 0 <= value <= maximum:
        return float(value) * unit.seconds
    field_error(f"Enter a number from 0 to {maximum:,.10g}.")
    return None


@dataclass(frozen=True, slots=True)
class InvalidField:
    """The value of a field that no order can have. The field shows the reason."""


@dataclass(frozen=True)
class OrderForm:
    """The form, with what is known about the orders of its schema."""

    schema: Schema
    restaurants: RestaurantIndex | None
    values: Mapping[str, FieldValues]
    date: dt.date
    """The default day."""

    def draw(self) -> OrderInput | None:
        """Draw the fields and return the order, or None if a value is invalid."""
        restaurant_id, places = self._choose_restaurant()
        fields = [
            *self._base_fields(),
            *((feature.name, self._feature_drawer(feature)) for feature in self.schema.order_features),
        ]
        entered = dict(_draw_in_pairs(fields))
        day_column, time_column = st.columns(2, wrap=False)
        date = day_column.date_input("Day", self.date, key="order_day")
        local_time = time_column.time_input("Local time at the restaurant", dt.time(19, 0), key="order_time", step=900)
        values = {name: value for name, value in entered.items() if not isinstance(value, InvalidField)}
        if restaurant_id is None or len(values) < len(entered):
            return None
        return OrderInput(restaurant_id, dt.datetime.combine(date, local_time), {**places, **values})

    def _base_fields(self) -> Iterator[tuple[str, Callable[[], FieldValue | InvalidField]]]:
        if self.schema.has("order_value"):
            currency = f", {self.schema.currency}" if self.schema.currency else ""
            value = self._default("order_value", _DEFAULT_VALUE)
            column = self.schema.column("order_value").declaration
            yield "order_value", lambda: _base_number(f"Value{currency}", column, value, 0.5, key="order_value")
        if self.schema.has("number_of_items"):
            items = int(self._default("number_of_items", _DEFAULT_ITEMS))
            column_of_items = self.schema.column("number_of_items").declaration
            yield "number_of_items", lambda: _base_number("Items", column_of_items, items, 1, key="order_items")

    def _default(self, name: str, without_bundle: float) -> float:
        default = self.values.get(name, FieldValues()).default
        return default if isinstance(default, int | float) else without_bundle

    def _feature_drawer(self, feature: CustomFeature) -> Callable[[], FieldValue | InvalidField]:
        seen = self.values.get(feature.name, FieldValues())
        if feature.type == "number":
            return lambda: _number_field(feature, seen)
        return lambda: _category_field(feature, seen) if seen.values else _text_field(feature)

    def _choose_restaurant(self) -> tuple[str | None, dict[str, str | None]]:
        """Return the identifier, or None if it's invalid, and the entered places of a restaurant that isn't listed."""
        restaurants = self.restaurants
        if restaurants is None or not len(restaurants):
            return self._enter_restaurant()
        positions = np.arange(len(restaurants))
        if len(restaurants) > MAX_LISTED:
            query = st.text_input("Search", key="order_search", placeholder="ID, city, or type of food") or ""
            positions = search_restaurants(restaurants, query)
        listed = positions[:MAX_LISTED]
        keys = restaurants.restaurant_id[listed].tolist()
        labels: dict[int, str] = {
            listed_key: _restaurant_label(restaurants, position)
            for listed_key, position in zip(keys, listed.tolist(), strict=True)
        }
        labels[UNKNOWN_RESTAURANT_KEY] = "Another restaurant"
        chosen_key = st.selectbox(
            "Restaurant",
            list(labels),
            format_func=labels.__getitem__,
            key="order_restaurant",
            help="Type an ID, a city, or a type of food.",
        )
        if chosen_key == UNKNOWN_RESTAURANT_KEY:
            return self._enter_restaurant()
        position = restaurants.position(chosen_key)
        city_column, food_column = st.columns(2, wrap=False)
        for column, name in ((city_column, "city"), (food_column, "type_of_food")):
            column.text_input(_PLACES[name], _place_name(restaurants, name, position), disabled=True)
        return restaurants.display_id(position), {}

    def _enter_restaurant(self) -> tuple[str | None, dict[str, str | None]]:
        entered = st.text_input("Restaurant ID", "1", key="order_restaurant_id")
        is_valid = not isinstance(parse_restaurant_id(entered), ValidationReason)
        if not is_valid:
            field_error(f"Enter {EXPECTED_ID}.")
        names = [name for name in _PLACES if self.schema.has(name)]
        places = dict(_draw_in_pairs([(name, self._place_drawer(name)) for name in names]))
        return entered if is_valid else None, {name: str(value) for name, value in places.items() if value}

    def _place_drawer(self, name: str) -> Callable[[], FieldValue | InvalidField]:
        label, key = _PLACES[name], {"type_of_food": "order_food"}.get(name, f"order_{name}")
        if self.restaurants is None:
            return lambda: st.text_input(label, key=f"{key}_text", placeholder="optional")
        vocabulary: tuple[str, ...] = getattr(self.restaurants.vocabularies, name)
        return lambda: st.selectbox(label, vocabulary, index=None, key=key, placeholder=_WITHOUT_VALUE)


def _draw_in_pairs(
    fields: Sequence[tuple[str, Callable[[], FieldValue | InvalidField]]],
) -> Iterator[tuple[str, FieldValue | InvalidField]]:
    """Draw fields in two columns, and yield the name and the value of each."""
    for start in range(0, len(fields), 2):
        for column, (name, draw) in zip(st.columns(2, wrap=False), fields[start : start + 2], strict=False):
            with column:
                yield name, draw()


def _base_number(label: str, column: Column, default: float, step: float, *, key: str) -> FieldValue | InvalidField:
    """Draw a field for a number. Show the valid range below an invalid number.

    Streamlit's own limits would keep the previous valid number, and with it the previous prediction.
    """
    value = st.number_input(label, value=default, step=step, key=key)
    if (column.minimum or 0) <= value <= (column.maximum or 0):
        return float(value)
    field_error(f"Enter {column.expected_text}.")
    return InvalidField()


def _number_field(feature: CustomFeature, seen: FieldValues) -> FieldValue | InvalidField:
    minimum, maximum, expected = valid_range(feature)
    key = f"order_feature_{feature.name}"
    # A default in the session's state, unlike one of the widget, lets the user empty the field.
    st.session_state.setdefault(key, seen.default)
    value = st.number_input(
        field_label(feature),
        value=None,
        key=key,
        placeholder=_WITHOUT_VALUE,
        format="%.10g",
        help=f"{expected.capitalize()}. {_help(feature)}",
    )
    if value is None:
        return _missing(feature, expected)
    if minimum <= value <= maximum:
        return float(value)
    field_error(f"Enter {expected}.")
    return InvalidField()


def _category_field(feature: CustomFeature, seen: FieldValues) -> FieldValue | InvalidField:
    """Draw a list of the values in the bundle, most frequent first, and of any other value."""
    listed = seen.values[:MAX_LISTED]
    key = f"order_feature_{feature.name}"
    st.session_state.setdefault(key, listed[0])
    value = st.selectbox(
        field_label(feature),
        [*listed, text_of_other_value(seen.values)],
        index=None,
        key=key,
        placeholder=_WITHOUT_VALUE,
        help=_help(feature),
    )
    return _missing(feature, "a value") if value is None else value


def _text_field(feature: CustomFeature) -> FieldValue | InvalidField:
    text = st.text_input(
        field_label(feature), key=f"order_feature_{feature.name}", placeholder=_WITHOUT_VALUE, help=_help(feature)
    ).strip()
    return text or _missing(feature, "a text")


def _missing(feature: CustomFeature, expected: str) -> InvalidField | None:
    """Return that the value is missing, or show that it's required."""
    if not feature.required:
        return None
    field_error(f"Enter {expected}.")
    return InvalidField()


def field_label(feature: CustomFeature) -> str:
    """Return the label of the field of a feature, as Markdown that shows the company's own text."""
    name = formatting.capitalize_first(feature.display_name)
    return formatting.escape_markdown(f"{name}, {feature.unit}" if feature.unit else name)


def _help(feature: CustomFeature) -> str:
    required = "Required" if feature.required else "Optional"
    return f"{required}. Column: `{feature.column}`."


def search_restaurants(restaurants: RestaurantIndex, query: str) -> NDArray[np.intp]:
    """Return positions of restaurants whose ID starts with the query, or whose city or type of food contains it."""
    search_text = query.strip().lower()
    cities = [code for code, name in enumerate(restaurants.vocabularies.city) if search_text in name.lower()]
    foods = [code for code, name in enumerate(restaurants.vocabularies.type_of_food) if search_text in name.lower()]
    is_match = np.isin(restaurants.city, cities) | np.isin(restaurants.type_of_food, foods)
    if search_text.isdigit():
        is_match |= np.char.startswith(restaurants.restaurant_id.astype(str), search_text)
    names = restaurants.names.texts()
    is_match[: len(names)] |= np.array([name.lower().startswith(search_text) for name in names], np.bool_)
    return np.flatnonzero(is_match)


def _restaurant_label(restaurants: RestaurantIndex, position: int) -> str:
    places = (_place_name(restaurants, name, position) for name in ("city", "type_of_food"))
    return " · ".join((restaurants.display_id(position), *places))


def _place_name(restaurants: RestaurantIndex, name: str, position: int) -> str:
    code = int(getattr(restaurants, name)[position])
    vocabulary: tuple[str, ...] = getattr(restaurants.vocabularies, name)
    return "unknown" if code == UNKNOWN_CODE else vocabulary[code]
