"""Altair charts of daily metrics, for the monitoring report and the dashboard.

Each function takes rows, the width of the whole chart in pixels, and a palette. Rows are plain dictionaries: times in
the unit of the target, shares from 0 to 1, and days as ISO text.
"""

from __future__ import annotations

from collections.abc import Iterable

import altair as alt

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation.aggregates import ChartRow
from preptime.evaluation.charts import Chart, Palette, inline_data, with_size, with_theme
from preptime.evaluation.metrics import COVERAGE_BAND, INTERVAL_LEVEL

HEIGHT = 240
PALE_GROUP = "before predictions"
"""The group of `daily_counts` with orders that need no prediction."""
RATIO_STRIP_HEIGHT = 84
PSI_SHIFT_THRESHOLD = 0.25
"""By convention, a PSI above this value means a different population."""


def daily_errors(
    rows: list[ChartRow], backtest_mae: float | None, width: int, palette: Palette, unit: TimeUnit = MINUTES
) -> Chart:
    """Return mean error by day: a bar for the model, a tick for the lookup, and a line for the backtest.

    Rows: `day`, `mae`, `lookup_mae` (only where known), `tip`.
    """
    base = alt.Chart(inline_data(rows)).encode(x=_day_axis(rows, width))
    bars = base.mark_bar(color=palette.model, cornerRadiusEnd=2).encode(
        y=alt.Y("mae:Q", title=f"mean error, {unit.name}"), description=alt.Description("tip:N")
    )
    ticks = (
        alt.Chart(inline_data([row for row in rows if "lookup_mae" in row]))
        .mark_tick(color=palette.lookup, thickness=3)
        .encode(x=_day_axis(rows, width), y="lookup_mae:Q")
    )
    layers = [bars, ticks]
    if backtest_mae is not None:
        layers.append(
            alt.Chart(inline_data([{"target": backtest_mae}]))
            .mark_rule(color=palette.text, strokeDash=[4, 4], opacity=0.8)
            .encode(y="target:Q")
        )
    return with_theme(with_size(alt.LayerChart(layer=layers), width, HEIGHT), palette)


def daily_coverage(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return coverage of p10–p90 by day with 95% intervals, over the band that the gate accepts.

    Rows: `day`, `coverage`, `coverage_low`, `coverage_high`, `tip`.
    """
    low = min([COVERAGE_BAND[0], *(float(row["coverage_low"]) for row in rows)])
    scale = alt.Scale(domain=[max(0.0, round(low - 0.05, 1)), 1.0], nice=False)
    base = alt.Chart(inline_data(rows)).encode(x=_day_axis(rows, width))
    gate = alt.Chart(inline_data([{"low": COVERAGE_BAND[0], "target": INTERVAL_LEVEL, "high": COVERAGE_BAND[1]}]))
    y_axis = alt.Axis(format=".0%", title="orders within p10–p90")
    band = gate.mark_rect(color=palette.band, opacity=0.16).encode(
        y=alt.Y("low:Q", axis=y_axis, scale=scale), y2="high:Q"
    )
    nominal = gate.mark_rule(color=palette.band, strokeWidth=1.5).encode(y="target:Q")
    interval = base.mark_rule(color=palette.model, strokeWidth=2, opacity=0.45).encode(
        y="coverage_low:Q", y2="coverage_high:Q"
    )
    dots = base.mark_point(color=palette.model, filled=True, size=60, opacity=1).encode(
        y="coverage:Q", description=alt.Description("tip:N")
    )
    return with_theme(with_size(alt.LayerChart(layer=[band, nominal, interval, dots]), width, HEIGHT), palette)


def daily_counts(rows: list[ChartRow], title: str, width: int, palette: Palette) -> Chart:
    """Return counts by day, stacked by `group` in the order of the rows. `PALE_GROUP` is gray.

    Rows: `day`, `group`, `stack_order`, `orders`, `tip`.
    """
    groups = list(dict.fromkeys(str(row["group"]) for row in rows))
    series = (palette.model, palette.lookup, palette.band, *palette.series[3:], palette.secondary_text)
    colors = [palette.grid if group == PALE_GROUP else color for group, color in zip(groups, series, strict=False)]
    chart = (
        alt.Chart(inline_data(rows))
        .mark_bar(stroke=palette.background, strokeWidth=0.5)
        .encode(
            x=_day_axis(rows, width),
            y=alt.Y("orders:Q", title=title),
            color=alt.Color(
                "group:N",
                scale=alt.Scale(domain=groups, range=colors),
                legend=alt.Legend(
                    title=None,
                    orient="bottom",
                    columns=2 if width < 400 else 4 if len(groups) < 4 else 3,
                    labelLimit=170,
                    columnPadding=18,
                ),
            ),
            order=alt.Order("stack_order:Q"),
            description=alt.Description("tip:N"),
        )
    )
    return with_theme(with_size(chart, width, HEIGHT), palette)


def daily_ratios(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return actual ÷ predicted by day, one strip per segment. Days that fired have another shape and color.

    Rows: `segment`, `day`, `clipped` (the ratio), `expected` (1), `fired`, `tip`. All strips share one scale.
    """
    segments = list(dict.fromkeys(str(row["segment"]) for row in rows))
    values = [float(row["clipped"]) for row in rows]
    scale = alt.Scale(domain=[min([0.9, *values]), max([1.1, *values])], nice=False)
    base = alt.Chart().encode(x=_day_axis(rows, width))
    y = alt.Y("clipped:Q", title=None, scale=scale, axis=alt.Axis(format=".1f", tickCount=3))
    # A datum of 1 would get a separate scale that starts at 0.
    reference_line = base.mark_line(color=palette.text, strokeDash=[4, 4], strokeWidth=1, opacity=0.6).encode(
        y=alt.Y("expected:Q", title=None, scale=scale)
    )
    line = base.mark_line(color=palette.model, strokeWidth=1.5, opacity=0.6).encode(y=y)
    marks = base.mark_point(filled=True, opacity=1).encode(
        y=y,
        color=alt.Color(
            "fired:N", scale=alt.Scale(domain=[False, True], range=[palette.model, palette.lookup]), legend=None
        ),
        shape=alt.Shape("fired:N", scale=alt.Scale(domain=[False, True], range=["circle", "triangle-up"]), legend=None),
        size=alt.Size("fired:N", scale=alt.Scale(domain=[False, True], range=[22, 110]), legend=None),
        description=alt.Description("tip:N"),
    )
    header = alt.Header(title=None, labelOrient="top", labelAnchor="start", labelPadding=2)
    chart = alt.FacetChart(
        data=inline_data(rows),
        spec=alt.LayerChart(layer=[reference_line, line, marks]).properties(
            width=max(120, width - 60), height=RATIO_STRIP_HEIGHT
        ),
        facet=alt.FacetMapping(row=alt.Row("segment:N", sort=segments, header=header)),
        spacing=10,
        padding=4,
    )
    return with_theme(chart, palette)


def feature_psi(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return the PSI of each feature: paler if it isn't tested, and in another color if it drifted.

    Rows: `feature`, `psi`, `clipped` (the length of the bar), `tested`, `drifted`, `tip`.
    """
    labels = min(200, 7 * max(len(str(row["feature"])) for row in rows))
    x = alt.X(
        "clipped:Q",
        title="population stability index",
        scale=alt.Scale(domain=[0, max([0.3, *(float(row["clipped"]) for row in rows)])], nice=False),
    )
    bars = (
        alt.Chart(inline_data(rows))
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=x,
            y=alt.Y("feature:N", sort=None, title=None, axis=alt.Axis(labelLimit=200, minExtent=labels)),
            color=alt.Color(
                "drifted:N", scale=alt.Scale(domain=[False, True], range=[palette.model, palette.lookup]), legend=None
            ),
            opacity=alt.Opacity("tested:N", scale=alt.Scale(domain=[True, False], range=[1.0, 0.35]), legend=None),
            description=alt.Description("tip:N"),
        )
    )
    threshold = (
        alt.Chart(inline_data([{"threshold": PSI_SHIFT_THRESHOLD}]))
        .mark_rule(color=palette.text, strokeDash=[4, 4], opacity=0.7)
        .encode(x="threshold:Q")
    )
    return with_theme(with_size(alt.LayerChart(layer=[bars, threshold]), width, 19 * len(rows) + 50), palette)


def distribution(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return two distributions over the same bins: bars for the latest days, and ticks for the reference.

    Rows: `bin`, `reference`, `recent`, `tip`.
    """
    base = alt.Chart(inline_data(rows)).encode(
        y=alt.Y("bin:N", sort=None, title=None, axis=alt.Axis(labelLimit=150, minExtent=110))
    )
    bars = base.mark_bar(color=palette.model, cornerRadiusEnd=2, height={"band": 0.7}).encode(
        x=alt.X("recent:Q", axis=alt.Axis(format=".0%", title="share of orders")),
        description=alt.Description("tip:N"),
    )
    ticks = base.mark_tick(color=palette.lookup, thickness=3).encode(x="reference:Q")
    return with_theme(with_size(alt.LayerChart(layer=[bars, ticks]), width, 21 * len(rows) + 50), palette)


def _day_axis(rows: list[ChartRow], width: int) -> alt.X:
    return day_axis({str(row["day"]) for row in rows}, width)


def day_axis(shown_days: Iterable[str], width: int) -> alt.X:
    """Return an axis of days. Where there is no room for all labels, it keeps every n-th, counted from the last day."""
    days = sorted(shown_days)
    step = max(1, -(-len(days) * 44 // max(width - 60, 1)))
    axis = alt.Axis(
        title="day",
        labelAngle=0,
        values=days[::-1][::step][::-1],
        labelExpr="slice(datum.value, 5)",
        labelOverlap=False,
    )
    return alt.X("day:O", axis=axis, scale=alt.Scale(domain=days))
