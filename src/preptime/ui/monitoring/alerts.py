"""The view "Alerts and rules" of the page Monitoring, and the charts that only this page has.

The charts of the monitoring report are in `preptime.evaluation.daily_charts`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import altair as alt
import msgspec
import streamlit as st

from preptime.domain.time_units import TimeUnit
from preptime.evaluation.charts import Chart, Palette, with_size, with_theme
from preptime.evaluation.daily_charts import day_axis
from preptime.evaluation.summary_text import format_percent, format_time, without_ends_text
from preptime.features.feature_set import FeatureSet
from preptime.formatting import format_count, format_signed
from preptime.monitoring.document import MonitoringDocument, RatioSeries, RuleStatus
from preptime.ui.components import (
    Column,
    caption,
    chart_card,
    data_table,
    metric_cards,
    show_error,
    show_info,
    show_success,
)
from preptime.ui.connections import get_context
from preptime.ui.display_names import UNIT_TITLES, names_to_titles, readable_name
from preptime.ui.formatting import document_text

_CHART_HEIGHT = 230
_UTC = alt.Scale(type="utc")
_DAY_AXIS = alt.Axis(format="%-d %b", labelOverlap=True, title="day")


def ratio_chart(series: RatioSeries, width: int, palette: Palette) -> Chart:
    """Return actual ÷ predicted of one segment by day. Days with an alert have another color and shape."""
    rows = [
        {
            "day": day.date.isoformat(),
            "ratio": day.ratio,
            "fired": day.fired,
            "tip": f"{day.date}: {day.ratio:.2f} over {day.n:,} orders, test statistic "
            f"{format_signed(day.statistic, 1)} (threshold: {series.threshold:g})",
        }
        for day in series.days
    ]
    ratios = [day.ratio for day in series.days]
    scale = alt.Scale(domain=[min([0.9, *ratios]), max([1.1, *ratios])], nice=True, zero=False)
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=alt.X("day:T", axis=_DAY_AXIS, scale=_UTC))
    y = alt.Y("ratio:Q", title="actual ÷ predicted", scale=scale, axis=alt.Axis(format=".2f"))
    line = base.mark_line(color=palette.model, strokeWidth=2, opacity=0.7).encode(y=y)
    shape_scale = alt.Scale(domain=[False, True], range=["circle", "triangle-up"])
    points = base.mark_point(filled=True, opacity=1).encode(
        y=y,
        color=alt.Color(
            "fired:N", scale=alt.Scale(domain=[False, True], range=[palette.model, palette.lookup]), legend=None
        ),
        shape=alt.Shape("fired:N", scale=shape_scale, legend=None),
        size=alt.Size("fired:N", scale=alt.Scale(domain=[False, True], range=[35, 150]), legend=None),
        description=alt.Description("tip:N"),
    )
    reference_line = (
        alt.Chart().mark_rule(color=palette.text, strokeDash=[4, 4], opacity=0.6).encode(y=alt.YDatum(1.0, scale=scale))
    )
    return with_theme(with_size(alt.LayerChart(layer=[reference_line, line, points]), width, _CHART_HEIGHT), palette)


def alert_counts(documents: Sequence[MonitoringDocument], width: int, palette: Palette) -> Chart:
    """Return the number of alerts by as-of date. A dot marks a date without alerts: empty if rules are undecided.

    A date without a document is a gap.
    """
    rows = [
        {
            "day": document.date.isoformat(),
            "alerts": len(document.alerts),
            "status": document.status,
            "tip": f"{document.date}: "
            + ("; ".join(alert.message for alert in document.alerts) or status_text(document)),
        }
        for document in documents
    ]
    dates = [document.date for document in documents]
    days = [str(min(dates) + dt.timedelta(days=count)) for count in range((max(dates) - min(dates)).days + 1)]
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=day_axis(days, width), description=alt.Description("tip:N"))
    max_alerts = max(1, *(len(document.alerts) for document in documents))
    y = alt.Y(
        "alerts:Q",
        title="alerts",
        scale=alt.Scale(domain=[0, max_alerts], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1),
    )
    bars = base.mark_bar(color=palette.lookup, cornerRadiusEnd=2).encode(y=y)
    quiet_points, undecided_points = (
        base.transform_filter(f"datum.status === '{status}'")
        .mark_point(color=color, filled=filled, size=45, opacity=1)
        .encode(y=alt.YDatum(0))
        for status, color, filled in (("quiet", palette.band, True), ("undecided", palette.secondary_text, False))
    )
    return with_theme(with_size(alt.LayerChart(layer=[bars, quiet_points, undecided_points]), width, 150), palette)


_STATUS_LABELS: dict[RuleStatus, str] = {"alerting": "▲ alerting", "quiet": "● quiet", "undecided": "– undecided"}
_RULE_COLUMNS = (
    Column("rule", "rule"),
    Column("status", "status"),
    Column("observed", "observed", "decimal"),
    Column("threshold", "threshold", "decimal"),
    Column("unit", "unit"),
    Column("message", "result", "long"),
    Column("description", "what it checks", "long"),
    Column("threshold_reason", "reason for the threshold", "long"),
    Column("false_alarm_rate", "false alarms", "long"),
)
_ALERT_COLUMNS = (
    Column("as_of", "as-of date", "date"),
    Column("rule", "rule"),
    Column("value", "segment"),
    Column("since", "since", "date"),
    Column("message", "message", "long"),
)


def show_headline(document: MonitoringDocument) -> None:
    """Draw the headline and the metrics of the last seven days.

    The callout is red for an alert, green if all rules are quiet, and blue if rules are undecided.
    """
    callouts = {"alerting": show_error, "quiet": show_success, "undecided": show_info}
    unit = unit_of(document)
    first, *others = (document_text(sentence, unit) for sentence in document.headline)
    callouts[document.status](first, " ".join(others))
    recent, baseline = document.recent_metrics, document.backtest_baseline
    baseline_text = f"backtest: {_time_text(baseline.metrics.mae, unit)}" if baseline else "no backtest baseline"
    coverage_text = f"of the orders{without_ends_text(recent.coverage, recent.coverage_inside)} (expected: 80%)"
    metric_cards(
        [
            ("mean error", _time_text(recent.mae, unit), baseline_text),
            ("lookup's mean error", _time_text(recent.lookup_mae, unit), "of the restaurant lookup"),
            (f"within {unit.five_minutes}", format_percent(recent.within_5_min), "of the predictions"),
            ("inside p10–p90", format_percent(recent.coverage), coverage_text),
        ]
    )
    window = document.recent_days
    caption(
        f"Last seven days, {window.first} to {window.last}: {recent.n:,} orders with a prediction and an outcome. "
        f"Champion: {document.champion or 'none'}."
    )


def features_of(document: MonitoringDocument) -> FeatureSet:
    """Return the features of the champion that a document is about."""
    return FeatureSet.from_schema(get_context().schema(document.champion))


def unit_of(document: MonitoringDocument) -> TimeUnit:
    """Return the unit of the target of the champion that a document is about."""
    return get_context().time_unit(document.champion)


def alerts_and_rules(document: MonitoringDocument, documents: Sequence[MonitoringDocument]) -> None:
    """Draw the alerts up to this date, and every rule with its status."""
    features, unit = features_of(document), unit_of(document)
    alert_rows = [
        {
            "as_of": item.date,
            "rule": readable_name(alert.rule),
            "value": segment_name(alert.segment, alert.value),
            "since": alert.since,
            "message": names_to_titles(document_text(alert.message, unit), features),
        }
        for item in reversed(documents)
        for alert in item.alerts
    ]
    st.subheader("Alerts")
    if alert_rows:
        data_table(alert_rows, _ALERT_COLUMNS, key="alerts")
    else:
        caption("There are no alerts on the monitored dates.")
    if len(documents) > 1:
        chart_card(
            "Alerts by as-of date",
            "Bars are the number of alerts. A filled dot is a date on which all rules are quiet. On a date with an "
            "empty dot, some rules are undecided, because they have too little data.",
            lambda width, palette: alert_counts(documents, width, palette),
        )
    st.subheader("Rules")
    caption(
        "Every rule with its status, its threshold, and its rate of false alarms. An undecided rule has too little "
        "data."
    )
    data_table(
        [
            msgspec.structs.asdict(item)
            | {
                "rule": readable_name(item.name),
                "status": _STATUS_LABELS[item.status],
                "threshold_reason": names_to_titles(item.threshold_reason, features),
                "unit": UNIT_TITLES.get(item.unit, item.unit),
                "message": names_to_titles(document_text(item.message, unit), features),
            }
            for item in document.rules
        ],
        _RULE_COLUMNS,
        key="rules",
    )


def status_text(document: MonitoringDocument) -> str:
    """Return the status of a date in a few words: `2 alerts`, `quiet`, or `8 of 15 rules undecided`."""
    if document.status == "alerting":
        return format_count(len(document.alerts), "alert")
    undecided = sum(rule.status == "undecided" for rule in document.rules)
    return f"{undecided} of {len(document.rules)} rules undecided" if undecided else "quiet"


def _time_text(seconds: float | None, unit: TimeUnit) -> str:
    return format_time(seconds, unit) if seconds is None else unit.text(seconds)


def segment_name(segment: str, value: str) -> str:
    """Return the name of a segment for people."""
    return "all orders" if segment == "overall" else value
