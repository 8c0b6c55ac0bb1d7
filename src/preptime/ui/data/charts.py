"""The page Data's pictures, from the rows of `preptime.tables.looks`. Each fills the width it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import altair as alt

from preptime.evaluation.charts import Chart, Palette, fitted, themed
from preptime.tables.looks import Distribution, Row

_HIGH = 280
_UTC = alt.Scale(type="utc")
_DAYS = alt.Axis(format="%-d %b", labelOverlap=True)
"""A day is a day: read as UTC and shown as UTC, it is nobody's evening before."""
_EFFECTS = ["keeps out of something", "only a flag"]

Kind = Literal["value", "day", "name"]
"""What a preparation time is shown by: something ordered, a day, or a name."""


def distribution(found: Distribution, title: str, unit: str, width: int, palette: Palette) -> Chart:
    """Orders by their measure; those beyond the fence orange, with the fence and the median as lines."""
    rows: list[Row] = [
        {
            **one,
            "where": "beyond the fence" if one["beyond"] else "inside",
            "tip": f"{one['orders']:,} orders from {one['low']:g} to {one['high']:g} {unit}",
        }
        for one in found.bins
    ]
    x = alt.X("low:Q", title=title, scale=alt.Scale(domain=[rows[0]["low"], found.limit], nice=False))
    bars = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(stroke=palette.surface, strokeWidth=0.5)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("orders:Q", title="orders", axis=alt.Axis(format=",d", tickMinStep=1)),
            y2=alt.Y2Datum(0),
            color=alt.Color(
                "where:N",
                scale=alt.Scale(domain=["inside", "beyond the fence"], range=[palette.model, palette.lookup]),
                legend=None,
            ),
            tooltip=alt.Tooltip("tip:N"),
        )
    )
    marks: list[Row] = [{"at": found.median, "name": f"median {found.median:.1f}", "row": 14}]
    if found.fence < found.limit:
        marks.append({"at": found.fence, "name": f"fence {found.fence:.1f}", "row": 14})
    base = alt.Chart(alt.InlineData(values=marks)).encode(x="at:Q")
    lines = base.mark_rule(color=palette.ink, strokeDash=[4, 4], opacity=0.75)
    words = base.mark_text(align="left", baseline="top", dx=5, y=2, color=palette.ink, fontSize=11).encode(
        text="name:N"
    )
    return themed(fitted(alt.LayerChart(layer=[bars, lines, words]), width, _HIGH), palette)


def by(rows: Sequence[Row], kind: Kind, title: str, width: int, palette: Palette) -> Chart:
    """Preparation time by a thing, as its kind is best seen."""
    if kind == "name":
        return by_name(rows, width, palette)
    return by_day(rows, width, palette) if kind == "day" else by_value(rows, title, width, palette)


def by_value(rows: Sequence[Row], title: str, width: int, palette: Palette) -> Chart:
    """Preparation time by an ordered thing (hour, weekday): the middle half as a bar, the median as a tick."""
    order = [str(row["value"]) for row in rows]
    base = alt.Chart(_told(rows)).encode(
        x=alt.X("value:N", sort=order, title=title, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        opacity=_paler(),
        tooltip=alt.Tooltip("tip:N"),
    )
    # Values with few orders don't stretch the picture: they end at its edge.
    solid = [float(row["q3"]) for row in rows if not row["few"]] or [float(row["q3"]) for row in rows]
    scale = alt.Scale(domain=[0, 1.1 * max(solid) or 1.0], nice=False)
    bars = base.mark_bar(color=palette.model, width={"band": 0.62}, cornerRadius=3, clip=True).encode(
        y=alt.Y("q1:Q", title="preparation time, minutes", scale=scale), y2="q3:Q"
    )
    ticks = base.mark_tick(color=palette.lookup, thickness=3, width={"band": 0.62}, clip=True).encode(y="median:Q")
    return themed(fitted(alt.LayerChart(layer=[bars, ticks]), width, _HIGH), palette)


def by_day(rows: Sequence[Row], width: int, palette: Palette) -> Chart:
    """Preparation time by local day: the band of the middle half, the median as a line."""
    base = alt.Chart(_told(rows)).encode(x=alt.X("value:T", title="local day", axis=_DAYS, scale=_UTC))
    band = base.mark_area(color=palette.model, opacity=0.25).encode(
        y=alt.Y("q1:Q", title="preparation time, minutes", scale=alt.Scale(domainMin=0)), y2="q3:Q"
    )
    line = base.mark_line(color=palette.model, strokeWidth=2.5).encode(y="median:Q")
    dots = base.mark_point(color=palette.model, filled=True, size=40, opacity=1).encode(
        y="median:Q", tooltip=alt.Tooltip("tip:N")
    )
    return themed(fitted(alt.LayerChart(layer=[band, line, dots]), width, _HIGH), palette)


def by_name(rows: Sequence[Row], width: int, palette: Palette) -> Chart:
    """Preparation time by city or type of food: the middle half as a bar, the median as a tick, largest first."""
    base = alt.Chart(_told(rows)).encode(
        y=alt.Y("value:N", sort=None, title=None, axis=alt.Axis(labelLimit=130)),
        opacity=_paler(),
        tooltip=alt.Tooltip("tip:N"),
    )
    bars = base.mark_bar(color=palette.model, height={"band": 0.62}, cornerRadius=3).encode(
        x=alt.X("q1:Q", title="preparation time, minutes", scale=alt.Scale(zero=True)), x2="q3:Q"
    )
    ticks = base.mark_tick(color=palette.lookup, thickness=3, height={"band": 0.62}).encode(x="median:Q")
    return themed(fitted(alt.LayerChart(layer=[bars, ticks]), width, 22 * len(rows) + 50), palette)


def counts(rows: Sequence[Row], kind: Kind, title: str, width: int, palette: Palette) -> Chart:
    """How many orders stand behind each value."""
    base = alt.Chart(_told(rows)).encode(tooltip=alt.Tooltip("tip:N"))
    axis = alt.Axis(format=",d", tickMinStep=1)
    if kind == "name":
        named = base.mark_bar(color=palette.muted, height={"band": 0.62}, cornerRadiusEnd=2).encode(
            y=alt.Y("value:N", sort=None, title=None, axis=alt.Axis(labelLimit=130)),
            x=alt.X("orders:Q", title="orders", axis=axis),
        )
        return themed(fitted(named, width, 22 * len(rows) + 50), palette)
    if kind == "day":
        x = alt.X("utcyearmonthdate(value):T", title=title, axis=_DAYS, scale=_UTC)
    else:
        upright = alt.Axis(labelAngle=0, labelOverlap=True)
        x = alt.X("value:N", sort=[str(row["value"]) for row in rows], title=title, axis=upright)
    bars = base.mark_bar(color=palette.muted, width={"band": 0.62}, cornerRadiusEnd=2).encode(
        x=x, y=alt.Y("orders:Q", title="orders", axis=axis)
    )
    return themed(fitted(bars, width, _HIGH), palette)


def correlation(rows: Sequence[Row], width: int, palette: Palette) -> Chart:
    """A square for each pair: blue together, orange opposed, the stronger the more."""
    names = list(dict.fromkeys(str(row["a"]) for row in rows))
    told: list[Row] = [{**row, "tip": f"{row['a']} and {row['b']}: {row['r']:.2f}"} for row in rows]
    base = alt.Chart(alt.InlineData(values=told)).encode(
        x=alt.X("a:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=140)),
        y=alt.Y("b:N", sort=names, title=None, axis=alt.Axis(labelLimit=140)),
        tooltip=alt.Tooltip("tip:N"),
    )
    scale = alt.Scale(domain=[-1, 0, 1], range=[palette.lookup, palette.surface, palette.model], interpolate="rgb")
    squares = base.mark_rect(stroke=palette.surface, strokeWidth=2).encode(
        color=alt.Color("r:Q", scale=scale, legend=None)
    )
    words = base.mark_text(fontSize=11).encode(
        text=alt.Text("r:Q", format=".2f"),
        color=alt.condition("abs(datum.r) > 0.6", alt.value(palette.surface), alt.value(palette.ink)),
    )
    return themed(fitted(alt.LayerChart(layer=[squares, words]), width, 46 * len(names) + 110), palette)


def restaurants(rows: Sequence[Row], what: str, width: int, palette: Palette) -> Chart:
    """`what` (restaurants or orders) by the number of orders of a restaurant; those the notebook dropped orange."""
    told: list[Row] = [
        {
            **row,
            "kept in": "kept by the notebook" if row["kept"] else "left out by the notebook",
            "tip": f"{row['restaurants']:,} restaurants with {row['band']} orders: {row['orders']:,} orders",
        }
        for row in rows
    ]
    kinds = ["kept by the notebook", "left out by the notebook"]
    bars = (
        alt.Chart(alt.InlineData(values=told))
        .mark_bar(cornerRadiusEnd=2, width={"band": 0.7})
        .encode(
            x=alt.X(
                "band:N", sort=None, title="orders of a restaurant", axis=alt.Axis(labelAngle=0, labelOverlap=True)
            ),
            y=alt.Y(f"{what}:Q", title=what, axis=alt.Axis(format=",d")),
            color=alt.Color(
                "kept in:N",
                scale=alt.Scale(domain=kinds, range=[palette.model, palette.lookup]),
                legend=alt.Legend(title=None, orient="bottom", columns=1),
            ),
            tooltip=alt.Tooltip("tip:N"),
        )
    )
    return themed(fitted(bars, width, _HIGH), palette)


def dots(rows: Sequence[Row], title: str, fences: tuple[float, float], width: int, palette: Palette) -> Chart:
    """A sample of orders, a measure against preparation time, each up to twice its fence; beyond the second orange."""
    x_end, y_end = 2 * fences[0], 2 * fences[1]
    shown: list[Row] = [
        {
            "x": min(float(row["x"]), x_end),
            "minutes": min(float(row["minutes"]), y_end),
            "beyond": float(row["minutes"]) > fences[1],
        }
        for row in rows
    ]
    colours = alt.Scale(domain=[False, True], range=[palette.model, palette.lookup])
    marks = (
        alt.Chart(alt.InlineData(values=shown))
        .mark_circle(size=22, opacity=0.4)
        .encode(
            x=alt.X("x:Q", title=title, scale=alt.Scale(domain=[0, x_end], nice=False)),
            y=alt.Y("minutes:Q", title="preparation time, minutes", scale=alt.Scale(domain=[0, y_end], nice=False)),
            color=alt.Color("beyond:N", scale=colours, legend=None),
        )
    )
    return themed(fitted(marks, width, _HIGH), palette)


def reasons(rows: Sequence[Row], width: int, palette: Palette) -> Chart:
    """Orders by the reason that their audit gave; those that keep an order out of something orange."""
    bars = (
        alt.Chart(alt.InlineData(values=list(rows)))
        .mark_bar(cornerRadiusEnd=2, height={"band": 0.62})
        .encode(
            y=alt.Y("reason:N", sort=None, title=None, axis=alt.Axis(labelLimit=190)),
            x=alt.X("orders:Q", title="orders", axis=alt.Axis(format=",d", tickMinStep=1)),
            color=alt.Color(
                "effect:N",
                scale=alt.Scale(
                    domain=["keeps out of something", "only a flag"], range=[palette.lookup, palette.muted]
                ),
                legend=alt.Legend(title=None, orient="bottom", columns=1),
            ),
            tooltip=alt.Tooltip("tip:N"),
        )
    )
    return themed(fitted(bars, width, 26 * len(rows) + 80), palette)


def _told(rows: Sequence[Row]) -> alt.InlineData:
    values: list[Row] = [
        {
            **row,
            "tip": f"{row['value']}: median {row['median']:.1f} min, half from {row['q1']:.1f} to {row['q3']:.1f}; "
            f"{row['orders']:,} orders",
        }
        for row in rows
    ]
    return alt.InlineData(values=values)


def _paler() -> alt.Opacity:
    return alt.Opacity("few:N", scale=alt.Scale(domain=[False, True], range=[1.0, 0.4]), legend=None)
