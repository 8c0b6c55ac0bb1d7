"""Day by day: error, coverage and volume; longer or shorter than said; and the four weeks by segment."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import streamlit as st

from preptime.evaluation import aggregates, day_charts
from preptime.evaluation.documents import SegmentName
from preptime.evaluation.scores import COVERAGE_BAND
from preptime.evaluation.verdict import NO_VALUE, in_percent
from preptime.monitoring import rows
from preptime.monitoring.document import Day, Monitoring, Trail
from preptime.monitoring.reading import known_days
from preptime.ui.monitoring import charts as own
from preptime.ui.monitoring.alerts import part_of
from preptime.ui.parts import notice
from preptime.ui.segments import choose_cut, pictures_by, table_by
from preptime.ui.show import picture

_CUTS: tuple[SegmentName, ...] = ("city", "type_of_food", "hour", "items", "basis")


def by_day(document: Monitoring, documents: Sequence[Monitoring]) -> None:
    """Error, coverage and volume of every day that any morning speaks of."""
    whole = msgspec.structs.replace(document, days=known_days([one for one in documents if one.date <= document.date]))
    errors, coverage, volume = rows.error_rows(whole), rows.coverage_rows(whole), rows.volume_rows(whole)
    if not volume:
        notice("No day has an order or an answer yet.", "See the other views for what is missing.")
        return
    promised = None
    if document.promise is not None and document.promise.figures.mae is not None:
        promised = document.promise.figures.mae / aggregates.SECONDS_PER_MINUTE
    if errors:
        worst = max(errors, key=lambda row: float(row["mae"]))
        line = "" if promised is None else " The dashed line is what the backtest promised."
        picture(
            "Mean error by day",
            f"Bars are the model, ticks the restaurant lookup.{line} The worst day is {worst['day']}: "
            f"{float(worst['mae']):.1f} minutes.",
            lambda width, palette: day_charts.daily_errors(errors, promised, width, palette),
        )
    low, high = COVERAGE_BAND
    left, right = st.columns(2)
    with left:
        if coverage:
            picture(
                "Coverage of p10–p90 by day",
                "Dots are the share of orders inside, lines what chance allows; green is what was promised and its "
                f"band, {in_percent(low, 0)} to {in_percent(high, 0)}.",
                lambda width, palette: day_charts.daily_coverage(coverage, width, palette),
            )
    with right:
        picture(
            "Orders by day",
            _counted(whole.days),
            lambda width, palette: day_charts.counted_days(volume, "orders", width, palette),
        )


def _counted(days: Sequence[Day]) -> str:
    """The days that are drawn, in words."""
    orders, open_answers = sum(day.orders for day in days), sum(day.open for day in days)
    unanswered = orders - sum(day.answered - day.open for day in days)
    return (
        f"From {days[0].date} to {days[-1].date}, {unanswered:,} of {orders:,} orders have no answer, and "
        f"{open_answers:,} answers no outcome yet."
    )


def longer_or_shorter(document: Monitoring) -> None:
    """Actual ÷ predicted by day, of one part of the orders that somebody picks."""
    if not document.trails:
        notice("Too few days to know what is usual.", "It takes about a week of answers with outcomes.")
        return
    fired = {(alert.segment, alert.value) for alert in document.alerts}
    trails = sorted(document.trails, key=lambda one: ((one.segment, one.value) not in fired, one.segment != "overall"))
    place = st.selectbox(
        "Part of the orders", range(len(trails)), format_func=lambda one: _called(trails[one]), key="trail"
    )
    trail = trails[place]
    usual = NO_VALUE if trail.reference_ratio is None else f"{trail.reference_ratio:.2f}"
    lately = NO_VALUE if trail.recent_ratio is None else f"{trail.recent_ratio:.2f}"
    picture(
        f"Longer or shorter than said: {_called(trail)}",
        f"1 is food that is ready when it was said. Usual is {usual}, over the {trail.recent_days} latest days that "
        f"differ most {lately}; a triangle is a day whose morning after fired.",
        lambda width, palette: own.ratio(trail, width, palette),
    )


def by_segment(document: Monitoring) -> None:
    """Error and coverage of the four weeks by segment."""
    cut = choose_cut(_CUTS, key="watched")
    if not any(one.segment == cut for one in document.segments):
        notice("No answered order has an outcome yet.")
        return
    pictures_by(document.segments, cut)
    table_by(document.segments, cut, key=f"watched-{cut}")


def _called(trail: Trail) -> str:
    return part_of(trail.segment, trail.value)
