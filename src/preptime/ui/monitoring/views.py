"""A morning in views: alerts, days, longer or shorter than said, segments, what the models are given, the data."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import streamlit as st

from preptime.evaluation import aggregates, charts, day_charts
from preptime.evaluation.documents import SegmentName
from preptime.evaluation.scores import COVERAGE_BAND
from preptime.evaluation.sentences import segment_coverage_sentence, segment_errors_sentence
from preptime.evaluation.verdict import NO_VALUE, in_minutes, in_percent
from preptime.monitoring import rows
from preptime.monitoring.document import Feature, Monitoring, Trail
from preptime.monitoring.reading import known_days
from preptime.ui.monitoring import charts as own
from preptime.ui.parts import figures, good, lead, notice, problem
from preptime.ui.show import Column, picture, table
from preptime.ui.words import counted, said_in_minutes

_CUTS: dict[SegmentName, str] = {
    "city": "city",
    "type_of_food": "type of food",
    "hour": "local hour",
    "items": "number of items",
    "basis": "basis of the answer",
}
_STATES = {"fired": "▲ fired", "quiet": "● quiet", "unknown": "– too little to judge by"}
_RULES = (
    Column("rule", "rule"),
    Column("state", "this morning"),
    Column("found", "found", "r"),
    Column("threshold", "fires at", "r"),
    Column("unit", "unit"),
    Column("sentence", "in words", "long"),
    Column("meaning", "what it watches", "long"),
    Column("reason", "why there", "long"),
    Column("false_alarms", "how often it is wrong", "long"),
)
_ALERTS = (
    Column("morning", "morning", "date"),
    Column("rule", "rule"),
    Column("value", "where"),
    Column("since", "since", "date"),
    Column("sentence", "what", "long"),
)
_SEGMENTS = (
    Column("value", "segment"),
    Column("n", "orders", "count"),
    Column("mae", "mean error", "minutes"),
    Column("lookup_mae", "lookup's", "minutes"),
    Column("bias", "bias", "minutes", "Predicted minus actual: below 0 the food came later than said"),
    Column("within_5_min", "within 5 min", "percent"),
    Column("coverage", "inside p10–p90", "percent"),
)
_FEATURES = (
    Column("name", "feature"),
    Column("unit", "unit"),
    Column("psi", "PSI", "r", "Population stability index: by custom above 0.25 is another population"),
    Column("p_adjusted", "p after Holm", "r", "Probability of such a difference, were nothing different"),
    Column("drifted", "drifted"),
    Column("reference_median", "median before", "number"),
    Column("recent_median", "median lately", "number"),
)
_BUNDLES = (
    Column("bundle", "bundle"),
    Column("answered", "answered", "count"),
    Column("days", "days"),
    Column("n", "with outcome", "count"),
    Column("mae", "mean error", "minutes"),
    Column("coverage", "inside p10–p90", "percent"),
)
_LABELS = (
    Column("reason", "reason"),
    Column("orders", "orders", "count"),
    Column("latest", "on the last day", "count"),
    Column("meaning", "meaning"),
)


def head(document: Monitoring) -> None:
    """Whether anything fired, in words, and the figures of the last seven days."""
    tell = problem if document.alerts else good if document.figures.n else notice
    tell(said_in_minutes(document.verdict[0]), said_in_minutes(" ".join(document.verdict[1:])))
    recent, promise = document.recent, document.promise
    promised = f"{in_minutes(promise.figures.mae)} min promised" if promise else "nothing promised"
    figures(
        [
            ("mean error", _minutes(recent.mae), promised),
            ("the lookup's", _minutes(recent.lookup_mae), "mean error of the restaurant lookup"),
            ("within five minutes", in_percent(recent.within_5_min), "of the answers"),
            ("inside p10–p90", in_percent(recent.coverage), "of the orders; 80 % are promised"),
        ]
    )
    days = document.recent_days
    lead(
        f"Of the last seven days, {days.first} to {days.last}; {recent.n:,} answered orders with an outcome. "
        f"Champion: {document.champion or 'none'}."
    )


def this_morning(document: Monitoring, documents: Sequence[Monitoring]) -> None:
    """What fired, every rule, and the alerts of the mornings before."""
    if len(documents) > 1:
        picture(
            "Alerts by morning",
            "Bars are what fired; a dot is a morning that looked and found nothing.",
            lambda width, palette: own.alerts(documents, width, palette),
        )
    every = [
        {"morning": one.date, "rule": alert.rule, "value": _part(alert.segment, alert.value), "since": alert.since,
         "sentence": said_in_minutes(alert.sentence)}
        for one in reversed(documents)
        for alert in one.alerts
    ]  # fmt: skip
    st.subheader("Alerts")
    if every:
        table(every, _ALERTS, key="alerts")
    else:
        lead("Nothing has fired on any morning that was looked at.")
    st.subheader("Rules")
    lead("Every rule, whether it fired or not, with its threshold and how often it is wrong.")
    table(
        [
            _told(one) | {"state": _STATES[one.state], "sentence": said_in_minutes(one.sentence)}
            for one in document.rules
        ],
        _RULES,
        key="rules",
    )


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
            f"In the four weeks before this morning {document.answers.unanswered:,} of {document.answers.orders:,} "
            f"orders have no answer, and {document.answers.open:,} answers no outcome yet.",
            lambda width, palette: day_charts.counted_days(volume, "orders", width, palette),
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
    cut = st.segmented_control(
        "Cut the orders by",
        list(_CUTS),
        format_func=_CUTS.__getitem__,
        default="city",
        required=True,
        key="watched-cut",
    )
    drawn = aggregates.segment_rows(document.segments, (cut,))
    if not drawn:
        notice("No answered order has an outcome yet.")
        return
    left, right = st.columns(2)
    with left:
        picture(
            f"Mean error by {_CUTS[cut]}",
            segment_errors_sentence(drawn),
            lambda width, palette: charts.cut_errors(drawn, width, palette),
        )
    with right:
        picture(
            f"Coverage of p10–p90 by {_CUTS[cut]}",
            segment_coverage_sentence(drawn),
            lambda width, palette: charts.cut_coverage(drawn, width, palette),
        )
    table([_told(one) for one in document.segments if one.segment == cut], _SEGMENTS, key=f"watched-{cut}")


def drift(document: Monitoring) -> None:
    """What the models are given lately, beside what they were trained on."""
    found = document.drift
    drawn = rows.stability_rows(document)
    if found.reference is None or found.recent is None or not drawn:
        notice(found.why_not or "There is nothing to compare.", "It takes some days after the champion's training.")
        return
    lead(
        f"The latest days, {found.recent.first} to {found.recent.last} ({found.recent_orders:,} orders), beside "
        f"{found.reference.first} to {found.reference.last} of the champion's training ({found.reference_orders:,})."
    )
    features = {one.name: one for one in found.features if one.bins}
    moved = rows.most_moved(document)
    left, right = st.columns(2)
    with left:
        picture(
            "How far each feature has moved",
            "The dashed line is what custom calls another population; orange has drifted by the rule, pale is shown "
            "and not tested, since it grows with time by its nature.",
            lambda width, palette: day_charts.stability(drawn, width, palette),
        )
    with right:
        names = sorted(features, key=lambda name: name != (moved.name if moved else ""))
        if names:
            _distribution(features[st.selectbox("Feature", names, key="drift-feature")])
    told = [_told(one) | {"drifted": "drifted" if one.drifted else ""} for one in found.features]
    table(told, _FEATURES, key="features")


def _distribution(feature: Feature) -> None:
    drawn = rows.distribution_rows(feature)
    picture(
        f"{feature.name}, {feature.unit}" if feature.unit else feature.name,
        "Bars are the latest days, ticks the days of the training: the same where nothing has changed.",
        lambda width, palette: day_charts.distribution(drawn, width, palette),
    )


def data(document: Monitoring) -> None:
    """Who answered, on what basis, and what the audit says of the outcomes."""
    counts = document.answers
    lead(
        f"{counts.orders:,} orders were ready in the four weeks; {counts.answered:,} had an answer "
        f"({counts.from_batch:,} in batch, {counts.from_api:,} by the API), {counts.evaluated:,} can be evaluated. "
        f"{counted(counts.unreadable_lines, 'line')} of the log held no record; "
        f"{counted(counts.repeated, 'answer')} came twice."
    )
    basis = rows.basis_rows(document)
    if basis and any(float(row["orders"]) for row in basis):
        picture(
            "Answers without an order of their restaurant behind them",
            "By the level of history that stood in for it: the coarser, the less is known.",
            lambda width, palette: day_charts.counted_days(basis, "answers", width, palette),
        )
    unseen = sum(day.unseen_restaurants for day in document.days)
    unknown = sum(day.unknown_categories for day in document.days)
    lead(
        f"{unseen:,} orders came from restaurants that are not in the restaurants file, {unknown:,} had a city or type "
        "of food that the answering bundle did not know."
    )
    if document.bundles:
        st.subheader("Bundles that answered")
        table(
            [_told(one) | _told(one.figures) | {"days": f"{one.days.first} to {one.days.last}"} for one in
             document.bundles],
            _BUNDLES,
            key="answered",
        )  # fmt: skip
    st.subheader("Labels")
    lead(f"{document.labels.evaluable:,} of {document.labels.rows:,} rows can be evaluated.")
    if document.labels.reasons:
        table([_told(one) for one in document.labels.reasons], _LABELS, key="labels-watched")


def _told(struct: msgspec.Struct) -> dict[str, object]:
    return msgspec.structs.asdict(struct)


def _minutes(seconds: float | None) -> str:
    return NO_VALUE if seconds is None else f"{in_minutes(seconds)} min"


def _part(segment: str, value: str) -> str:
    return "all orders" if segment == "overall" else value


def _called(trail: Trail) -> str:
    return _part(trail.segment, trail.value)
