"""Pictures that only this page draws; those of a training run are `preptime.evaluation.charts`."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from preptime.evaluation.aggregates import FEW_ORDERS
from preptime.evaluation.charts import Chart, Palette, fitted, themed
from preptime.evaluation.documents import Score
from preptime.evaluation.overview import SegmentPair

_KINDS = {"model": "other models", "baseline": "baselines"}


def scores(rows: Sequence[Score], default: str, width: int, palette: Palette) -> Chart:
    """Mean error of every answer, best first: models blue (the default strong), baselines orange."""
    ordered = sorted((row for row in rows if row.mae is not None), key=lambda row: row.mae or 0.0)
    data = [
        {
            "name": row.name.replace("_", " "),
            "minutes": minutes,
            "kind": "the default answer" if row.name == default else _KINDS[row.kind],
            "label": f"{minutes:.2f}",
            "tip": f"{row.name}: {minutes:.2f} min mean error over {row.n:,} orders",
        }
        for row in ordered
        for minutes in [(row.mae or 0.0) / 60]
    ]
    kinds = ["the default answer", *_KINDS.values()]
    farthest = max((float(str(row["minutes"])) for row in data), default=1.0)
    base = alt.Chart(alt.InlineData(values=data)).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=140)),
        x=alt.X("minutes:Q", title="mean error, minutes", scale=alt.Scale(domain=[0, 1.12 * farthest], nice=False)),
        tooltip=alt.Tooltip("tip:N"),
    )
    bars = base.mark_bar(cornerRadiusEnd=2, height={"band": 0.68}).encode(
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=kinds, range=[palette.model, palette.muted, palette.lookup]),
            legend=alt.Legend(title=None, orient="bottom", columns=2),
        )
    )
    words = base.mark_text(align="left", dx=5, color=palette.ink, fontSize=11).encode(text="label:N")
    return themed(fitted(alt.LayerChart(layer=[bars, words]), width, 27 * len(data) + 70), palette)


def pairs(rows: Sequence[SegmentPair], names: tuple[str, str], width: int, palette: Palette) -> Chart:
    """Mean error of two bundles in each segment: two dots and the line between them."""
    named = [
        {
            "segment": row.value,
            "bundle": name,
            "minutes": value / 60,
            "few": min(row.orders) < FEW_ORDERS,
            "tip": f"{row.value}, {name}: {value / 60:.2f} min over {orders:,} orders",
        }
        for row in rows
        for name, value, orders in zip(names, (row.first, row.second), row.orders, strict=True)
        if value is not None
    ]
    y = alt.Y("segment:N", sort=[row.value for row in rows], title=None, axis=alt.Axis(labelLimit=140))
    paler = alt.Opacity("few:N", scale=alt.Scale(domain=[False, True], range=[1.0, 0.35]), legend=None)
    base = alt.Chart(alt.InlineData(values=named)).encode(y=y, opacity=paler)
    lines = base.mark_line(color=palette.grid, strokeWidth=3).encode(x="minutes:Q", detail="segment:N")
    colour = alt.Color(
        "bundle:N",
        scale=alt.Scale(domain=list(names), range=[palette.model, palette.lookup]),
        legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=300),
    )
    shape = alt.Shape("bundle:N", scale=alt.Scale(domain=list(names), range=["circle", "square"]), legend=None)
    x = alt.X("minutes:Q", title="mean error, minutes", scale=alt.Scale(zero=False, nice=True))
    # The second is hollow and larger, so that both are seen where they agree.
    dots = base.encode(x=x, color=colour, shape=shape, tooltip=alt.Tooltip("tip:N"))
    first = dots.transform_filter(f"datum.bundle === '{names[0]}'").mark_point(filled=True, size=60)
    second = dots.transform_filter(f"datum.bundle === '{names[1]}'").mark_point(size=150, strokeWidth=2)
    return themed(fitted(alt.LayerChart(layer=[lines, first, second]), width, 24 * len(rows) + 100), palette)
