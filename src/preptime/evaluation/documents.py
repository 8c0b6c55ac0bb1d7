"""The documents of an evaluation: typed, frozen, and stable as JSON. A figure that has no value is `null`."""

from __future__ import annotations

from typing import Literal

import msgspec

SegmentDimension = Literal["overall", "city", "type_of_food", "hour", "items", "fallback_level"]


class Score(msgspec.Struct, frozen=True):
    """One row of the table: a model or a baseline, over one set of labels. Seconds and shares; see docs/metrics.md."""

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
    """The interval p10–p90: promised and kept."""

    level: float
    coverage: float | None
    median_width_seconds: float | None


class QuantileScore(msgspec.Struct, frozen=True):
    """One quantile: the share of labels at or under it (promised: `p`) and its pinball loss in seconds."""

    p: float
    coverage: float | None
    pinball: float | None


class Segment(msgspec.Struct, frozen=True):
    """The default model on the orders of one segment, beside the restaurant lookup. `coverage` is that of p10–p90."""

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
    """What `preptime backtest --json` prints. Days are ISO dates, both included."""

    first_day: str = msgspec.field(name="from")
    last_day: str = msgspec.field(name="to")
    default_model: str
    scores: tuple[Score, ...]
    interval: Interval
    quantiles: tuple[QuantileScore, ...]
    segments: tuple[Segment, ...]


class SegmentRegression(msgspec.Struct, frozen=True):
    """A segment on which the challenger is worse than the champion by more than is allowed. MAE in seconds."""

    segment: SegmentDimension
    value: str
    n: int
    champion_mae: float | None
    challenger_mae: float | None
