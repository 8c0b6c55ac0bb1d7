"""Charts of the page Predict. Each fills the available width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import altair as alt
import polars as pl

from preptime.evaluation.charts import Chart, Palette, with_theme
from preptime.scoring.what_if import Variable

CHART_HEIGHT = 240
CHART_FONT = '"Source Sans", sans-serif'
"""The font of the dashboard."""
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_BAND_OPACITY = 0.22


def duration_histogram(bars: pl.DataFrame, title: str, palette: Palette, *, color: str = "") -> Chart:
    """Return a histogram of orders by minutes. `bars` has the columns `minutes`, `width`, and `orders`."""
    rows = bars.with_columns(end=pl.col("minutes") + pl.col("width")).to_dicts()
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(color=color or palette.model, stroke=palette.background, strokeWidth=0.5)
        .encode(
            x=alt.X("minutes:Q", title=title, scale=alt.Scale(domainMin=0, nice=True)),
            x2="end:Q",
            y=alt.Y("orders:Q", title="orders", axis=alt.Axis(format=",d", tickMinStep=1)),
            y2=alt.Y2Datum(0),
            tooltip=[
                alt.Tooltip("minutes:Q", title="from, min"),
                alt.Tooltip("end:Q", title="to, min"),
                alt.Tooltip("orders:Q", format=",d"),
            ],
        )
    )
    return _apply_layout(chart, palette)


def prediction_by_hour(rows: pl.DataFrame, palette: Palette) -> Chart:
    """Return predictions by local hour: the median p50 on a bar from the median p10 to the median p90."""
    base = alt.Chart(_inline_frame(rows)).encode(
        x=alt.X("hour:O", title="local hour of acknowledgement", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        tooltip=_tooltips("hour:O", "hour"),
    )
    interval_bars = base.mark_bar(
        color=palette.model, opacity=_BAND_OPACITY, width={"band": 0.7}, cornerRadius=3
    ).encode(y=alt.Y("low:Q", title="minutes"), y2="high:Q")
    median_ticks = base.mark_tick(color=palette.model, thickness=3, width={"band": 0.7}).encode(y="median:Q")
    return _apply_layout(alt.LayerChart(layer=[interval_bars, median_ticks]), palette)


def prediction_by_restaurant(rows: pl.DataFrame, palette: Palette) -> Chart:
    """Return predictions by restaurant: the median p50 as a dot on the median p10 to p90."""
    base = alt.Chart(_inline_frame(rows)).encode(
        y=alt.Y("restaurant:N", sort=None, title="restaurant", axis=alt.Axis(labelLimit=110)),
        tooltip=_tooltips("restaurant:N", "restaurant"),
    )
    interval_lines = base.mark_rule(color=palette.model, opacity=0.4, strokeWidth=5, strokeCap="round").encode(
        x=alt.X("low:Q", title="minutes", scale=alt.Scale(zero=True)), x2="high:Q"
    )
    median_dots = base.mark_point(color=palette.model, filled=True, size=70, opacity=1).encode(x="median:Q")
    return _apply_layout(
        alt.LayerChart(layer=[interval_lines, median_dots]), palette, height=max(120, 22 * len(rows) + 50)
    )


def prediction_timeline(minutes: dict[str, float], clock_times: dict[str, str], palette: Palette) -> Chart:
    """Return a timeline of one prediction: acknowledgement, p10, p50, and p90, each with its clock time."""
    end = max(10.0, minutes["p90"] * 1.08)
    scale = alt.Scale(domain=[0, end], nice=False)
    x_axis = alt.X("at:Q", title="minutes after acknowledgement", scale=scale)
    full_range = alt.Chart(_inline_rows([{"at": 0.0, "to": minutes["p90"]}])).encode(x=x_axis, x2="to:Q")
    waiting_line = full_range.mark_rule(color=palette.secondary_text, strokeWidth=2, strokeDash=[3, 4])
    interval_rows = [
        {"at": minutes["p10"], "to": minutes["p90"], "strong": 0.3},
        {"at": minutes["p50"], "to": minutes["p80"], "strong": 0.3},
    ]
    interval_bars = (
        alt.Chart(_inline_rows(interval_rows))
        .mark_bar(color=palette.model, height=22, cornerRadius=4)
        .encode(x=x_axis, x2="to:Q", opacity=alt.Opacity("strong:Q", scale=None, legend=None))
    )
    dots = (
        alt.Chart(_inline_rows([{"at": 0.0}, {"at": minutes["p50"]}]))
        .mark_point(color=palette.model, filled=True, size=170, opacity=1, stroke=palette.background, strokeWidth=2)
        .encode(x=x_axis)
    )
    # A label ends at its mark where it would otherwise extend beyond the chart. Offsets keep labels apart.
    label_marks = [
        _text_mark(
            x_axis, minutes["p50"], f"p50 {clock_times['p50']}", -40, "left" if minutes["p50"] < end / 2 else "right"
        ),
        _text_mark(x_axis, 0.0, f"acknowledged {clock_times['acknowledged']}", -22, "left"),
        _text_mark(
            x_axis, minutes["p10"], f"p10 {clock_times['p10']}", 26, "left" if minutes["p10"] < end / 4 else "right"
        ),
        _text_mark(x_axis, minutes["p90"], f"p90 {clock_times['p90']}", 26, "right"),
    ]
    labels = [mark.encode(color=alt.value(palette.text)) for mark in label_marks]
    return _apply_layout(alt.LayerChart(layer=[waiting_line, interval_bars, dots, *labels]), palette, height=155)


def _text_mark(axis: alt.X, minutes: float, text: str, dy: int, align: Literal["left", "right"]) -> alt.Chart:
    base = alt.Chart(_inline_rows([{"at": minutes, "text": text}])).encode(x=axis, text="text:N")
    chart: alt.Chart = base.mark_text(dy=dy, align=align, fontSize=12)
    return chart


def what_if_chart(
    rows: pl.DataFrame,
    varied_input: Variable,
    current_value: float,
    palette: Palette,
    *,
    unknown_hours: Sequence[int] = (),
) -> Chart:
    """Return p50 as a line and p10 to p90 as a band over one varied input. A dashed line marks the current value.

    Gray areas mark `unknown_hours`, the hours for which there is no evidence.
    """
    if varied_input == "day":
        rows = rows.with_columns(at=pl.col("at").cast(pl.Int64).replace_strict(dict(enumerate(_WEEKDAYS))))
        x_axis = alt.X("at:O", sort=list(_WEEKDAYS), title="day of the week", axis=alt.Axis(labelAngle=0))
        current_x: alt.XDatum = alt.XDatum(_WEEKDAYS[int(current_value)])
    else:
        title = {"items": "number of items", "value": "order value, £", "hour": "local hour"}[varied_input]
        min_value, max_value = float(rows["at"].to_numpy().min()), float(rows["at"].to_numpy().max())
        scale = alt.Scale(domain=[min_value, max_value], nice=False)
        x_axis = alt.X("at:Q", title=title, scale=scale, axis=alt.Axis(tickMinStep=1, grid=False))
        current_x = alt.XDatum(current_value)
    base = alt.Chart(_inline_frame(rows)).encode(
        x=x_axis,
        tooltip=[
            alt.Tooltip("at:O" if varied_input == "day" else "at:Q", title=varied_input),
            *(alt.Tooltip(f"{name}:Q", title=f"{name}, min", format=".1f") for name in ("p10", "p50", "p80", "p90")),
        ],
    )
    interpolation: Literal["step", "linear"] = "step" if varied_input == "items" else "linear"
    band = base.mark_area(color=palette.model, opacity=_BAND_OPACITY, interpolate=interpolation).encode(
        y=alt.Y("p10:Q", title="minutes", scale=alt.Scale(zero=True)), y2="p90:Q"
    )
    line = base.mark_line(color=palette.model, strokeWidth=2.5, interpolate=interpolation).encode(y="p50:Q")
    current_line = (
        alt.Chart(_inline_rows([{}])).mark_rule(color=palette.text, strokeDash=[4, 4], opacity=0.7).encode(x=current_x)
    )
    gray_areas = [_gray_areas(unknown_hours, palette)] if unknown_hours else []
    return _apply_layout(alt.LayerChart(layer=[*gray_areas, band, line, current_line]), palette, height=190)


def _gray_areas(hours: Sequence[int], palette: Palette) -> alt.Chart:
    """Return an area for each hour, from half an hour before to half an hour after, within the axis."""
    areas = [{"at": max(0.0, hour - 0.5), "end": min(23.0, hour + 0.5), "note": "no orders"} for hour in hours]
    chart: alt.Chart = (
        alt.Chart(_inline_rows(areas))
        .mark_rect(color=palette.secondary_text, opacity=0.22, tooltip="no orders in the backtest")
        .encode(x=alt.X("at:Q"), x2="end:Q")
    )
    return chart


def _tooltips(field: str, title: str) -> list[alt.Tooltip]:
    number_formats = {"orders": ",d", "median": ".1f", "low": ".1f", "high": ".1f"}
    titles = {"orders": "orders", "median": "median p50, min", "low": "median p10, min", "high": "median p90, min"}
    return [
        alt.Tooltip(field, title=title),
        *(
            alt.Tooltip(f"{name}:Q", title=titles[name], format=number_format)
            for name, number_format in number_formats.items()
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
