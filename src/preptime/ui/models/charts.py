"""Pictures that only this page draws; those of a training run are `preptime.evaluation.charts`."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS
from preptime.evaluation.charts import Chart, Palette, with_size, with_theme
from preptime.evaluation.documents import Score
from preptime.evaluation.overview import SegmentComparison

_KIND_LABELS = {"model": "other models", "baseline": "baselines"}


def model_errors(rows: Sequence[Score], default: str, width: int, palette: Palette) -> Chart:
    """Mean error of every answer, best first: models blue (the default strong), baselines orange."""
    sorted_scores = sorted((row for row in rows if row.mae is not None), key=lambda row: row.mae or 0.0)
    chart_rows = [
        {
            "name": row.name.replace("_", " "),
            "minutes": minutes,
            "kind": "the default answer" if row.name == default else _KIND_LABELS[row.kind],
            "label": f"{minutes:.2f}",
            "tip": f"{row.name}: {minutes:.2f} min mean error over {row.n:,} orders",
        }
        for row in sorted_scores
        for minutes in [(row.mae or 0.0) / 60]
    ]
    legend_labels = ["the default answer", *_KIND_LABELS.values()]
    max_minutes = max((float(str(row["minutes"])) for row in chart_rows), default=1.0)
    base = alt.Chart(alt.InlineData(values=chart_rows)).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=140)),
        x=alt.X("minutes:Q", title="mean error, minutes", scale=alt.Scale(domain=[0, 1.12 * max_minutes], nice=False)),
        tooltip=alt.Tooltip("tip:N"),
    )
    bars = base.mark_bar(cornerRadiusEnd=2, height={"band": 0.68}).encode(
        color=alt.Color(
            "kind:N",
            scale=alt.Scale(domain=legend_labels, range=[palette.model, palette.secondary_text, palette.lookup]),
            legend=alt.Legend(title=None, orient="bottom", columns=2),
        )
    )
    labels = base.mark_text(align="left", dx=5, color=palette.text, fontSize=11).encode(text="label:N")
    return with_theme(with_size(alt.LayerChart(layer=[bars, labels]), width, 27 * len(chart_rows) + 70), palette)


def segment_error_pairs(
    rows: Sequence[SegmentComparison], names: tuple[str, str], width: int, palette: Palette
) -> Chart:
    """Mean error of two bundles in each segment: two dots and the line between them."""
    chart_rows = [
        {
            "segment": row.value,
            "bundle": name,
            "minutes": value / 60,
            "few": min(row.orders) < MIN_RELIABLE_ORDERS,
            "tip": f"{row.value}, {name}: {value / 60:.2f} min over {orders:,} orders",
        }
        for row in rows
        for name, value, orders in zip(names, (row.first, row.second), row.orders, strict=True)
        if value is not None
    ]
    y = alt.Y("segment:N", sort=[row.value for row in rows], title=None, axis=alt.Axis(labelLimit=140))
    small_group_opacity = alt.Opacity("few:N", scale=alt.Scale(domain=[False, True], range=[1.0, 0.35]), legend=None)
    base = alt.Chart(alt.InlineData(values=chart_rows)).encode(y=y, opacity=small_group_opacity)
    lines = base.mark_line(color=palette.grid, strokeWidth=3).encode(x="minutes:Q", detail="segment:N")
    color = alt.Color(
        "bundle:N",
        scale=alt.Scale(domain=list(names), range=[palette.model, palette.lookup]),
        legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=300),
    )
    shape = alt.Shape("bundle:N", scale=alt.Scale(domain=list(names), range=["circle", "square"]), legend=None)
    x = alt.X("minutes:Q", title="mean error, minutes", scale=alt.Scale(zero=False, nice=True))
    # The second is hollow and larger, so that both are seen where they agree.
    points = base.encode(x=x, color=color, shape=shape, tooltip=alt.Tooltip("tip:N"))
    first_points = points.transform_filter(f"datum.bundle === '{names[0]}'").mark_point(filled=True, size=60)
    second_points = points.transform_filter(f"datum.bundle === '{names[1]}'").mark_point(size=150, strokeWidth=2)
    return with_theme(
        with_size(alt.LayerChart(layer=[lines, first_points, second_points]), width, 24 * len(rows) + 100), palette
    )
