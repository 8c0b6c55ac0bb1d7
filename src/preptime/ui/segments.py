"""Error and coverage by segment: of a training run, and of the weeks that monitoring looks at."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import streamlit as st

from preptime.evaluation import aggregates, charts
from preptime.evaluation.documents import Segment, SegmentName
from preptime.evaluation.sentences import segment_coverage_sentence, segment_errors_sentence
from preptime.ui.show import Column, picture, table

CUTS: dict[SegmentName, str] = {
    "city": "city",
    "type_of_food": "type of food",
    "hour": "local hour",
    "items": "number of items",
    "basis": "basis of the answer",
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


def choose_cut(cuts: Sequence[SegmentName], *, key: str) -> SegmentName:
    """One of these cuts that somebody picks, at first the first."""
    cut: SegmentName = st.segmented_control(
        "Cut the orders by", cuts, format_func=CUTS.__getitem__, default=cuts[0], required=True, key=key
    )
    return cut


def pictures_by(segments: Sequence[Segment], cut: SegmentName) -> None:
    """Error and coverage of the segments of a cut; at least one."""
    rows = aggregates.segment_rows(segments, (cut,))
    left, right = st.columns(2)
    with left:
        picture(
            f"Mean error by {CUTS[cut]}",
            segment_errors_sentence(rows),
            lambda width, palette: charts.cut_errors(rows, width, palette),
        )
    with right:
        picture(
            f"Coverage of p10–p90 by {CUTS[cut]}",
            segment_coverage_sentence(rows),
            lambda width, palette: charts.cut_coverage(rows, width, palette),
        )


def table_by(segments: Sequence[Segment], cut: SegmentName, *, key: str) -> None:
    """Every segment of a cut."""
    table([msgspec.structs.asdict(one) for one in segments if one.segment == cut], _COLUMNS, key=key)
