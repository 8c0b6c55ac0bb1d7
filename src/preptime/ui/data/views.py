"""What is seen of the orders: distributions, preparation time by this and that, correlation, restaurants."""

from __future__ import annotations

import streamlit as st

from preptime.tables import looks
from preptime.tables.looked import Looked
from preptime.tables.looks import Cut, Distribution, Measure, Row
from preptime.ui.data import charts
from preptime.ui.parts import lead, notice
from preptime.ui.show import Column, picture, table
from preptime.ui.words import counted, day_of, minutes

_MEASURES: dict[Measure, tuple[str, str]] = {
    "prep_minutes": ("preparation time", "minutes"),
    "order_value_gbp": ("order value", "pounds"),
    "number_of_items": ("number of items", "items"),
}
_BESIDE: tuple[Measure, ...] = ("order_value_gbp", "number_of_items")
_CUTS: dict[Cut, tuple[str, charts.Kind]] = {
    "hour": ("local hour", "value"),
    "weekday": ("weekday", "value"),
    "day": ("local day", "day"),
    "city": ("city", "name"),
    "type_of_food": ("type of food", "name"),
}
_GROUPS = (
    Column("value", "value"),
    Column("orders", "orders", "count"),
    Column("median", "median, min", "number"),
    Column("q1", "quarter under, min", "number"),
    Column("q3", "quarter over, min", "number"),
    Column("mean", "mean, min", "number", "Pulled up by the few long delays"),
)
_RESTAURANTS = (
    Column("restaurant_id", "restaurant"),
    Column("city", "city"),
    Column("type_of_food", "type of food"),
    Column("orders", "orders", "count"),
    Column("median_minutes", "median, min", "number"),
    Column("p90_minutes", "one in ten over, min", "number"),
    Column("mean_value_gbp", "mean value", "pounds"),
)


def distributions(looked: Looked) -> None:
    """Preparation time, value and items, each with its outlier fence; then the first against the others."""
    lead(
        "The outlier fence is the notebook's: the third quartile and one and a half times the distance between the "
        "quartiles. What lies beyond is orange. Models are fitted on it all the same, up to three hours: real orders "
        "do take that long."
    )
    places = [st.container(), *st.columns(2)]
    for place, (measure, (title, unit)) in zip(places, _MEASURES.items(), strict=True):
        found = looks.distribution(looked, measure)
        if found is not None:
            with place:
                _distribution(found, title, unit)
    fence = looked.fence_minutes()
    for place, measure in zip(st.columns(2), _BESIDE, strict=True):
        with place:
            _dots(looked, measure, fence)


def _distribution(found: Distribution, title: str, unit: str) -> None:
    beyond = f"{found.beyond_fence / found.orders:.1%} of {counted(found.orders, 'order')} lie beyond the fence"
    more = f", {found.beyond_limit:,} beyond the picture (the largest at {found.largest:,.0f})"
    sentence = (
        f"Half of the orders lie between {found.q1:.1f} and {found.q3:.1f} {unit}, the median is {found.median:.1f}, "
        f"the mean {found.mean:.1f}; {beyond}{more if found.beyond_limit else ''}."
    )
    picture(
        title.capitalize(),
        sentence,
        lambda width, palette: charts.distribution(found, _axis(title, unit), unit, width, palette),
    )


def _dots(looked: Looked, measure: Measure, fence: float) -> None:
    title, unit = _MEASURES[measure]
    rows = looks.sample(looked, measure)
    found = looks.distribution(looked, measure)
    own = found.fence if found else 1.0
    picture(
        f"Preparation time against {title}",
        f"{len(rows):,} orders, drawn at random once and for all. Preparation times beyond their fence are orange; "
        "both end at twice their fences, at the edges.",
        lambda width, palette: charts.dots(rows, _axis(title, unit), (own, fence), width, palette),
    )


def _axis(title: str, unit: str) -> str:
    return title if title.endswith(unit) else f"{title}, {unit}"


def by_time_and_place(looked: Looked) -> None:
    """Preparation time by one thing that somebody picks."""
    cut = st.segmented_control(
        "By", list(_CUTS), format_func=lambda one: _CUTS[one][0], default="hour", required=True, key="data-cut"
    )
    title, kind = _CUTS[cut]
    rows = looks.by(looked, cut)
    drawn = rows[: looks.SHOWN_GROUPS] if kind == "name" else rows
    left, right = st.columns([3, 2])
    with left:
        picture(
            f"Preparation time by {title}",
            _extremes(rows, title),
            lambda width, palette: charts.by(drawn, kind, title, width, palette),
        )
    with right:
        picture(
            f"Orders by {title}",
            f"How many orders stand behind each; the largest {len(drawn)}."
            if kind == "name"
            else "How many orders stand behind each.",
            lambda width, palette: charts.counts(drawn, kind, title, width, palette),
        )
    table(rows, _GROUPS, key=f"groups-{cut}")


def _extremes(rows: list[Row], title: str) -> str:
    solid = [row for row in rows if not row["few"]] or rows
    slowest = max(solid, key=lambda row: float(row["median"]))
    fastest = min(solid, key=lambda row: float(row["median"]))
    return (
        f"Bars hold the middle half of the orders, the mark is the median; under {looks.FEW_ORDERS} orders pale. By "
        f"median the slowest {title} is {slowest['value']} ({float(slowest['median']):.1f} min), the fastest "
        f"{fastest['value']} ({float(fastest['median']):.1f} min)."
    )


def correlation(looked: Looked) -> None:
    """Every pair of numbers."""
    ranks = st.toggle(
        "By rank",
        value=True,
        key="ranks",
        help="Spearman's, which outliers don't rule. Off: Pearson's, the notebook's.",
    )
    rows = looks.correlation(looked, ranks=ranks)
    if not rows:
        notice("Nothing varies in these orders, so nothing correlates.", "Choose more of them.")
        return
    with_label = [row for row in rows if row["a"] == "preparation time" != row["b"]]
    strongest = max(with_label, key=lambda row: abs(float(row["r"])), default=None)
    told = (
        f" Closest to the preparation time comes: {strongest['b']} ({float(strongest['r']):+.2f})." if strongest else ""
    )
    picture(
        "Correlation" + (" of ranks" if ranks else ""),
        "Blue: they rise together; orange: one rises as the other falls; the stronger the colour, the more. "
        f"Near 0 a straight line says nothing.{told}",
        lambda width, palette: charts.correlation(rows, width, palette),
    )


def restaurants(looked: Looked) -> None:
    """Counts per restaurant, with what the notebook left out."""
    found = looks.restaurants(looked)
    lead(
        f"{counted(found.restaurants, 'restaurant')}. The notebook kept those with more than "
        f"{looks.NOTEBOOK_ENOUGH_ORDERS} orders: {found.kept_by_notebook:,} of them, with "
        f"{found.orders_kept / max(1, len(looked)):.0%} of the orders. preptime answers for all."
    )
    left, right = st.columns(2)
    with left:
        picture(
            "Restaurants by their number of orders",
            "Most restaurants have few orders: what is known of them is shrunk towards their city and food.",
            lambda width, palette: charts.restaurants(found.bands, "restaurants", width, palette),
        )
    with right:
        picture(
            "Orders by their restaurant's number of orders",
            "The same restaurants, counted by the orders they bring.",
            lambda width, palette: charts.restaurants(found.bands, "orders", width, palette),
        )
    if found.restaurants > len(found.table):
        lead(f"The {len(found.table):,} restaurants with most orders:")
    table(found.table, _RESTAURANTS, key="restaurants")


def summary(looked: Looked) -> list[tuple[str, str, str]]:
    """The figures above every view: what it is, the number, a word to it."""
    found = looks.distribution(looked, "prep_minutes")
    first, last = looked.days
    middle = found.median if found else 0.0
    cities = len(looked.values("city"))
    places = looked.frame["restaurant_id"].n_unique()
    return [
        ("orders", f"{len(looked):,}", f"{day_of(first)} to {day_of(last)} {last.year}"),
        ("restaurants", f"{places:,}", f"in {cities} {'city' if cities == 1 else 'cities'}"),
        ("median", minutes(middle * 60), "preparation time"),
        ("outlier fence", minutes(looked.fence_minutes() * 60), "of the preparation time"),
    ]
