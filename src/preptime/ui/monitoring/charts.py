"""Pictures that only this page draws; those of a morning's report are `preptime.evaluation.day_charts`."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from preptime.evaluation.charts import Chart, Palette, with_size, with_theme
from preptime.monitoring.document import MonitoringDocument, RatioSeries

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
