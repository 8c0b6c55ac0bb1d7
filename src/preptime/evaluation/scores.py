"""From arrays to documents: a table's row, the interval, the quantiles, and what got worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from preptime.domain.prediction import QUANTILE_LEVELS
from preptime.errors import OperationError
from preptime.evaluation.documents import Interval, QuantileScore, Score, Segment, SegmentRegression
from preptime.evaluation.metrics import (
    BIAS,
    MAE,
    MEDIAN_AE,
    MEDIAN_WIDTH,
    R2,
    RMSE,
    WITHIN_5_MIN,
    Seconds,
    interval_coverage,
    pinball,
    quantile_coverage,
)

INTERVAL_LEVEL = round(QUANTILE_LEVELS[-1] - QUANTILE_LEVELS[0], 9)
"""What the widest interval promises: p10 to p90 hold 0.8 of the labels."""

COVERAGE_TOLERANCE = 0.05
"""D7: p10–p90 keeps its promise while it holds 75 to 85 % of the orders."""

COVERAGE_BAND = (INTERVAL_LEVEL - COVERAGE_TOLERANCE, INTERVAL_LEVEL + COVERAGE_TOLERANCE)
"""What the promotion gate accepts of the interval."""

REGRESSION_MIN_ORDERS = 200
"""D7: fewer orders than this say too little about a segment to refuse a promotion."""

REGRESSION_SHARE = 0.05
"""D7: how much worse (share of the champion's MAE) a segment may get."""


def compute_score(
    name: str,
    kind: Literal["model", "baseline"],
    labels: Literal["up_to_3h", "within_label_limit"],
    actual: Seconds,
    predicted: Seconds,
) -> Score:
    """One row of the table of scores, from labels and answers in seconds [N]."""
    return Score(
        name=name,
        kind=kind,
        labels=labels,
        n=len(actual),
        mae=MAE(actual, predicted),
        median_ae=MEDIAN_AE(actual, predicted),
        rmse=RMSE(actual, predicted),
        r2=R2(actual, predicted),
        bias=BIAS(actual, predicted),
        within_5_min=WITHIN_5_MIN(actual, predicted),
    )


def compute_interval(actual: Seconds, quantiles: NDArray[np.floating]) -> Interval:
    """How the interval p10–p90 did; `quantiles` is [N, 4] seconds in the order of `QUANTILE_LEVELS`."""
    low, high = quantiles[:, 0], quantiles[:, -1]
    return Interval(
        level=INTERVAL_LEVEL,
        coverage=interval_coverage(INTERVAL_LEVEL)(actual, low, high),
        median_width_seconds=MEDIAN_WIDTH(actual, low, high),
    )


def coverage_in_band(coverage: float | None) -> bool:
    """Whether p10–p90, holding `coverage` of the orders, is within the tolerance; no value keeps no promise."""
    # The bounds themselves belong to it, whatever binary fractions make of 0.8 + 0.05.
    return interval_coverage(INTERVAL_LEVEL).loss(coverage) <= COVERAGE_TOLERANCE + 1e-12


def quantile_scores(actual: Seconds, quantiles: NDArray[np.floating]) -> tuple[QuantileScore, ...]:
    """One entry per level of `QUANTILE_LEVELS`; `quantiles` is [N, 4] seconds."""
    return tuple(
        QuantileScore(p=p, coverage=quantile_coverage(p)(actual, column), pinball=pinball(p)(actual, column))
        for p, column in zip(QUANTILE_LEVELS, quantiles.T, strict=True)
    )


def segment_regressions(
    challenger: Sequence[Segment],
    champion: Sequence[Segment],
    min_orders: int = REGRESSION_MIN_ORDERS,
    worse_by: float = REGRESSION_SHARE,
) -> list[SegmentRegression]:
    """The segments of `min_orders` or more whose MAE the challenger makes worse by more than `worse_by`.

    Both must come from the same orders cut by the same columns (the basis is the challenger's in both); raises
    OperationError where they don't.
    """
    champion_segments = {(segment.segment, segment.value): segment for segment in champion}
    challenger_segments = {(segment.segment, segment.value): segment for segment in challenger}
    differing = sorted(
        key
        for key in champion_segments.keys() | challenger_segments.keys()
        if key not in champion_segments
        or key not in challenger_segments
        or champion_segments[key].n != challenger_segments[key].n
    )
    if differing:
        raise OperationError(
            f"{len(differing)} segments hold other orders for champion and challenger, the first is {differing[0]}.",
            "Compare both on the same orders and the same segment columns.",
        )
    return [
        SegmentRegression(new.segment, new.value, new.n, champion_segments[key].mae, new.mae)
        for key, new in challenger_segments.items()
        if new.n >= min_orders and MAE.is_worse_by(new.mae, champion_segments[key].mae, worse_by)
    ]
