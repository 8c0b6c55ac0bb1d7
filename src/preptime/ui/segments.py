"""Error and coverage by segment: of a training run, and of the weeks that monitoring looks at."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import streamlit as st

from preptime.evaluation import aggregates, charts
from preptime.evaluation.documents import Segment, SegmentDimension
from preptime.evaluation.sentences import segment_coverage_caption, segment_errors_caption
from preptime.ui.show import Column, chart_card, data_table

DIMENSION_TITLES: dict[SegmentDimension, str] = {
    "city": "city",
    "type_of_food": "type of food",
    "hour": "local hour",
    "items": "number of items",
    "fallback_level": "basis of the answer",
}
"""What orders can be cut by, as people call it."""

_COLUMNS = (
    Column("value", "segment"),
    Column("n", "orders", "count"),
    Column("mae", "mean error", "minutes"),
    Column("lookup_mae", "lookup's", "minutes"),
    Column("bias", "bias", "minutes", "Predicted minus actual: below 0 the food came later than said"),
    Column("within_5_min", "within 5 min", "percent"),
    Column("coverage", "inside p10–p90", "percent"),
)


def choose_dimension(dimensions: Sequence[SegmentDimension], *, key: str) -> SegmentDimension:
    """One of these cuts that somebody picks, at first the first."""
    dimension: SegmentDimension = st.segmented_control(
        "Group by", dimensions, format_func=DIMENSION_TITLES.__getitem__, default=dimensions[0], required=True, key=key
    )
    return dimension


def segment_charts(segments: Sequence[Segment], dimension: SegmentDimension) -> None:
    """Error and coverage of the segments of a cut; at least one."""
    rows = aggregates.segment_rows(segments, (dimension,))
    left, right = st.columns(2)
    with left:
        chart_card(
            f"Mean error by {DIMENSION_TITLES[dimension]}",
            segment_errors_caption(rows),
            lambda width, palette: charts.dimension_errors(rows, width, palette),
        )
    with right:
        chart_card(
            f"Coverage of p10–p90 by {DIMENSION_TITLES[dimension]}",
            segment_coverage_caption(rows),
            lambda width, palette: charts.dimension_coverage(rows, width, palette),
        )


def segment_table(segments: Sequence[Segment], dimension: SegmentDimension, *, key: str) -> None:
    """Every segment of a cut."""
    data_table(
        [msgspec.structs.asdict(segment) for segment in segments if segment.segment == dimension], _COLUMNS, key=key
    )
