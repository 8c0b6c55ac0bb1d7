"""Pictures that only this page draws; those of a morning's report are `preptime.evaluation.daily_charts`.

What fired on a morning and before, and how every rule stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import msgspec
import streamlit as st

from preptime.evaluation.charts import Chart, Palette, with_size, with_theme
from preptime.evaluation.summary_text import NO_VALUE, format_minutes, format_percent
from preptime.monitoring.document import MonitoringDocument, RatioSeries
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
from preptime.ui.formatting import seconds_to_minutes_in_text

_CHART_HEIGHT = 230
_UTC = alt.Scale(type="utc")
_DAY_AXIS = alt.Axis(format="%-d %b", labelOverlap=True, title="day")


def ratio_chart(series: RatioSeries, width: int, palette: Palette) -> Chart:
    """Actual ÷ predicted of one part of the orders by day; what fired stands out in colour and shape."""
    rows = [
        {
            "day": day.date.isoformat(),
            "ratio": day.ratio,
            "fired": day.fired,
            "tip": f"{day.date}: {day.ratio:.2f} over {day.n:,} orders, evidence {day.statistic:+.1f} "
            f"(fires at {series.threshold:g})",
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
    """Alerts of each morning, and mornings that looked and found nothing."""
    rows = [
        {
            "day": document.date.isoformat(),
            "alerts": len(document.alerts),
            "tip": f"{document.date}: " + ("; ".join(alert.message for alert in document.alerts) or "nothing fired"),
        }
        for document in documents
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("utcyearmonthdate(day):T", axis=_DAY_AXIS, scale=_UTC), description=alt.Description("tip:N")
    )
    max_alerts = max(1, *(len(document.alerts) for document in documents))
    y = alt.Y(
        "alerts:Q",
        title="alerts",
        scale=alt.Scale(domain=[0, max_alerts], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1),
    )
    bars = base.mark_bar(color=palette.lookup, cornerRadiusEnd=2, width={"band": 0.6}).encode(y=y)
    quiet_points = (
        base.transform_filter("datum.alerts === 0")
        .mark_point(color=palette.band, filled=True, size=45, opacity=1)
        .encode(y=alt.YDatum(0))
    )
    return with_theme(with_size(alt.LayerChart(layer=[bars, quiet_points]), width, 150), palette)


_STATE_LABELS = {"fired": "▲ fired", "ok": "● quiet", "insufficient_data": "– too little to judge by"}
_RULE_COLUMNS = (
    Column("rule", "rule"),
    Column("status", "status"),
    Column("observed", "observed", "r"),
    Column("threshold", "fires at", "r"),
    Column("unit", "unit"),
    Column("message", "in words", "long"),
    Column("description", "what it watches", "long"),
    Column("threshold_reason", "why there", "long"),
    Column("false_alarm_rate", "how often it is wrong", "long"),
)
_ALERT_COLUMNS = (
    Column("as_of", "as-of date", "date"),
    Column("rule", "rule"),
    Column("value", "where"),
    Column("since", "since", "date"),
    Column("message", "what", "long"),
)


def show_headline(document: MonitoringDocument) -> None:
    """Whether anything fired, in words, and the figures of the last seven days."""
    show_callout = show_error if document.alerts else show_success if document.metrics.n else show_info
    show_callout(
        seconds_to_minutes_in_text(document.headline[0]), seconds_to_minutes_in_text(" ".join(document.headline[1:]))
    )
    recent, baseline = document.recent_metrics, document.backtest_baseline
    baseline_text = f"{format_minutes(baseline.metrics.mae)} min promised" if baseline else "nothing promised"
    metric_cards(
        [
            ("mean error", _format_minutes(recent.mae), baseline_text),
            ("the lookup's", _format_minutes(recent.lookup_mae), "mean error of the restaurant lookup"),
            ("within five minutes", format_percent(recent.within_5_min), "of the answers"),
            ("inside p10–p90", format_percent(recent.coverage), "of the orders; 80 % are promised"),
        ]
    )
    window = document.recent_days
    caption(
        f"Of the last seven days, {window.first} to {window.last}; {recent.n:,} answered orders with an outcome. "
        f"Champion: {document.champion or 'none'}."
    )


def alerts_and_rules(document: MonitoringDocument, documents: Sequence[MonitoringDocument]) -> None:
    """What fired, every rule, and the alerts of the mornings before."""
    if len(documents) > 1:
        chart_card(
            "Alerts by as-of date",
            "Bars are what fired; a dot is a morning that looked and found nothing.",
            lambda width, palette: alert_counts(documents, width, palette),
        )
    alert_rows = [
        {"as_of": item.date, "rule": alert.rule, "value": group_name(alert.segment, alert.value), "since": alert.since,
         "message": seconds_to_minutes_in_text(alert.message)}
        for item in reversed(documents)
        for alert in item.alerts
    ]  # fmt: skip
    st.subheader("Alerts")
    if alert_rows:
        data_table(alert_rows, _ALERT_COLUMNS, key="alerts")
    else:
        caption("Nothing has fired on any morning that was looked at.")
    st.subheader("Rules")
    caption("Every rule, whether it fired or not, with its threshold and how often it is wrong.")
    data_table(
        [
            struct_to_dict(item)
            | {"status": _STATE_LABELS[item.status], "message": seconds_to_minutes_in_text(item.message)}
            for item in document.rules
        ],
        _RULE_COLUMNS,
        key="rules",
    )


def _format_minutes(seconds: float | None) -> str:
    return NO_VALUE if seconds is None else f"{format_minutes(seconds)} min"


def group_name(segment: str, value: str) -> str:
    return "all orders" if segment == "overall" else value


def struct_to_dict(struct: msgspec.Struct) -> dict[str, object]:
    return msgspec.structs.asdict(struct)
