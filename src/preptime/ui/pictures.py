"""The page Predict's pictures. Each fills the width it is given; the sentence above it says what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import altair as alt
import polars as pl

from preptime.evaluation.charts import Chart, Palette, themed
from preptime.scoring.what_if import Thing

HEIGHT = 240
FONT = '"Source Sans", sans-serif'
"""The page's own."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_BAND_OPACITY = 0.22


def distribution(bars: pl.DataFrame, title: str, palette: Palette, *, color: str = "") -> Chart:
    """Orders by minutes: `minutes`, `width`, `orders`."""
    rows = bars.with_columns(end=pl.col("minutes") + pl.col("width")).to_dicts()
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(color=color or palette.model, stroke=palette.surface, strokeWidth=0.5)
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
    return _sized(chart, palette)


def by_hour(rows: pl.DataFrame, palette: Palette) -> Chart:
    """The answer by hour of the day: the median p50 over the band of the median p10 to p90."""
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(
            "hour:O", title="local hour the order was acknowledged", axis=alt.Axis(labelAngle=0, labelOverlap=True)
        ),
        tooltip=_tips("hour:O", "hour"),
    )
    bars = base.mark_bar(color=palette.model, opacity=_BAND_OPACITY, width={"band": 0.7}, cornerRadius=3).encode(
        y=alt.Y("low:Q", title="minutes"), y2="high:Q"
    )
    ticks = base.mark_tick(color=palette.model, thickness=3, width={"band": 0.7}).encode(y="median:Q")
    return _sized(alt.LayerChart(layer=[bars, ticks]), palette)


def by_restaurant(rows: pl.DataFrame, palette: Palette) -> Chart:
    """The restaurants with most orders: the median p50 as a dot on the median p10 to p90."""
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("restaurant:N", sort=None, title="restaurant", axis=alt.Axis(labelLimit=110)),
        tooltip=_tips("restaurant:N", "restaurant"),
    )
    lines = base.mark_rule(color=palette.model, opacity=0.4, strokeWidth=5, strokeCap="round").encode(
        x=alt.X("low:Q", title="minutes", scale=alt.Scale(zero=True)), x2="high:Q"
    )
    dots = base.mark_point(color=palette.model, filled=True, size=70, opacity=1).encode(x="median:Q")
    return _sized(alt.LayerChart(layer=[lines, dots]), palette, height=max(120, 22 * len(rows) + 50))


def timeline(minutes: dict[str, float], clocks: dict[str, str], palette: Palette) -> Chart:
    """One answer on a line of time: acknowledged, then p10 to p90 with the p50; each with its clock."""
    end = max(10.0, minutes["p90"] * 1.08)
    x = alt.Scale(domain=[0, end], nice=False)
    axis = alt.X("at:Q", title="minutes after the order was acknowledged", scale=x)
    whole = alt.Chart(_rows([{"at": 0.0, "to": minutes["p90"]}])).encode(x=axis, x2="to:Q")
    waiting = whole.mark_rule(color=palette.muted, strokeWidth=2, strokeDash=[3, 4])
    spans = [
        {"at": minutes["p10"], "to": minutes["p90"], "strong": 0.3},
        {"at": minutes["p50"], "to": minutes["p80"], "strong": 0.3},
    ]
    likely = (
        alt.Chart(_rows(spans))
        .mark_bar(color=palette.model, height=22, cornerRadius=4)
        .encode(x=axis, x2="to:Q", opacity=alt.Opacity("strong:Q", scale=None, legend=None))
    )
    dots = (
        alt.Chart(_rows([{"at": 0.0}, {"at": minutes["p50"]}]))
        .mark_point(color=palette.model, filled=True, size=170, opacity=1, stroke=palette.surface, strokeWidth=2)
        .encode(x=axis)
    )
    # Labels end at their mark where they would run out of the picture, and keep out of each other's way.
    texts = [
        _label(axis, minutes["p50"], f"p50 {clocks['p50']}", -40, "left" if minutes["p50"] < end / 2 else "right"),
        _label(axis, 0.0, f"acknowledged {clocks['acknowledged']}", -22, "left"),
        _label(axis, minutes["p10"], f"p10 {clocks['p10']}", 26, "left" if minutes["p10"] < end / 4 else "right"),
        _label(axis, minutes["p90"], f"p90 {clocks['p90']}", 26, "right"),
    ]
    words = [text.encode(color=alt.value(palette.ink)) for text in texts]
    return _sized(alt.LayerChart(layer=[waiting, likely, dots, *words]), palette, height=155)


def _label(axis: alt.X, at: float, text: str, dy: int, align: Literal["left", "right"]) -> alt.Chart:
    words = alt.Chart(_rows([{"at": at, "text": text}])).encode(x=axis, text="text:N")
    chart: alt.Chart = words.mark_text(dy=dy, align=align, fontSize=12)
    return chart


def curve(rows: pl.DataFrame, thing: Thing, now: float, palette: Palette) -> Chart:
    """What if: p50 as a line over p10 to p90 as one thing changes; the dashed line is the order as it stands."""
    if thing == "day":
        rows = rows.with_columns(at=pl.col("at").cast(pl.Int64).replace_strict(dict(enumerate(_DAYS))))
        at = alt.X("at:O", sort=list(_DAYS), title="day of the week", axis=alt.Axis(labelAngle=0))
        here: alt.XDatum = alt.XDatum(_DAYS[int(now)])
    else:
        title = {"items": "number of items", "value": "value of the order, £", "hour": "local hour"}[thing]
        least, most = float(rows["at"].to_numpy().min()), float(rows["at"].to_numpy().max())
        scale = alt.Scale(domain=[least, most], nice=False)
        at = alt.X("at:Q", title=title, scale=scale, axis=alt.Axis(tickMinStep=1, grid=False))
        here = alt.XDatum(now)
    base = alt.Chart(_data(rows)).encode(
        x=at,
        tooltip=[
            alt.Tooltip("at:O" if thing == "day" else "at:Q", title=thing),
            *(alt.Tooltip(f"{name}:Q", title=f"{name}, min", format=".1f") for name in ("p10", "p50", "p80", "p90")),
        ],
    )
    step: Literal["step", "linear"] = "step" if thing == "items" else "linear"
    band = base.mark_area(color=palette.model, opacity=_BAND_OPACITY, interpolate=step).encode(
        y=alt.Y("p10:Q", title="minutes", scale=alt.Scale(zero=True)), y2="p90:Q"
    )
    line = base.mark_line(color=palette.model, strokeWidth=2.5, interpolate=step).encode(y="p50:Q")
    stands = alt.Chart(_rows([{}])).mark_rule(color=palette.ink, strokeDash=[4, 4], opacity=0.7).encode(x=here)
    return _sized(alt.LayerChart(layer=[band, line, stands]), palette, height=190)


def _tips(field: str, title: str) -> list[alt.Tooltip]:
    numbers = {"orders": ",d", "median": ".1f", "low": ".1f", "high": ".1f"}
    called = {"orders": "orders", "median": "median p50, min", "low": "median p10, min", "high": "median p90, min"}
    return [
        alt.Tooltip(field, title=title),
        *(alt.Tooltip(f"{name}:Q", title=called[name], format=kind) for name, kind in numbers.items()),
    ]


def _data(rows: pl.DataFrame) -> alt.InlineData:
    return _rows(rows.to_dicts())


def _rows(rows: Sequence[Mapping[str, object]]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _sized(chart: alt.Chart | alt.LayerChart, palette: Palette, height: int = HEIGHT) -> Chart:
    fitted = alt.AutoSizeParams(type="fit", contains="padding")
    drawn = themed(chart.properties(width="container", height=height, autosize=fitted), palette)
    drawn.config.font = FONT
    return drawn
