"""Charts of the page Data, from the rows of `preptime.exploration`. Each has the given width in pixels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

import altair as alt

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation.aggregates import ChartRow
from preptime.evaluation.charts import Chart, Palette, hour_scale, with_size, with_theme
from preptime.evaluation.distribution import Distribution
from preptime.formatting import format_signed

_CHART_HEIGHT = 280
_UTC = alt.Scale(type="utc")
_DAY_AXIS = alt.Axis(format="%-d %b", labelOverlap=True)
"""Dates are read and shown as UTC. Otherwise, the browser's time zone could shift them to the previous day."""
_LABEL_CHARACTERS = 32
"""Maximum length of a line in the label of a reason."""
EXCLUDES, FLAGS = "excludes orders", "flags orders"
"""The effect of a validation reason: it excludes orders from a purpose, or it only flags them."""
AxisKind = Literal["value", "hour", "day", "name"]
"""The kind of a grouping: an ordered value, an hour, a day, or a name."""


def measure_histogram(
    histogram: Distribution, title: str, unit: str, width: int, palette: Palette, *, digits: int = 1
) -> Chart:
    """Return a histogram of a measure, with the median and the outlier limit as lines. Orders beyond it are orange."""
    rows: list[ChartRow] = [
        {
            **row,
            "where": "beyond the limit" if row["is_outlier"] else "inside",
            "tip": f"{row['orders']:,} orders from {row['low']:g} to {row['high']:g} {unit}".rstrip(),
        }
        for row in histogram.bins
    ]
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=[rows[0]["low"], histogram.display_limit], nice=False))
    bars = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(stroke=palette.background, strokeWidth=0.5)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("orders:Q", title="orders", axis=alt.Axis(format=",d", tickMinStep=1)),
            y2=alt.Y2Datum(0),
            color=alt.Color(
                "where:N",
                scale=alt.Scale(domain=["inside", "beyond the limit"], range=[palette.model, palette.lookup]),
                legend=None,
            ),
            tooltip=alt.Tooltip("tip:N"),
        )
    )
    marker_rows: list[ChartRow] = [{"at": histogram.median, "name": f"median {histogram.median:.{digits}f}", "row": 14}]
    if histogram.outlier_limit < histogram.display_limit:
        marker_rows.append(
            {"at": histogram.outlier_limit, "name": f"outlier limit {histogram.outlier_limit:.{digits}f}", "row": 14}
        )
    base = alt.Chart(alt.InlineData(values=marker_rows)).encode(x="at:Q")
    lines = base.mark_rule(color=palette.text, strokeDash=[4, 4], opacity=0.75)
    labels = base.mark_text(align="left", baseline="top", dx=5, y=2, color=palette.text, fontSize=11).encode(
        text="name:N"
    )
    return with_theme(with_size(alt.LayerChart(layer=[bars, lines, labels]), width, _CHART_HEIGHT), palette)


def label_by(
    rows: Sequence[ChartRow],
    kind: AxisKind,
    title: str,
    width: int,
    palette: Palette,
    *,
    label: str,
    unit: TimeUnit = MINUTES,
) -> Chart:
    """Return a chart of the label by group, in the form that fits the kind of grouping. `label` is its name."""
    axis_title = f"{label}, {unit.name}"
    rows = _with_tooltips(rows, unit)
    if kind == "name":
        return label_by_name(rows, axis_title, width, palette)
    return (
        label_by_day(rows, axis_title, width, palette)
        if kind == "day"
        else label_by_value(rows, _value_axis(rows, kind, title), axis_title, width, palette)
    )


def _value_axis(rows: Sequence[ChartRow], kind: AxisKind, title: str) -> alt.X:
    """Return the axis of an ordered value, in the order of the rows. Hours without orders are gaps."""
    values = [str(row["value"]) for row in rows]
    scale = hour_scale(map(int, values)) if kind == "hour" else alt.Scale(domain=values)
    return alt.X("value:N", scale=scale, title=title, axis=alt.Axis(labelAngle=0, labelOverlap=True))


def label_by_value(rows: Sequence[ChartRow], axis: alt.X, axis_title: str, width: int, palette: Palette) -> Chart:
    """Return the label by an ordered value (hour, weekday): quartiles as a bar, the median as a tick.

    Groups with few orders don't stretch the scale: their bars are clipped. An arrow marks a median above the chart.
    """
    limit = value_limit(rows)
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        x=axis,
        opacity=_small_group_opacity(),
        tooltip=alt.Tooltip("tip:N"),
    )
    scale = alt.Scale(domain=[0, limit], nice=False)
    bars = base.mark_bar(color=palette.model, width={"band": 0.62}, cornerRadius=3, clip=True).encode(
        y=alt.Y("q1:Q", title=axis_title, scale=scale), y2="q3:Q"
    )
    median_ticks = base.mark_tick(color=palette.lookup, thickness=3, width={"band": 0.62}, clip=True).encode(
        y="median:Q"
    )
    layers = [bars, median_ticks]
    above = [row for row in rows if float(row["median"]) > limit]
    if above:
        arrows = alt.Chart(alt.InlineData(values=above)).mark_text(
            text="↑", dy=-8, fontSize=14, fontWeight="bold", color=palette.lookup
        )
        layers.append(arrows.encode(x=axis, y=alt.YDatum(limit, scale=scale), tooltip=alt.Tooltip("tip:N")))
    return with_theme(with_size(alt.LayerChart(layer=layers), width, _CHART_HEIGHT), palette)


def value_limit(rows: Sequence[ChartRow]) -> float:
    """Return the end of the axis of `label_by_value`, which fits the groups with enough orders."""
    upper_quartiles = [float(row["q3"]) for row in rows if not row["few"]] or [float(row["q3"]) for row in rows]
    return 1.1 * max(upper_quartiles) or 1.0


def label_by_day(rows: Sequence[ChartRow], axis_title: str, width: int, palette: Palette) -> Chart:
    """Return the label by local day: quartiles as a band, the median as a line."""
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        x=alt.X("value:T", title="local day", axis=_DAY_AXIS, scale=_UTC)
    )
    band = base.mark_area(color=palette.model, opacity=0.25).encode(
        y=alt.Y("q1:Q", title=axis_title, scale=alt.Scale(domainMin=0)), y2="q3:Q"
    )
    line = base.mark_line(color=palette.model, strokeWidth=2.5).encode(y="median:Q")
    dots = base.mark_point(color=palette.model, filled=True, size=40, opacity=1).encode(
        y="median:Q", tooltip=alt.Tooltip("tip:N")
    )
    return with_theme(with_size(alt.LayerChart(layer=[band, line, dots]), width, _CHART_HEIGHT), palette)


def label_by_name(rows: Sequence[ChartRow], axis_title: str, width: int, palette: Palette) -> Chart:
    """Return the label by category, largest first: quartiles as a bar, the median as a tick."""
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        y=alt.Y("value:N", sort=None, title=None, axis=alt.Axis(labelLimit=130)),
        opacity=_small_group_opacity(),
        tooltip=alt.Tooltip("tip:N"),
    )
    bars = base.mark_bar(color=palette.model, height={"band": 0.62}, cornerRadius=3).encode(
        x=alt.X("q1:Q", title=axis_title, scale=alt.Scale(zero=True)), x2="q3:Q"
    )
    median_ticks = base.mark_tick(color=palette.lookup, thickness=3, height={"band": 0.62}).encode(x="median:Q")
    return with_theme(with_size(alt.LayerChart(layer=[bars, median_ticks]), width, 22 * len(rows) + 50), palette)


def order_counts(
    rows: Sequence[ChartRow], kind: AxisKind, title: str, width: int, palette: Palette, *, unit: TimeUnit = MINUTES
) -> Chart:
    """Return the number of orders of each group."""
    base = alt.Chart(alt.InlineData(values=_with_tooltips(rows, unit))).encode(tooltip=alt.Tooltip("tip:N"))
    axis = alt.Axis(format=",d", tickMinStep=1)
    if kind == "name":
        horizontal_bars = base.mark_bar(color=palette.secondary_text, height={"band": 0.62}, cornerRadiusEnd=2).encode(
            y=alt.Y("value:N", sort=None, title=None, axis=alt.Axis(labelLimit=130)),
            x=alt.X("orders:Q", title="orders", axis=axis),
        )
        return with_theme(with_size(horizontal_bars, width, 22 * len(rows) + 50), palette)
    if kind == "day":
        x = alt.X("utcyearmonthdate(value):T", title=title, axis=_DAY_AXIS, scale=_UTC)
    else:
        x = _value_axis(rows, kind, title)
    bars = base.mark_bar(color=palette.secondary_text, width={"band": 0.62}, cornerRadiusEnd=2).encode(
        x=x, y=alt.Y("orders:Q", title="orders", axis=axis)
    )
    return with_theme(with_size(bars, width, _CHART_HEIGHT), palette)


def correlation_matrix(rows: Sequence[ChartRow], width: int, palette: Palette) -> Chart:
    """Return a square per pair of columns: blue for positive, orange for negative correlation."""
    names = list(dict.fromkeys(str(row["a"]) for row in rows))
    tooltip_rows: list[ChartRow] = [
        {**row, "tip": f"{row['a']} and {row['b']}: {format_signed(float(row['r']), 2)}"} for row in rows
    ]
    base = alt.Chart(alt.InlineData(values=tooltip_rows)).encode(
        x=alt.X("a:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=140)),
        y=alt.Y("b:N", sort=names, title=None, axis=alt.Axis(labelLimit=140)),
        tooltip=alt.Tooltip("tip:N"),
    )
    scale = alt.Scale(domain=[-1, 0, 1], range=[palette.lookup, palette.background, palette.model], interpolate="rgb")
    squares = base.mark_rect(stroke=palette.background, strokeWidth=2).encode(
        color=alt.Color("r:Q", scale=scale, legend=None)
    )
    labels = base.mark_text(fontSize=11).encode(
        text=alt.Text("r:Q", format=".2f"),
        color=alt.condition("abs(datum.r) > 0.6", alt.value(palette.background), alt.value(palette.text)),
    )
    return with_theme(with_size(alt.LayerChart(layer=[squares, labels]), width, 46 * len(names) + 110), palette)


def restaurant_size_chart(rows: Sequence[ChartRow], measure: str, width: int, palette: Palette) -> Chart:
    """Return `measure` (restaurants or orders) by orders per restaurant. What the notebook dropped is orange."""
    legend_labels = ["kept by the notebook", "dropped by the notebook"]
    tooltip_rows: list[ChartRow] = [
        {
            **row,
            "notebook_filter": legend_labels[0 if row["kept"] else 1],
            "tip": f"{row['restaurants']:,} restaurants with {row['band']} orders: {row['orders']:,} orders",
        }
        for row in rows
    ]
    bars = (
        alt.Chart(alt.InlineData(values=tooltip_rows))
        .mark_bar(cornerRadiusEnd=2, width={"band": 0.7})
        .encode(
            x=alt.X("band:N", sort=None, title="orders per restaurant", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y(f"{measure}:Q", title=measure, axis=alt.Axis(format=",d")),
            color=alt.Color(
                "notebook_filter:N",
                scale=alt.Scale(domain=legend_labels, range=[palette.model, palette.lookup]),
                legend=alt.Legend(title=None, orient="bottom", columns=1),
            ),
            tooltip=alt.Tooltip("tip:N"),
        )
    )
    return with_theme(with_size(bars, width, _CHART_HEIGHT), palette)


def scatter(
    rows: Sequence[ChartRow], title: str, limits: tuple[float, float], width: int, palette: Palette, *, label: str
) -> Chart:
    """Return a scatter plot of a measure against the label. `limits` are the outlier limits of both.

    Values above twice their limit are drawn at the edge. With negative values, this counts from the smallest one.
    Labels above their limit are orange. `label` is the label's name with its unit.
    """
    min_x = min(0.0, *(float(row["x"]) for row in rows))
    largest_x = max(float(row["x"]) for row in rows)
    max_x, max_y = max(min(min_x + 2 * (limits[0] - min_x), largest_x), min_x + 1e-6), 2 * limits[1]
    points: list[ChartRow] = [
        {
            "x": min(float(row["x"]), max_x),
            "label": min(float(row["label"]), max_y),
            "is_outlier": float(row["label"]) > limits[1],
        }
        for row in rows
    ]
    color_scale = alt.Scale(domain=[False, True], range=[palette.model, palette.lookup])
    marks = (
        alt.Chart(alt.InlineData(values=points))
        .mark_circle(size=22, opacity=0.4)
        .encode(
            x=alt.X("x:Q", title=title, scale=alt.Scale(domain=[min_x, max_x], nice=False)),
            y=alt.Y("label:Q", title=label, scale=alt.Scale(domain=[0, max_y], nice=False)),
            color=alt.Color("is_outlier:N", scale=color_scale, legend=None),
        )
    )
    return with_theme(with_size(marks, width, _CHART_HEIGHT), palette)


def reason_counts(rows: Sequence[ChartRow], width: int, palette: Palette) -> Chart:
    """Return orders by validation reason. Reasons that exclude orders are orange. Long reasons have several lines."""
    wrapped_rows = [row | {"reason": textwrap.fill(str(row["reason"]), _LABEL_CHARACTERS)} for row in rows]
    bars = (
        alt.Chart(alt.InlineData(values=wrapped_rows))
        .mark_bar(cornerRadiusEnd=2, height={"band": 0.62})
        .encode(
            y=alt.Y("reason:N", sort=None, title=None, axis=alt.Axis(labelExpr="split(datum.label, '\\n')")),
            x=alt.X("orders:Q", title="orders", axis=alt.Axis(format=",d", tickMinStep=1)),
            color=alt.Color(
                "effect:N",
                scale=alt.Scale(domain=[EXCLUDES, FLAGS], range=[palette.lookup, palette.secondary_text]),
                legend=alt.Legend(title=None, orient="bottom", columns=1),
            ),
            tooltip=alt.Tooltip("tip:N"),
        )
    )
    return with_theme(with_size(bars, width, 60 * len(rows) + 90), palette)


def _with_tooltips(rows: Sequence[ChartRow], unit: TimeUnit) -> list[ChartRow]:
    digits = unit.digits()
    return [
        {
            **row,
            "tip": f"{row['value']}: median {row['median']:.{digits}f} {unit.short}, middle half "
            f"{row['q1']:.{digits}f} to {row['q3']:.{digits}f}; {row['orders']:,} orders",
        }
        for row in rows
    ]


def _small_group_opacity() -> alt.Opacity:
    return alt.Opacity("few:N", scale=alt.Scale(domain=[False, True], range=[1.0, 0.4]), legend=None)
