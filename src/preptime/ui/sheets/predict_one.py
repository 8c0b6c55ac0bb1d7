"""One order on the page Predict: a form, the answer on a line of time, and what if."""

from __future__ import annotations

import datetime as dt

import numpy as np
import streamlit as st

from preptime.domain.order import UNKNOWN
from preptime.domain.verdict import Reason, rule
from preptime.errors import PreptimeError
from preptime.features.directory import Directory
from preptime.scoring.columns import BASIS, READY_AT, REASON
from preptime.scoring.what_if import THINGS, OneOrder, Thing, ask_what_if, seconds_of
from preptime.ui import pictures, words
from preptime.ui.access import Access
from preptime.ui.asking import Asked, explained, known_directory
from preptime.ui.parts import answer_card, lead, picture, problem
from preptime.ui.theme import palette

MOST_LISTED = 5_000
"""Restaurants that a list to type in may have; with more, a search narrows them first."""
_LEVELS = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}
_TITLES: dict[Thing, tuple[str, str]] = {
    "items": ("Items", "If it had more or fewer items."),
    "value": ("Value", "If it were worth more or less."),
    "hour": ("Hour", "If it came at another hour of that day."),
    "day": ("Day", "If it came on another day of that week."),
}


def draw_one(asked: Asked | None, reach: Access) -> None:
    """The form, and below it the answer."""
    left, right = st.columns([2, 3], gap="large")
    with left:
        order = _form(known_directory(reach), reach)
    if asked is None or order is None:
        return
    try:
        found = ask_what_if(order, asked.answers)
    except PreptimeError as error:
        raise explained(error, reach) from error
    with right:
        reason = found.answer[REASON]
        if reason is not None:
            problem("This order cannot be predicted.", f"{rule(Reason(str(reason))).meaning}.")
            return
        _answer(order, found.answer)
    st.subheader("What if?")
    lead("The line is the answer (p50), the band p10 to p90, the dashed line the order as it stands. Minutes.")
    now = _now(order)
    for pair in (THINGS[:2], THINGS[2:]):
        for column, thing in zip(st.columns(2, gap="large"), pair, strict=True):
            with column:
                rows = found.curves.filter(found.curves["thing"] == thing)
                picture(*_TITLES[thing], pictures.curve(rows, thing, now[thing], palette()))


def _form(directory: Directory | None, reach: Access) -> OneOrder | None:
    restaurant, city, food = _listed(directory) if directory is not None and len(directory) else _unlisted(directory)
    value, items = st.columns(2, wrap=False)
    pounds = value.number_input("Value, £", 0.0, 100_000.0, 24.5, 0.5, key="one_value")
    count = items.number_input("Items", 1, 10_000, 3, 1, key="one_items")
    day, time = st.columns(2, wrap=False)
    date = day.date_input("Day", _morning(reach), key="one_day")
    clock = time.time_input("Time, restaurant's clock", dt.time(19, 0), key="one_time", step=900)
    if restaurant is None or clock is None:
        return None
    moment = dt.datetime.combine(date, clock)
    return OneOrder(restaurant, moment, float(pounds), int(count), city or None, food or None)


def _listed(directory: Directory) -> tuple[int | None, str | None, str | None]:
    places = np.arange(len(directory))
    if len(directory) > MOST_LISTED:
        wanted = st.text_input("Search", key="one_search", placeholder="id, city or type of food") or ""
        places = _matches(directory, wanted)
    names = {int(directory.restaurant_id[place]): _label(directory, int(place)) for place in places[:MOST_LISTED]}
    chosen = st.selectbox(
        "Restaurant",
        [*names, UNKNOWN],
        format_func=lambda one: "another, not in this list" if one == UNKNOWN else names[one],
        key="one_restaurant",
        help="Type an id, a city or a type of food.",
    )
    if chosen == UNKNOWN:
        return _unlisted(directory)
    place = int(directory.positions(np.array([chosen]))[0])
    words_of = directory.vocabularies
    city, food = st.columns(2, wrap=False)
    city.text_input("City", _word(words_of.city, directory.city[place]), disabled=True)
    food.text_input("Type of food", _word(words_of.type_of_food, directory.type_of_food[place]), disabled=True)
    return chosen, None, None


def _unlisted(directory: Directory | None) -> tuple[int | None, str | None, str | None]:
    number = st.number_input("Restaurant's id", 0, 2**53 - 1, 1, 1, key="one_number")
    city, food = st.columns(2, wrap=False)
    if directory is None:
        where = city.text_input("City", key="one_city_text", placeholder="optional")
        what = food.text_input("Type of food", key="one_food_text", placeholder="optional")
        return int(number), where, what
    words_of = directory.vocabularies
    return (
        int(number),
        city.selectbox("City", words_of.city, index=None, key="one_city", placeholder="not known"),
        food.selectbox("Type of food", words_of.type_of_food, index=None, key="one_food", placeholder="not known"),
    )


def _matches(directory: Directory, wanted: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Places of restaurants whose id begins with what is searched, or whose city or food holds it."""
    text = wanted.strip().lower()
    cities = [code for code, name in enumerate(directory.vocabularies.city) if text in name.lower()]
    foods = [code for code, name in enumerate(directory.vocabularies.type_of_food) if text in name.lower()]
    found = np.isin(directory.city, cities) | np.isin(directory.type_of_food, foods)
    if text.isdigit():
        found |= np.char.startswith(directory.restaurant_id.astype(str), text)
    return np.flatnonzero(found)


def _label(directory: Directory, place: int) -> str:
    of = directory.vocabularies
    return f"{directory.restaurant_id[place]} · {_word(of.city, directory.city[place])} · " + _word(
        of.type_of_food, directory.type_of_food[place]
    )


def _word(vocabulary: tuple[str, ...], code: np.int32) -> str:
    return "not known" if code == UNKNOWN else vocabulary[code]


def _morning(reach: Access) -> dt.date:
    """The day whose morning the champion knows, so that the form needs no clock."""
    try:
        return reach.bundle().manifest.date
    except PreptimeError:  # a page without a store: the API may still answer
        return dt.datetime.now(dt.UTC).date()


def _answer(order: OneOrder, answer: dict[str, object]) -> None:
    seconds = {name: seconds_of(answer, level) or 0.0 for name, level in _LEVELS.items()}
    clocks = {"acknowledged": words.clock(order.acknowledged_at)}
    for name, value in seconds.items():
        said = words.clock_by if name == "p90" else words.clock
        clocks[name] = said(order.acknowledged_at + dt.timedelta(seconds=value))
    clocks["p50"] = words.clock(dt.datetime.fromisoformat(str(answer[READY_AT])))  # as the answer rounds its seconds
    answer_card(
        clocks["p50"],
        f"{words.minutes(seconds['p50'])} after it was acknowledged",
        f"Eight orders in ten like it are ready {words.between(seconds['p10'], seconds['p90'])} after, nine in ten by "
        f"{clocks['p90']}. It stands on {words.BASIS[str(answer[BASIS])]}.",
    )
    minutes = {name: value / 60 for name, value in seconds.items()}
    st.altair_chart(pictures.timeline(minutes, clocks, palette()), theme=None)
    lead("The band is p10 to p90; its darker part begins where half are ready and ends at p80, eight in ten.")


def _now(order: OneOrder) -> dict[Thing, float]:
    return {
        "items": float(order.number_of_items),
        "value": order.order_value_gbp,
        "hour": order.acknowledged_at.hour,
        "day": float(order.acknowledged_at.weekday()),
    }
