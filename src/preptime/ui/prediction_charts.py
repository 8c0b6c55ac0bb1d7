"""Charts of the page Predict. Each fills the available width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import altair as alt
import numpy as np
import polars as pl

from preptime.domain.dispatch import decide_order, expected_waits
from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation.charts import Chart, Palette, hour_scale, with_theme
from preptime.scoring.what_if import Variable
from preptime.ui import formatting

CHART_HEIGHT = 240
CHART_FONT = '"Source Sans", sans-serif'
"""The font of the dashboard."""
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_BAND_OPACITY = 0.22
_WHAT_IF_HEIGHT = 190
_QUANTILES = ("p10", "p50", "p80", "p90")
_COST_POINTS = 81
_SHORTEST_COST_AXIS_SECONDS = 600.0
_MAX_WATERFALL_PARTS = 9
_WATERFALL_PADDING = {"left": 5, "top": 5, "right": 55, "bottom": 5}
"""The label of a bar that ends at the edge of the chart needs this space on its right."""


def duration_histogram(
    bars: pl.DataFrame, title: str, palette: Palette, *, color: str = "", unit: TimeUnit = MINUTES
) -> Chart:
    """Return a histogram of orders by time. `bars` has the columns `minutes`, `width`, and `orders`."""
    edges = bars.with_columns(end=pl.col("minutes") + pl.col("width"))
    rows = _in_unit(edges.rename({"minutes": "start"}), unit, "start", "end").to_dicts()
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(color=color or palette.model, stroke=palette.background, strokeWidth=0.5)
        .encode(
            x=alt.X("start:Q", title=title, scale=alt.Scale(domainMin=0, nice=True)),
            x2="end:Q",
            y=alt.Y("orders:Q", title="orders", axis=alt.Axis(format=",d", tickMinStep=1)),
            y2=alt.Y2Datum(0),
            tooltip=[
                alt.Tooltip("start:Q", title=f"from, {unit.short}"),
                alt.Tooltip("end:Q", title=f"to, {unit.short}"),
                alt.Tooltip("orders:Q", format=",d"),
            ],
        )
    )
    return _apply_layout(chart, palette)


def prediction_by_hour(rows: pl.DataFrame, palette: Palette, unit: TimeUnit = MINUTES) -> Chart:
    """Return predictions by local hour: the median p50 on a bar from the median p10 to the median p90."""
    named = _in_unit(rows, unit, "median", "low", "high").with_columns(pl.col("hour").cast(pl.String))
    base = alt.Chart(_inline_frame(named)).encode(
        x=alt.X(
            "hour:O",
            scale=hour_scale(rows["hour"].to_list()),
            title="local hour of acknowledgement",
            axis=alt.Axis(labelAngle=0, labelOverlap=True),
        ),
        tooltip=_tooltips("hour:O", "hour", unit),
    )
    interval_bars = base.mark_bar(
        color=palette.model, opacity=_BAND_OPACITY, width={"band": 0.7}, cornerRadius=3
    ).encode(y=alt.Y("low:Q", title=unit.name), y2="high:Q")
    median_ticks = base.mark_tick(color=palette.model, thickness=3, width={"band": 0.7}).encode(y="median:Q")
    return _apply_layout(alt.LayerChart(layer=[interval_bars, median_ticks]), palette)


def prediction_by_restaurant(rows: pl.DataFrame, palette: Palette, unit: TimeUnit = MINUTES) -> Chart:
    """Return predictions by restaurant: the median p50 as a dot on the median p10 to p90."""
    base = alt.Chart(_inline_frame(_in_unit(rows, unit, "median", "low", "high"))).encode(
        y=alt.Y("restaurant:N", sort=None, title="restaurant", axis=alt.Axis(labelLimit=110)),
        tooltip=_tooltips("restaurant:N", "restaurant", unit),
    )
    interval_lines = base.mark_rule(color=palette.model, opacity=0.4, strokeWidth=5, strokeCap="round").encode(
        x=alt.X("low:Q", title=unit.name, scale=alt.Scale(zero=True)), x2="high:Q"
    )
    median_dots = base.mark_point(color=palette.model, filled=True, size=70, opacity=1).encode(x="median:Q")
    return _apply_layout(
        alt.LayerChart(layer=[interval_lines, median_dots]), palette, height=max(120, 22 * len(rows) + 50)
    )


def prediction_timeline(
    times: dict[str, float], clock_times: dict[str, str], palette: Palette, unit: TimeUnit = MINUTES
) -> Chart:
    """Return a timeline of one prediction: acknowledgement, p10, p50, and p90, each with its clock time.

    `times` are in `unit`.
    """
    end = max(unit.from_minutes(10.0), times["p90"] * 1.08)
    scale = alt.Scale(domain=[0, end], nice=False)
    x_axis = alt.X("at:Q", title=f"{unit.name} after acknowledgement", scale=scale)
    full_range = alt.Chart(_inline_rows([{"at": 0.0, "to": times["p90"]}])).encode(x=x_axis, x2="to:Q")
    waiting_line = full_range.mark_rule(color=palette.secondary_text, strokeWidth=2, strokeDash=[3, 4])
    interval_rows = [
        {"at": times["p10"], "to": times["p90"], "strong": 0.3},
        {"at": times["p50"], "to": times["p80"], "strong": 0.3},
    ]
    interval_bars = (
        alt.Chart(_inline_rows(interval_rows))
        .mark_bar(color=palette.model, height=22, cornerRadius=4)
        .encode(x=x_axis, x2="to:Q", opacity=alt.Opacity("strong:Q", scale=None, legend=None))
    )
    dots = (
        alt.Chart(_inline_rows([{"at": 0.0}, {"at": times["p50"]}]))
        .mark_point(color=palette.model, filled=True, size=170, opacity=1, stroke=palette.background, strokeWidth=2)
        .encode(x=x_axis)
    )
    # A label ends at its mark where it would otherwise extend beyond the chart. Offsets keep labels apart.
    label_marks = [
        _text_mark(
            x_axis, times["p50"], f"p50 {clock_times['p50']}", -40, "left" if times["p50"] < end / 2 else "right"
        ),
        _text_mark(x_axis, 0.0, f"acknowledged {clock_times['acknowledged']}", -22, "left"),
        _text_mark(
            x_axis, times["p10"], f"p10 {clock_times['p10']}", 26, "left" if times["p10"] < end / 4 else "right"
        ),
        _text_mark(x_axis, times["p90"], f"p90 {clock_times['p90']}", 26, "right"),
    ]
    labels = [mark.encode(color=alt.value(palette.text)) for mark in label_marks]
    return _apply_layout(alt.LayerChart(layer=[waiting_line, interval_bars, dots, *labels]), palette, height=155)


def waiting_cost_chart(
    quantiles: Sequence[float], travel_seconds: float, level: float, palette: Palette, unit: TimeUnit = MINUTES
) -> Chart:
    """Return the expected costs of the courier's and the food's waiting time for each dispatch time.

    A dashed line marks the dispatch time with the lowest total. The costs are in minutes, weighted so that both weights
    add up to 2: with equal costs, a minute counts as a minute.

    Args:
        quantiles: p10, p50, p80, and p90 of the ready time, in seconds after acknowledgement.
        travel_seconds: Travel time of the courier.
        level: From `preptime.domain.dispatch.dispatch_level`.
        palette: Colors by role.
        unit: The unit of all times.
    """
    dispatch_seconds = decide_order(quantiles, travel_seconds, level).dispatch_seconds
    end = max(quantiles[-1] - travel_seconds, 2 * dispatch_seconds, _SHORTEST_COST_AXIS_SECONDS)
    times = np.linspace(0.0, end, _COST_POINTS)
    courier_wait, food_wait = expected_waits(np.array(quantiles), times + travel_seconds)
    courier_cost, food_cost = 2 * level * courier_wait, 2 * (1 - level) * food_wait
    costs = {"courier": courier_cost, "food": food_cost, "both": courier_cost + food_cost}
    rows = [
        {"at": at / unit.seconds, "cost": cost / unit.seconds, "of": name}
        for name, values in costs.items()
        for at, cost in zip(times.tolist(), values.tolist(), strict=True)
    ]
    base = alt.Chart(_inline_rows(rows))
    number_format = _number_format(unit)
    lines = base.mark_line(strokeWidth=2.5).encode(
        x=alt.X("at:Q", title=f"dispatch time, {unit.name} after acknowledgement", scale=alt.Scale(nice=False)),
        y=alt.Y("cost:Q", title=f"expected cost, {unit.name}", scale=alt.Scale(zero=True)),
        color=alt.Color(
            "of:N",
            title="waiting cost of",
            scale=alt.Scale(domain=list(costs), range=[palette.lookup, palette.band, palette.model]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            alt.Tooltip("of:N", title="waiting cost of"),
            alt.Tooltip("at:Q", title=f"dispatch time, {unit.short}", format=number_format),
            alt.Tooltip("cost:Q", title=f"expected cost, {unit.short}", format=number_format),
        ],
    )
    best = _dashed_line(palette).encode(x=alt.XDatum(dispatch_seconds / unit.seconds))
    return _apply_layout(alt.LayerChart(layer=[lines, best]), palette)


def explanation_waterfall(
    base: float, parts: Sequence[tuple[str, float]], palette: Palette, unit: TimeUnit = MINUTES
) -> Chart:
    """Return a waterfall chart from the base value over the parts, largest first, to their sum, the p50.

    Parts that aren't visible in the unit are left out. Many small ones are one bar.

    Args:
        base: The base value, in seconds.
        parts: The title of each part, and how many seconds it adds.
        palette: Colors by role.
        unit: The unit of the chart.
    """
    rows = _waterfall_rows(base, parts, unit)
    colors = {"total": palette.model, "longer": palette.lookup, "shorter": palette.band}
    axis = alt.Axis(labelLimit=190, title=None)
    bars = alt.Chart(_inline_rows(rows)).encode(y=alt.Y("title:N", sort=None, axis=axis))
    tooltip = [alt.Tooltip("title:N", title="part"), alt.Tooltip("text:N", title=unit.name)]
    floating = bars.mark_bar(height={"band": 0.6}, cornerRadius=2).encode(
        x=alt.X("start:Q", title=unit.name, scale=alt.Scale(zero=True)),
        x2="end:Q",
        color=alt.Color("kind:N", scale=alt.Scale(domain=list(colors), range=list(colors.values())), legend=None),
        tooltip=tooltip,
    )
    labels = bars.mark_text(align="left", dx=5, color=palette.text).encode(x="right:Q", text="text:N")
    chart = alt.LayerChart(layer=[floating, labels]).properties(padding=_WATERFALL_PADDING)
    return _apply_layout(chart, palette, height=max(150, 30 * len(rows) + 45))


def _waterfall_rows(base: float, parts: Sequence[tuple[str, float]], unit: TimeUnit) -> list[dict[str, object]]:
    """Return a row for the base value, for each visible part, and for the sum, with the ends of its bar in the unit."""
    visible = [part for part in parts if unit.number(part[1]) != unit.number(0)]
    visible = sorted(visible, key=lambda part: -abs(part[1]))
    shown, others = visible[:_MAX_WATERFALL_PARTS], visible[_MAX_WATERFALL_PARTS:]
    if others:
        shown.append((f"{len(others)} others", sum(seconds for _, seconds in others)))
    rows, start = [_waterfall_row("the average order", 0.0, base, "total", unit)], base
    for title, seconds in shown:
        rows.append(_waterfall_row(title, start, start + seconds, "longer" if seconds > 0 else "shorter", unit))
        start += seconds
    total = base + sum(seconds for _, seconds in parts)
    return [*rows, _waterfall_row("this order", 0.0, total, "total", unit)]


def _waterfall_row(title: str, start: float, end: float, kind: str, unit: TimeUnit) -> dict[str, object]:
    sign = {"longer": "+", "shorter": "−"}.get(kind, "")
    return {
        "title": formatting.capitalize_first(title),
        "start": start / unit.seconds,
        "end": end / unit.seconds,
        "right": max(start, end) / unit.seconds,
        "kind": kind,
        "text": f"{sign}{unit.text(abs(end - start))}",
    }


def _text_mark(axis: alt.X, at: float, text: str, dy: int, align: Literal["left", "right"]) -> alt.Chart:
    base = alt.Chart(_inline_rows([{"at": at, "text": text}])).encode(x=axis, text="text:N")
    chart: alt.Chart = base.mark_text(dy=dy, align=align, fontSize=12)
    return chart


def what_if_chart(
    rows: pl.DataFrame,
    variable: Variable,
    palette: Palette,
    *,
    unknown_hours: Sequence[int] = (),
    unit: TimeUnit = MINUTES,
) -> Chart:
    """Return the prediction for each value of one variable. A dashed line marks the order's own value.

    A category has a bar for each value. A number has p50 as a line, and p10 to p90 as a band. Gray areas mark
    `unknown_hours`, the hours for which there is no evidence.
    """
    rows = _in_unit(rows, unit, *_QUANTILES)
    if variable.kind == "category":
        return _what_if_bars(rows, variable, palette, unit)
    if variable.kind == "weekday":
        rows = rows.with_columns(at=pl.col("at").cast(pl.Int64).replace_strict(dict(enumerate(_WEEKDAYS))))
        x_axis = alt.X("at:O", sort=list(_WEEKDAYS), title="day of the week", axis=alt.Axis(labelAngle=0))
    else:
        limits = [float(rows["at"].to_numpy().min()), float(rows["at"].to_numpy().max())]
        min_step = 1 if variable.kind in {"hour", "items"} else 0
        axis = alt.Axis(tickMinStep=min_step, grid=False, labelOverlap=True)
        x_axis = alt.X("at:Q", title=_axis_title(variable), scale=alt.Scale(domain=limits, nice=False), axis=axis)
    at_tooltip = alt.Tooltip("at:O" if variable.kind == "weekday" else "at:Q", title=variable.title)
    base = alt.Chart(_inline_frame(rows.drop("variable", "value", strict=False))).encode(
        x=x_axis, tooltip=[at_tooltip, *_quantile_tooltips(unit)]
    )
    interpolation: Literal["step", "linear"] = "step" if variable.kind == "items" else "linear"
    band = base.mark_area(color=palette.model, opacity=_BAND_OPACITY, interpolate=interpolation).encode(
        y=alt.Y("p10:Q", title=unit.name, scale=alt.Scale(zero=True)), y2="p90:Q"
    )
    line = base.mark_line(color=palette.model, strokeWidth=2.5, interpolate=interpolation).encode(y="p50:Q")
    gray_areas = [_gray_areas(unknown_hours, palette)] if unknown_hours else []
    layers = [*gray_areas, band, line, *_current_line(variable, palette)]
    return _apply_layout(alt.LayerChart(layer=layers), palette, height=_WHAT_IF_HEIGHT)


def _current_line(variable: Variable, palette: Palette) -> list[alt.Chart]:
    """Return a line at the order's own value, if it has one."""
    if not isinstance(variable.current, float):
        return []
    at = _WEEKDAYS[int(variable.current)] if variable.kind == "weekday" else variable.current
    line: alt.Chart = _dashed_line(palette).encode(x=alt.XDatum(at))
    return [line]


def _dashed_line(palette: Palette) -> alt.Chart:
    line: alt.Chart = alt.Chart(_inline_rows([{}])).mark_rule(color=palette.text, strokeDash=[4, 4], opacity=0.7)
    return line


def _what_if_bars(rows: pl.DataFrame, variable: Variable, palette: Palette, unit: TimeUnit) -> Chart:
    """Return p50 as a tick on a bar from p10 to p90 for each value of a category."""
    base = alt.Chart(_inline_frame(rows.drop("variable", "at"))).encode(
        y=alt.Y("value:N", sort=None, title=None, axis=alt.Axis(labelLimit=110)),
        tooltip=[alt.Tooltip("value:N", title=variable.title), *_quantile_tooltips(unit)],
    )
    bars = base.mark_bar(color=palette.model, opacity=_BAND_OPACITY, height={"band": 0.6}, cornerRadius=3).encode(
        x=alt.X("p10:Q", title=unit.name, scale=alt.Scale(zero=True)), x2="p90:Q"
    )
    ticks = base.mark_tick(color=palette.model, thickness=3, height={"band": 0.6}).encode(x="p50:Q")
    shown = set(rows["value"].to_list())
    current = [_dashed_line(palette).encode(y=alt.YDatum(variable.current))] if variable.current in shown else []
    layers = [bars, *current, ticks]
    return _apply_layout(alt.LayerChart(layer=layers), palette, height=max(_WHAT_IF_HEIGHT, 24 * len(rows) + 50))


def _axis_title(variable: Variable) -> str:
    return f"{variable.title}, {variable.unit}" if variable.unit else variable.title


def _in_unit(rows: pl.DataFrame, unit: TimeUnit, *columns: str) -> pl.DataFrame:
    """Return rows with columns of minutes converted to a unit."""
    return rows.with_columns(pl.col(*columns) * unit.from_minutes(1))


def _number_format(unit: TimeUnit) -> str:
    return f".{unit.digits()}f"


def _quantile_tooltips(unit: TimeUnit) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:Q", title=f"{name}, {unit.short}", format=_number_format(unit)) for name in _QUANTILES]


def _gray_areas(hours: Sequence[int], palette: Palette) -> alt.Chart:
    """Return an area for each hour, from half an hour before to half an hour after, within the axis."""
    areas = [{"at": max(0.0, hour - 0.5), "end": min(23.0, hour + 0.5), "note": "no orders"} for hour in hours]
    chart: alt.Chart = (
        alt.Chart(_inline_rows(areas))
        .mark_rect(color=palette.secondary_text, opacity=0.22, tooltip="no orders in the backtest")
        .encode(x=alt.X("at:Q"), x2="end:Q")
    )
    return chart


def _tooltips(field: str, title: str, unit: TimeUnit) -> list[alt.Tooltip]:
    levels = {"median": "p50", "low": "p10", "high": "p90"}
    return [
        alt.Tooltip(field, title=title),
        alt.Tooltip("orders:Q", title="orders", format=",d"),
        *(
            alt.Tooltip(f"{name}:Q", title=f"median {level}, {unit.short}", format=_number_format(unit))
            for name, level in levels.items()
        ),
    ]


def _inline_frame(rows: pl.DataFrame) -> alt.InlineData:
    return _inline_rows(rows.to_dicts())


def _inline_rows(rows: Sequence[Mapping[str, object]]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _apply_layout(chart: alt.Chart | alt.LayerChart, palette: Palette, height: int = CHART_HEIGHT) -> Chart:
    autosize = alt.AutoSizeParams(type="fit", contains="padding")
    sized_chart = with_theme(chart.properties(width="container", height=height, autosize=autosize), palette)
    sized_chart.config.font = CHART_FONT
    return sized_chart
