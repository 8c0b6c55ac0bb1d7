"""Pictures that only this page draws; those of a morning's report are `preptime.evaluation.day_charts`."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from preptime.evaluation.charts import Chart, Palette, fitted, themed
from preptime.monitoring.document import Monitoring, Trail

_HEIGHT = 230
_UTC = alt.Scale(type="utc")
_DAYS = alt.Axis(format="%-d %b", labelOverlap=True, title="day")


def ratio(trail: Trail, width: int, palette: Palette) -> Chart:
    """Actual ÷ predicted of one part of the orders by day; what fired stands out in colour and shape."""
    rows = [
        {
            "day": one.date.isoformat(),
            "ratio": one.ratio,
            "fired": one.fired,
            "tip": f"{one.date}: {one.ratio:.2f} over {one.n:,} orders, evidence {one.evidence:+.1f} "
            f"(fires at {trail.threshold:g})",
        }
        for one in trail.days
    ]
    values = [one.ratio for one in trail.days]
    scale = alt.Scale(domain=[min([0.9, *values]), max([1.1, *values])], nice=True, zero=False)
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=alt.X("day:T", axis=_DAYS, scale=_UTC))
    y = alt.Y("ratio:Q", title="actual ÷ predicted", scale=scale, axis=alt.Axis(format=".2f"))
    line = base.mark_line(color=palette.model, strokeWidth=2, opacity=0.7).encode(y=y)
    fired = alt.Scale(domain=[False, True], range=["circle", "triangle-up"])
    marks = base.mark_point(filled=True, opacity=1).encode(
        y=y,
        color=alt.Color(
            "fired:N", scale=alt.Scale(domain=[False, True], range=[palette.model, palette.lookup]), legend=None
        ),
        shape=alt.Shape("fired:N", scale=fired, legend=None),
        size=alt.Size("fired:N", scale=alt.Scale(domain=[False, True], range=[35, 150]), legend=None),
        description=alt.Description("tip:N"),
    )
    level = (
        alt.Chart().mark_rule(color=palette.ink, strokeDash=[4, 4], opacity=0.6).encode(y=alt.YDatum(1.0, scale=scale))
    )
    return themed(fitted(alt.LayerChart(layer=[level, line, marks]), width, _HEIGHT), palette)


def alerts(documents: Sequence[Monitoring], width: int, palette: Palette) -> Chart:
    """Alerts of each morning, and mornings that looked and found nothing."""
    rows = [
        {
            "day": one.date.isoformat(),
            "alerts": len(one.alerts),
            "tip": f"{one.date}: " + ("; ".join(alert.sentence for alert in one.alerts) or "nothing fired"),
        }
        for one in documents
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("utcyearmonthdate(day):T", axis=_DAYS, scale=_UTC), description=alt.Description("tip:N")
    )
    top = max(1, *(len(one.alerts) for one in documents))
    y = alt.Y(
        "alerts:Q",
        title="alerts",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1),
    )
    bars = base.mark_bar(color=palette.lookup, cornerRadiusEnd=2, width={"band": 0.6}).encode(y=y)
    quiet = (
        base.transform_filter("datum.alerts === 0")
        .mark_point(color=palette.band, filled=True, size=45, opacity=1)
        .encode(y=alt.YDatum(0))
    )
    return themed(fitted(alt.LayerChart(layer=[bars, quiet]), width, 150), palette)
