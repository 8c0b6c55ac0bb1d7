"""JSON documents of an evaluation. A metric without a value is `null`."""

from __future__ import annotations

from typing import Literal

import msgspec

SegmentDimension = Literal["overall", "city", "type_of_food", "hour", "items", "fallback_level"]


class Score(msgspec.Struct, frozen=True):
    """The scores of one model or baseline over one label set, in seconds and shares. See docs/metrics.md."""

    name: str
    kind: Literal["model", "baseline"]
    labels: Literal["up_to_3h", "within_label_limit"]
    n: int
    mae: float | None
    median_ae: float | None
    rmse: float | None
    r2: float | None
    bias: float | None
    within_5_min: float | None


class Interval(msgspec.Struct, frozen=True):
    """The p10–p90 interval: nominal level and observed coverage."""

    level: float
    coverage: float | None
    median_width_seconds: float | None


class QuantileScore(msgspec.Struct, frozen=True):
    """One quantile: the share of labels at or under it (nominal: `p`) and its pinball loss in seconds."""

    p: float
    coverage: float | None
    pinball: float | None


class Segment(msgspec.Struct, frozen=True):
    """The default model and the restaurant lookup on the orders of one segment. `coverage` is that of p10–p90."""

    segment: SegmentDimension
    value: str
    n: int
    mae: float | None
    bias: float | None
    within_5_min: float | None
    coverage: float | None
    lookup_mae: float | None
    quantiles: tuple[QuantileScore, ...]


class BacktestDocument(msgspec.Struct, frozen=True):
    """The output of `preptime backtest --json`. Days are ISO dates, both included."""

    first_day: str = msgspec.field(name="from")
    last_day: str = msgspec.field(name="to")
    default_model: str
    scores: tuple[Score, ...]
    interval: Interval
    quantiles: tuple[QuantileScore, ...]
    segments: tuple[Segment, ...]


class SegmentRegression(msgspec.Struct, frozen=True):
    """A segment in which the challenger is worse than the champion by more than the tolerance. MAE is in seconds."""

    segment: SegmentDimension
    value: str
    n: int
    champion_mae: float | None
    challenger_mae: float | None
