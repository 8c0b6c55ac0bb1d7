"""Proposes a schema for orders from the names and the contents of columns.

A column gets a role if its name is a synonym and its contents agree. If two readings are possible, such as 1 February
and 2 January for `01/02/2015`, both are proposed, and the caller asks or leaves the line open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from preptime.domain.data_dictionary import TARGET
from preptime.domain.time_zones import country_of_zone, load_time_zone
from preptime.errors import DataError
from preptime.formatting import format_count
from preptime.schema.column_contents import ColumnContents, TimeReading
from preptime.schema.feature_inference import MIN_COMPARED_ORDERS, propose_features
from preptime.schema.proposal import Inference, Proposal, Question, best_name, is_time
from preptime.schema.schema import DURATION_UNITS, PREP_TIME
from preptime.schema.synonyms import (
    CURRENCY_WORDS,
    DELIVERY_DURATIONS,
    DELIVERY_TIMES,
    MONEY_WORDS,
    ORDER_SYNONYMS,
    RESTAURANT_SYNONYMS,
    duration_unit,
    name_words,
)
from preptime.schema.time_inference import (
    column_value,
    is_after,
    propose_acknowledgement,
    propose_restaurant_zones,
    propose_time,
    seconds_between,
)
from preptime.schema.toml_text import TomlValue

MIN_LABEL_SECONDS, MAX_LABEL_SECONDS = 120, 3 * 3600
"""A median preparation or delivery time between these is plausible."""
MAX_RESTAURANT_SHARE = 0.9
"""A column with more different values than this share of the orders identifies orders, not restaurants."""
MIN_CENTS = 500
"""Whole numbers of money with a median from this are cents, unless a unit of the currency is worth little."""
_SMALL_UNIT_COUNTRIES = frozenset(
    [
        *("AF", "AL", "AM", "AO", "AR", "BD", "BF", "BI", "BJ", "BT", "CD", "CF", "CG", "CI", "CL", "CM", "CO", "CR"),
        *("CU", "CV", "CZ", "DJ", "DO", "DZ", "EG", "ER", "ET", "GA", "GM", "GN", "GQ", "GW", "GY", "HN", "HT", "HU"),
        *("ID", "IN", "IQ", "IR", "IS", "JM", "JP", "KE", "KG", "KH", "KM", "KP", "KR", "KZ", "LA", "LB", "LK", "LR"),
        *("LS", "MD", "MG", "MK", "ML", "MM", "MN", "MR", "MU", "MV", "MW", "MX", "MZ", "NA", "NC", "NE", "NG", "NI"),
        *("NP", "PF", "PH", "PK", "PY", "RS", "RU", "RW", "SC", "SD", "SL", "SN", "SO", "SR", "SS", "ST", "SY", "SZ"),
        *("TD", "TG", "TH", "TR", "TW", "TZ", "UA", "UG", "UY", "UZ", "VE", "VN", "VU", "WF", "YE", "ZA", "ZM", "ZW"),
    ]
)
"""Countries where a US dollar is about 15 units of the currency or more, so that 1,500 can be units."""
_DOLLARS = {
    code[:2]: code for code in ("ARS", "AUD", "CAD", "CLP", "COP", "HKD", "MXN", "NAD", "NZD", "SGD", "TWD", "UYU")
}
"""By country: the currency that `$` means there, if it isn't the US dollar. Its code starts with the country's."""


def infer_schema(
    orders: pl.DataFrame,
    restaurants: pl.DataFrame | None = None,
    *,
    time_zone: str = "",
    answers: Mapping[str, str] | None = None,
) -> Proposal:
    """Return a proposed schema.

    Args:
        orders: A sample of the orders, with the company's columns.
        restaurants: The restaurants, if there is a file.
        time_zone: The IANA time zone of all restaurants that have no other one.
        answers: Answers to questions of an earlier proposal, by name.

    Raises:
        DataError: The time zone is unknown, or no column contains times or restaurants.
    """
    for zone in (time_zone, (answers or {}).get("time_zone")):
        if zone:
            load_time_zone(zone)
    state = Inference(orders, restaurants, answers or {}, time_zone)
    _propose_source(state)
    restaurant = _find_restaurant(state)
    restaurant_roles = _propose_restaurants(state, restaurant)
    propose_restaurant_zones(state, restaurant, restaurant_roles)
    acknowledged = propose_acknowledgement(state)
    seconds = _propose_label(state, acknowledged)
    _propose_value(state)
    _propose_items(state)
    _propose_order_id(state)
    _propose_categories(state)
    restaurant_contents = state.restaurant_contents or {}
    features, unused = propose_features(
        [column for name, column in state.contents.items() if name not in {*state.roles, *state.proposal.unused}],
        [column for name, column in restaurant_contents.items() if name not in restaurant_roles.values()],
        seconds,
        acknowledged.times,
    )
    state.proposal.lines += features
    state.proposal.unused |= unused
    return state.proposal


def _propose_source(state: Inference) -> None:
    """Add the marks of numbers. The delimiter is detected in each file, so that files can have different ones."""
    if len(state.possible_marks) > 1:
        choices = tuple(
            (marks.decimal, f"1,234 is {'1.234' if marks.decimal == ',' else '1234'}") for marks in state.possible_marks
        )
        if (
            state.ask(Question("decimal", "Numbers such as 1,234 have two readings. Which one is right?", choices))
            is None
        ):
            state.add("source", "decimal", [",", "."], "Numbers such as 1,234 have two readings.")
            state.add("source", "thousands", [","], "Only if the decimal mark is a point.", is_required=False)
            return
    if state.marks.decimal != ".":
        state.add("source", "decimal", [state.marks.decimal], "Numbers have a decimal comma.")
    if state.marks.thousands:
        state.add("source", "thousands", [state.marks.thousands], "Numbers have a mark for thousands.")


def _find_restaurant(state: Inference) -> str:
    """Add the column that identifies restaurants, and return it."""
    repeated = {
        name: column
        for name, column in state.contents.items()
        if column.filled
        and not is_time(column)
        and (column.numbers is None or column.is_whole)
        and (column.filled < MIN_COMPARED_ORDERS or column.distinct <= MAX_RESTAURANT_SHARE * column.filled)
    }
    if not repeated:
        raise DataError(
            f"No column identifies restaurants. Existing columns: {', '.join(state.contents)}.",
            "Add a column with an identifier or a name of the restaurant.",
        )
    name = state.best(ORDER_SYNONYMS["restaurant_id"], repeated)
    if name is None:
        choices = tuple((column, f"{column} ({values.distinct:,} values)") for column, values in repeated.items())
        name = state.ask(Question("restaurant_id", "Which column identifies the restaurant?", choices))
    if name is None:
        state.add_candidates("restaurant_id", list(repeated), "The column that identifies the restaurant.")
        return next(iter(repeated))
    state.roles[name] = "restaurant_id"
    state.add("orders", "restaurant_id", [name], _values_comment(repeated[name]))
    return name


def _propose_restaurants(state: Inference, restaurant: str) -> dict[str, str]:
    """Map the columns of the restaurants file. Return the column of each canonical name."""
    if state.restaurant_contents is None:
        return {}
    roles: dict[str, str] = {}
    for key, synonyms in RESTAURANT_SYNONYMS.items():
        same = (restaurant,) if key == "restaurant_id" else ()
        name = best_name((*same, *synonyms), [name for name in state.restaurant_contents if name not in roles.values()])
        if name is not None:
            roles[key] = name
            value: TomlValue = {"column": name} if key in {"country", "time_zone"} else name
            state.add("restaurants", key, [value], _values_comment(state.restaurant_contents[name]))
    if "restaurant_id" not in roles:
        raise DataError(
            "No column of the restaurants file identifies restaurants. "
            f"Existing columns: {', '.join(state.restaurant_contents)}.",
            f"Add the column {restaurant}, which the orders have.",
        )
    return roles


def _propose_label(state: Inference, acknowledged: TimeReading) -> pl.Series | None:
    """Add the time or the duration that models predict. Return it in seconds, or None if there is none."""
    later = {name: column for name, column in state.timed().items() if is_after(acknowledged, column)}
    time, is_delivery = state.best(ORDER_SYNONYMS["order_ready_at"], later), False
    duration = state.best(ORDER_SYNONYMS[PREP_TIME], state.numeric())
    if time is None and duration is None:
        time, is_delivery = state.best(DELIVERY_TIMES, later), True
        duration = state.best(DELIVERY_DURATIONS, state.numeric())
    seconds = None
    if time is not None:
        state.roles[time] = "order_ready_at"
        seconds = seconds_between(acknowledged, propose_time(state, "order_ready_at", time))
    if duration is not None:
        seconds = _propose_duration(state, state.contents[duration], seconds)
    if is_delivery and seconds is not None:
        _propose_delivery_target(state, str(time or duration))
    return seconds


def _propose_duration(state: Inference, column: ColumnContents, measured: pl.Series | None) -> pl.Series | None:
    """Add a duration with its unit, unless it differs from the time between two times, which is then the label."""
    units = _duration_units(state, column, measured)
    seconds = None if column.numbers is None else column.numbers * _seconds_per_unit(units[0])
    if measured is not None and seconds is not None:
        differences = (seconds - measured).abs().drop_nulls()
        if not len(differences) or float(differences.quantile(0.95) or 0.0) > 1:
            state.proposal.unused[column.name] = "it differs from the ready time minus the acknowledgement, the label"
            return measured
    values = [column_value(column.name, {"unit": unit if unit != "s" or len(units) > 1 else ""}) for unit in units]
    state.roles[column.name] = TARGET
    meanings = [f"{column.median * _seconds_per_unit(unit) / 60:,.3g} minutes if the unit is {unit}" for unit in units]
    state.add("orders", PREP_TIME, values, f"The median is {column.median:,.10g}, which means {' or '.join(meanings)}.")
    return seconds


def _seconds_per_unit(unit: str) -> float:
    multiplier, divisor = DURATION_UNITS[unit]
    return multiplier / divisor


def _duration_units(state: Inference, column: ColumnContents, measured: pl.Series | None) -> list[str]:
    """Return the unit of a duration, or several if neither another label, the name, nor the median decides."""
    medians = {unit: column.median * _seconds_per_unit(unit) for unit in DURATION_UNITS}
    typical = None if measured is None else measured.median()
    if isinstance(typical, int | float) and typical > 0:
        return [min(medians, key=lambda unit: abs(math.log(medians[unit] / typical)))]
    plausible = [unit for unit, median in medians.items() if MIN_LABEL_SECONDS <= median <= MAX_LABEL_SECONDS]
    named = duration_unit(column.name)
    if named in plausible or (len(plausible) == 1 and not named):
        return [named or plausible[0]]
    candidates = [*plausible, *([named] if named else [])] or list(DURATION_UNITS)
    choices = tuple((unit, f"{unit}: the median is {column.median:,.10g} {unit}") for unit in candidates)
    answer = state.ask(Question("prep_time_unit", f"In which unit is {column.name}?", choices))
    return [answer] if answer in candidates else candidates


def _propose_delivery_target(state: Inference, name: str) -> None:
    comment = f"The column {name} is about the delivery, so the models predict delivery times."
    state.add("target", "name", ["delivery"], comment)
    state.add("target", "title", ["delivery time"], "A noun for charts and tables.")
    state.add("target", "event", ["delivered"], 'What happens at the end, after "the order is".')


def _propose_value(state: Inference) -> None:
    name = state.best(ORDER_SYNONYMS["order_value"], state.numeric())
    if name is None:
        return
    state.roles[name] = "order_value"
    column = state.contents[name]
    units, reason = _money_units(state, column)
    currency = _currency(state, column)
    values = [column_value(name, {"unit": unit, "currency": currency}) for unit in units]
    hint = "" if currency else ' Add a currency, such as currency = "USD", to show it.'
    comment = f"The median is {column.median:,.10g}{reason}.{hint}"
    state.add("orders", "order_value", values, comment, is_required=False)


def _money_units(state: Inference, column: ColumnContents) -> tuple[list[str], str]:
    """Return the possible units of money, with an empty one for units of the currency, and the end of the comment."""
    named = next((MONEY_WORDS[word] for word in name_words(column.name) if word in MONEY_WORDS), "")
    if named:
        return [named], f" {named}, by its name"
    if not column.is_whole or column.median < MIN_CENTS or column.currency:
        return [""], ""
    countries = set() if state.zones is None else {*map(country_of_zone, state.zones.drop_nulls().unique())}
    if countries and not countries & {"", *_SMALL_UNIT_COUNTRIES}:
        return ["cents"], ", and all values are whole numbers, so they are cents"
    choices = (
        ("units", f"{column.median:,.10g} units of the currency"),
        ("cents", f"{column.median / 100:,.2f} units"),
    )
    text = f"The median of {column.name} is {column.median:,.10g}. What does it mean?"
    answer = state.ask(Question("money_unit", text, choices, is_required=False))
    if answer is None:
        return ["", "cents"], ": units of the currency, or cents"
    return ["" if answer == "units" else "cents"], f", in {answer}"


def _currency(state: Inference, column: ColumnContents) -> str:
    """Return the ISO code of a column's name or cells, or an empty string if neither has it."""
    named = next((CURRENCY_WORDS[word] for word in name_words(column.name) if word in CURRENCY_WORDS), "")
    zones = None if state.zones is None else state.zones.drop_nulls()
    country = "" if zones is None or not len(zones) else country_of_zone(str(zones.mode()[0]))
    signs = {"$": _DOLLARS.get(country, "USD"), "¥": "CNY" if country == "CN" else "JPY"}
    return named or signs.get(column.currency, column.currency)


def _propose_items(state: Inference) -> None:
    whole = {name: column for name, column in state.numeric().items() if column.is_whole and column.median <= 1_000}
    name = state.best(ORDER_SYNONYMS["number_of_items"], whole)
    if name is not None:
        state.roles[name] = "number_of_items"
        comment = f"Whole numbers with a median of {whole[name].median:,.10g}."
        state.add("orders", "number_of_items", [name], comment)


def _propose_order_id(state: Inference) -> None:
    unique = _columns_with_names(state)
    unique = {
        name: column for name, column in unique.items() if column.distinct >= MAX_RESTAURANT_SHARE * column.filled
    }
    name = state.best(ORDER_SYNONYMS["order_id"], unique)
    if name is not None:
        state.roles[name] = "order_id"
        state.add("orders", "order_id", [name], _values_comment(unique[name]))


def _propose_categories(state: Inference) -> None:
    candidates = _columns_with_names(state)
    for key in ("country", "city", "type_of_food", "open_orders"):
        name = state.best(ORDER_SYNONYMS[key], candidates)
        if name is not None:
            state.roles[name] = key
            state.add("orders", key, [name], _values_comment(candidates[name]))


def _columns_with_names(state: Inference) -> dict[str, ColumnContents]:
    """Return the columns whose values can be names or codes: text and whole numbers, but no times."""
    return {
        name: column
        for name, column in state.contents.items()
        if column.filled and not is_time(column) and (column.numbers is None or column.is_whole)
    }


def _values_comment(column: ColumnContents) -> str:
    values, rows = format_count(column.distinct, "different value"), format_count(column.filled, "row")
    return f"{values} in {rows}, such as {column.example!r}."
