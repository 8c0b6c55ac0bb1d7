"""JSON documents of an evaluation. A metric without a value is `null`."""

from __future__ import annotations

from typing import Literal

import msgspec

SegmentDimension = Literal["overall", "city", "type_of_food", "hour", "items", "fallback_level"]


class Score(msgspec.Struct, frozen=True):
    """The scores of one model or baseline over one label set, in seconds and shares. See docs/metrics.md."""

    name: str
    kind: Literal["model", "baseline", "live"]
    """`live` is the p50 of the live model, for orders whose state of the kitchen is known."""
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
    """The share of labels in the interval, with its ends."""
    median_width_seconds: float | None
    coverage_inside: float | None = None
    """The share of labels in the interval, without its ends. It's lower where labels take few values."""


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
    coverage_inside: float | None = None
    """`coverage` without the labels at the ends of the interval. `null` in bundles of earlier releases."""
    interval_n: int | None = None
    """In monitoring, the orders with an interval, which `coverage` is about. `null` if all `n` orders have one."""


class WaitingCost(msgspec.Struct, frozen=True):
    """The waiting cost at one cost ratio, for each way to choose when a courier arrives. See docs/metrics.md.

    Costs are seconds of waiting per 1,000 orders, with weights for courier and food in the ratio of their costs that
    add to 2. A cost is `null` unless the arrival time is known for all `n` orders.
    """

    courier_cost: float
    """Cost of a minute that a courier waits for food."""
    food_cost: float
    """Cost of a minute that ready food waits, in the same unit."""
    level: float
    """The quantile level of the best arrival time: courier cost / (courier cost + food cost)."""
    n: int
    predicted_quantile: float | None
    """Couriers arrive at the predicted quantile at `level`, as `POST /v1/dispatch` does."""
    p50: float | None
    """Couriers always arrive at the predicted p50: "p50 minus travel"."""
    lookup_quantile: float | None
    """Couriers arrive at the quantile at `level` of the restaurant's own past times."""
    constant: float | None
    """Couriers arrive after the same time for all orders: the quantile at `level` of all past times."""
    live_quantile: float | None = None
    """Couriers arrive at the live model's quantile at `level`. `null` without a live model."""


class BacktestDocument(msgspec.Struct, frozen=True):
    """The output of `preptime backtest --json`. Days are ISO dates, both included."""

    first_day: str = msgspec.field(name="from")
    last_day: str = msgspec.field(name="to")
    default_model: str
    scores: tuple[Score, ...]
    interval: Interval
    quantiles: tuple[QuantileScore, ...]
    segments: tuple[Segment, ...]
    waiting_costs: tuple[WaitingCost, ...] = ()
    """Over labels up to 3 h, at each cost ratio. Empty in bundles of earlier releases."""


class SegmentRegression(msgspec.Struct, frozen=True):
    """A segment in which the challenger is worse than the champion by more than the tolerance. MAE is in seconds."""

    segment: SegmentDimension
    value: str
    n: int
    champion_mae: float | None
    challenger_mae: float | None
