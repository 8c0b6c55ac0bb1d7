"""Altair charts of an evaluation, for the training report and the dashboard.

Each function takes rows from `aggregates`, the width of the whole chart in pixels, and a palette. Besides this module,
only `daily_charts` and the dashboard import Altair.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import altair as alt

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation.aggregates import ERROR_LIMIT_MINUTES, ChartRow
from preptime.evaluation.metrics import COVERAGE_BAND, INTERVAL_LEVEL

Chart: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart


@dataclass(frozen=True, slots=True)
class Palette:
    """Colors by role. Data colors follow Okabe and Ito (2008), which people with color blindness can distinguish."""

    text: str
    secondary_text: str
    grid: str
    background: str
    model: str
    lookup: str
    band: str
    series: tuple[str, ...]


LIGHT = Palette(
    text="#1f2328",
    secondary_text="#59636e",
    grid="#dfe3e8",
    background="#ffffff",
    model="#0072b2",
    lookup="#d55e00",
    band="#009e73",
    series=("#0073b3", "#019f74", "#d45d00", "#cc79a7", "#e59e00"),
)
DARK = Palette(
    text="#e6edf3",
    secondary_text="#9aa7b4",
    grid="#2d343d",
    background="#161b22",
    model="#56b4e9",
    lookup="#e69f00",
    band="#19b98b",
    series=("#57b5ea", "#1abb8d", "#ff8a3d", "#e39cc4", "#f0e442"),
)
"""Each color of `LIGHT` has its counterpart here, so that CSS can recolor a rendered chart."""

_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def hour_errors(rows: list[ChartRow], width: int, palette: Palette, unit: TimeUnit = MINUTES) -> Chart:
    """Return mean error by local hour: a bar for the model and a tick for the lookup.

    The axis fits hours with enough orders. Values of other hours are clipped.
    """
    metric_names = ("mae", "lookup_mae")
    reliable_values = [
        max(float(row[name]) for name in metric_names if name in row) for row in rows if not row["small_sample"]
    ]
    axis_limit = 1.1 * max(reliable_values) if reliable_values else math.inf
    clipped_rows: list[ChartRow] = [
        row | {name: min(float(row[name]), axis_limit) for name in metric_names if name in row} for row in rows
    ]
    x = alt.X("value:O", scale=hour_scale(int(row["value"]) for row in rows), title="local hour of acknowledgement")
    base = alt.Chart(inline_data(clipped_rows)).encode(x=x.axis(labelOverlap=True, labelAngle=0))
    bars = base.mark_bar(color=palette.model, cornerRadiusEnd=2).encode(
        y=alt.Y("mae:Q", title=f"mean error, {unit.name}"),
        opacity=_opacity_by_sample_size(),
        description=alt.Description("tip:N"),
    )
    ticks = base.mark_tick(color=palette.lookup, thickness=3, opacity=1).encode(y="lookup_mae:Q")
    return with_theme(with_size(_layered(bars, ticks), width, _plot_height(width)), palette)


def hour_scale(hours: Iterable[int]) -> alt.Scale:
    """Return a scale of hours as text, from the first to the last one. An hour without orders is a gap.

    There must be an hour.
    """
    known = sorted(hours)
    return alt.Scale(domain=[str(hour) for hour in range(known[0], known[-1] + 1)])


def segment_errors(rows: list[ChartRow], width: int, palette: Palette, unit: TimeUnit = MINUTES) -> Chart:
    """Return mean error by segment, one block per dimension: a bar for the model and a tick for the lookup."""
    return with_theme(_faceted(_segment_bars(palette, unit), rows, width), palette)


def dimension_errors(rows: list[ChartRow], width: int, palette: Palette, unit: TimeUnit = MINUTES) -> Chart:
    """Return `segment_errors` for one dimension, without a block heading."""
    return with_theme(_unfaceted(_segment_bars(palette, unit), rows, width), palette)


def segment_coverage(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return coverage of p10–p90 by segment with 95% intervals, over the band that the gate accepts."""
    return with_theme(_faceted(_segment_intervals(rows, palette), rows, width), palette)


def dimension_coverage(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return `segment_coverage` for one dimension, without a block heading."""
    return with_theme(_unfaceted(_segment_intervals(rows, palette), rows, width), palette)


def _segment_bars(palette: Palette, unit: TimeUnit) -> alt.LayerChart:
    base = alt.Chart().encode(y=_segment_axis())
    bars = base.mark_bar(color=palette.model, cornerRadiusEnd=2, height={"band": 0.7}).encode(
        x=alt.X("mae:Q", title=f"mean error, {unit.name}"),
        opacity=_opacity_by_sample_size(),
        description=alt.Description("tip:N"),
    )
    ticks = base.mark_tick(color=palette.lookup, thickness=3, opacity=1).encode(x="lookup_mae:Q")
    return _layered(bars, ticks)


def _segment_intervals(rows: list[ChartRow], palette: Palette) -> alt.LayerChart:
    base = alt.Chart().encode(y=_segment_axis())
    low = min([COVERAGE_BAND[0], *(float(row["coverage_low"]) for row in rows)])
    scale = alt.Scale(domain=[max(0.0, round(low - 0.05, 1)), 1.0], nice=False)
    x_axis = alt.Axis(format=".0%", title="orders within p10–p90")
    # A separate data set, drawn once per block and not once per segment.
    gate = alt.Chart(inline_data([{"low": COVERAGE_BAND[0], "target": INTERVAL_LEVEL, "high": COVERAGE_BAND[1]}]))
    band = gate.mark_rect(color=palette.band, opacity=0.16).encode(
        x=alt.X("low:Q", axis=x_axis, scale=scale), x2="high:Q"
    )
    nominal = gate.mark_rule(color=palette.band, strokeWidth=1.5).encode(x="target:Q")
    interval = base.mark_rule(color=palette.model, strokeWidth=2, opacity=0.45).encode(
        x="coverage_low:Q", x2="coverage_high:Q"
    )
    dots = base.mark_point(color=palette.model, filled=True, size=60, opacity=1).encode(
        x="coverage:Q", description=alt.Description("coverage_tip:N")
    )
    return _layered(band, nominal, interval, dots)


def predicted_vs_actual(
    density_rows: list[ChartRow],
    quartiles: list[ChartRow],
    limit_minutes: int,
    width: int,
    palette: Palette,
    *,
    unit: TimeUnit = MINUTES,
) -> Chart:
    """Return a grid of predicted × actual times, with the median and the quartiles of the actual times."""
    limit = unit.from_minutes(limit_minutes)
    scale = alt.Scale(domain=[0, limit], nice=False)
    density = (
        alt.Chart(inline_data(density_rows))
        .mark_rect(color=palette.model)
        .encode(
            x=alt.X("predicted:Q", title=f"predicted (p50), {unit.name}", scale=scale),
            x2="predicted_end:Q",
            y=alt.Y("actual:Q", title=f"actual, {unit.name}", scale=scale),
            y2="actual_end:Q",
            opacity=alt.Opacity("weight:Q", scale=alt.Scale(domain=[0, 1], range=[0.06, 0.95]), legend=None),
            description=alt.Description("tip:N"),
        )
    )
    ends = inline_data([{"x": 0, "y": 0}, {"x": limit, "y": limit}])
    diagonal = alt.Chart(ends).mark_line(color=palette.text, strokeDash=[4, 4], opacity=0.7).encode(x="x:Q", y="y:Q")
    summary = alt.Chart(inline_data(quartiles)).encode(x="predicted:Q")
    quartile_lines = summary.mark_rule(color=palette.lookup, strokeWidth=2).encode(y="low:Q", y2="high:Q")
    dots = summary.mark_point(
        filled=True, size=45, opacity=1, color=palette.lookup, stroke=palette.background, strokeWidth=1
    ).encode(y="median:Q")
    return with_theme(with_size(_layered(density, diagonal, quartile_lines, dots), width, _plot_height(width)), palette)


def calibration(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return observed against nominal coverage of each quantile: all orders as a line, fallback levels as marks."""
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("nominal:Q", axis=alt.Axis(format=".0%", title="nominal", values=[0, 0.1, 0.5, 0.8, 0.9, 1]), scale=scale)
    y = alt.Y("observed:Q", axis=alt.Axis(format=".0%", title="observed: orders at or under the quantile"), scale=scale)
    ends = inline_data([{"x": 0, "low": -0.03, "y": 0, "high": 0.03}, {"x": 1, "low": 0.97, "y": 1, "high": 1.03}])
    ideal = alt.Chart(ends).encode(x="x:Q")
    corridor = ideal.mark_area(color=palette.band, opacity=0.16, clip=True).encode(y="low:Q", y2="high:Q")
    line = ideal.mark_line(color=palette.band, strokeWidth=1.5).encode(y="y:Q")
    groups = list(dict.fromkeys(str(row["group"]) for row in rows))
    base = alt.Chart(inline_data(rows)).encode(x=x, y=y)
    overall = alt.Chart(inline_data([row for row in rows if row["group"] == groups[0]])).encode(x=x, y=y)
    legend = alt.Legend(title=None, orient="bottom", columns=3)
    marks = base.mark_point(filled=True, size=80, opacity=0.9).encode(
        color=alt.Color(
            "group:N", scale=alt.Scale(domain=groups, range=[palette.text, *palette.series]), legend=legend
        ),
        shape=alt.Shape("group:N", scale=alt.Scale(domain=groups, range=list(_SHAPES)), legend=legend),
        description=alt.Description("tip:N"),
    )
    return with_theme(
        with_size(
            _layered(corridor, line, overall.mark_line(color=palette.text, strokeWidth=2), marks),
            width,
            _plot_height(width),
        ),
        palette,
    )


def error_distribution(
    rows: list[ChartRow], model: str, width: int, palette: Palette, unit: TimeUnit = MINUTES
) -> Chart:
    """Return the share of orders per minute of error: bars for the model, and a line for the lookup.

    Bars within five minutes are darker.
    """
    limit, dark = unit.from_minutes(ERROR_LIMIT_MINUTES), unit.from_minutes(5)
    x = alt.X(
        "error:Q",
        title=f"predicted − actual, {unit.name} (left: later than predicted)",
        scale=alt.Scale(domain=[-limit, limit], nice=False),
    )
    y = alt.Y("share:Q", axis=alt.Axis(format=".0%", title="orders"), stack=None)
    bars = (
        alt.Chart(inline_data([row for row in rows if row["model"] == model]))
        .mark_rect(color=palette.model, stroke=palette.background, strokeWidth=0.5)
        .encode(
            x=x,
            x2="error_end:Q",
            y=y,
            y2=alt.Y2Datum(0),
            opacity=alt.condition(
                f"datum.error >= {-dark:.17g} && datum.error < {dark:.17g}", alt.value(1.0), alt.value(0.45)
            ),
            description=alt.Description("tip:N"),
        )
    )
    lookup = (
        alt.Chart(inline_data([row for row in rows if row["model"] != model]))
        .mark_line(color=palette.lookup, interpolate="step-after", strokeWidth=2)
        .encode(x="error:Q", y=y)
    )
    zero = alt.Chart().mark_rule(color=palette.text, strokeDash=[4, 4], opacity=0.7).encode(x=alt.XDatum(0))
    return with_theme(with_size(_layered(bars, lookup, zero), width, _plot_height(width)), palette)


def importance(rows: list[ChartRow], width: int, palette: Palette) -> Chart:
    """Return feature importance as shares of the total."""
    # Leaves room for the widest font that a browser may choose.
    labels = min(200, 7 * max(len(str(row["feature"])) for row in rows))
    bars = (
        alt.Chart(inline_data(rows))
        .mark_bar(color=palette.model, cornerRadiusEnd=2)
        .encode(
            x=alt.X("share:Q", axis=alt.Axis(format=".0%", title="share of the importance")),
            y=alt.Y("feature:N", sort=None, title=None, axis=alt.Axis(labelLimit=200, minExtent=labels)),
            description=alt.Description("tip:N"),
        )
    )
    return with_theme(with_size(bars, width, 24 * len(rows) + 50), palette)


def with_theme(chart: Chart, palette: Palette) -> Chart:
    """Return `chart` in the palette, with a transparent background and plain axes."""
    return chart.properties(
        config=alt.Config(
            background="transparent",
            font="sans-serif",
            view=alt.ViewConfig(stroke=None),
            axis=alt.AxisConfig(
                labelColor=palette.secondary_text,
                titleColor=palette.secondary_text,
                titleFontWeight="normal",
                labelFontSize=11,
                titleFontSize=11,
                labelPadding=5,
                domain=False,
                ticks=False,
                grid=False,
            ),
            # The last label ends at the edge of the chart, so it's closer to the one before it.
            axisQuantitative=alt.AxisConfig(grid=True, gridColor=palette.grid, tickCount=6, labelSeparation=6),
            legend=alt.LegendConfig(labelColor=palette.text, labelFontSize=11, symbolSize=80),
            header=alt.HeaderConfig(labelColor=palette.secondary_text, labelFontSize=11, labelFontWeight="bold"),
        )
    )


def _plot_height(width: int) -> int:
    return min(width, 390)


def inline_data(rows: list[ChartRow]) -> alt.InlineData:
    """Return `rows` as the data of a chart."""
    return alt.InlineData(values=rows)


def _layered(*charts: alt.Chart) -> alt.LayerChart:
    return alt.LayerChart(layer=list(charts))


def with_size(chart: alt.Chart | alt.LayerChart, width: int, height: int) -> alt.Chart | alt.LayerChart:
    """Return `chart` in the given size in pixels, including axes and titles."""
    return chart.properties(
        width=width, height=height, autosize=alt.AutoSizeParams(type="fit", contains="padding"), padding=4
    )


def _faceted(layers: alt.LayerChart, rows: list[ChartRow], width: int) -> alt.FacetChart:
    header = alt.Header(title=None, labelOrient="top", labelAnchor="start", labelPadding=4)
    dimensions = list(dict.fromkeys(str(row["dimension"]) for row in rows))
    sized = layers.properties(width=max(120, width - 170), height=alt.Step(19))
    return alt.FacetChart(
        data=inline_data(rows),
        spec=sized,
        facet=alt.FacetMapping(row=alt.Row("dimension:N", sort=dimensions, header=header)),
        resolve=alt.Resolve(scale=alt.ScaleResolveMap(y="independent")),
        spacing=12,
        padding=4,
    )


def _unfaceted(layers: alt.LayerChart, rows: list[ChartRow], width: int) -> alt.LayerChart:
    autosize = alt.AutoSizeParams(type="fit-x", contains="padding")
    return layers.properties(data=inline_data(rows), width=width, height=alt.Step(22), autosize=autosize, padding=4)


def _segment_axis() -> alt.Y:
    return alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=145, minExtent=145, maxExtent=145))


def _opacity_by_sample_size() -> alt.Opacity:
    return alt.Opacity("small_sample:N", scale=alt.Scale(domain=[False, True], range=[1.0, 0.4]), legend=None)
