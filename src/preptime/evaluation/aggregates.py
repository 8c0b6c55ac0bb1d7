"""The rows that charts draw, aggregated in NumPy, so that a chart stays small for any number of orders.

Rows are plain dictionaries. Times are in the unit of the target, and shares are between 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from preptime.domain.time_units import MINUTES, TimeUnit
from preptime.evaluation.documents import Segment, SegmentDimension
from preptime.evaluation.metrics import Seconds, coverage_in_band
from preptime.evaluation.segments import DIMENSIONS

ChartRow: TypeAlias = dict[str, str | int | float | bool]

DensityCell: TypeAlias = tuple[int, int, int]
"""The lower edges of a grid cell in predicted and in actual minutes, and the number of orders in it."""

SECONDS_PER_MINUTE = 60.0
DENSITY_BIN_MINUTES = 2
ERROR_LIMIT_MINUTES = 30
MIN_RELIABLE_ORDERS = 30
"""Metrics of smaller segments are mostly chance. Charts draw them paler."""

MAX_SEGMENT_VALUES = 8
"""How many cities and types of food a chart shows, largest first."""

_WILSON_Z = 1.96


def to_minutes(seconds: Seconds) -> NDArray[np.float64]:
    """Return `seconds` in minutes, as float64."""
    return np.asarray(seconds, dtype=np.float64) / SECONDS_PER_MINUTE


def density_limit_minutes(actual: Seconds, predicted: Seconds) -> int:
    """Return the end of both axes: a multiple of ten minutes that holds nearly all orders, at most two hours."""
    upper_quantile = max(np.quantile(to_minutes(actual), 0.97), np.quantile(to_minutes(predicted), 0.99), 10.0)
    return int(min(120, np.ceil(upper_quantile / 10) * 10))


def count_density(actual: Seconds, predicted: Seconds, limit_minutes: int) -> tuple[DensityCell, ...]:
    """Return the number of orders in each cell of a grid of predicted × actual minutes, without empty cells."""
    edges = np.arange(0, limit_minutes + 1, DENSITY_BIN_MINUTES)
    counts, _, _ = np.histogram2d(to_minutes(predicted), to_minutes(actual), bins=(edges, edges))
    return tuple((int(edges[i]), int(edges[j]), int(counts[i, j])) for i, j in zip(*np.nonzero(counts), strict=True))


def density_rows(density: Iterable[DensityCell], unit: TimeUnit = MINUTES) -> list[ChartRow]:
    """Return the cells as rows. `weight` is the square root of a cell's share of the largest cell."""
    density = list(density)
    largest = max((orders for _, _, orders in density), default=1)
    step = DENSITY_BIN_MINUTES
    return [
        {
            "predicted": unit.from_minutes(predicted),
            "predicted_end": unit.from_minutes(predicted + step),
            "actual": unit.from_minutes(actual),
            "actual_end": unit.from_minutes(actual + step),
            "orders": orders,
            "weight": round(math.sqrt(orders / largest), 4),
            "tip": f"{orders:,} orders: predicted {_bar_text(predicted, unit)}, actual {_bar_text(actual, unit)}",
        }
        for predicted, actual, orders in density
    ]


def _bar_text(start_minutes: int, unit: TimeUnit) -> str:
    return f"{unit.tick(start_minutes)}–{unit.tick(start_minutes + DENSITY_BIN_MINUTES)}"


def actual_quartile_rows(actual: Seconds, predicted: Seconds, limit_minutes: int) -> list[ChartRow]:
    """Return the quartiles of the actual times for each two minutes of prediction that have enough orders."""
    edges = np.arange(0, limit_minutes + 1, DENSITY_BIN_MINUTES)
    bin_indices = np.digitize(to_minutes(predicted), edges) - 1
    rows: list[ChartRow] = []
    for bin_index in range(len(edges) - 1):
        actual_in_bin = to_minutes(actual)[bin_indices == bin_index]
        if len(actual_in_bin) >= MIN_RELIABLE_ORDERS:
            # Clip to the chart.
            low, median, high = np.minimum(np.quantile(actual_in_bin, (0.25, 0.5, 0.75)), limit_minutes)
            center = float(edges[bin_index] + DENSITY_BIN_MINUTES / 2)
            rows.append({"predicted": center, "low": float(low), "median": float(median), "high": float(high)})
    return rows


def count_errors(predicted: Seconds, actual: Seconds) -> tuple[int, ...]:
    """Return the number of orders per whole minute of error (predicted − actual), from -30 to 30 minutes."""
    edges = np.arange(-ERROR_LIMIT_MINUTES, ERROR_LIMIT_MINUTES + 1)
    counts, _ = np.histogram(to_minutes(predicted) - to_minutes(actual), bins=edges)
    return tuple(counts.tolist())


def error_rows(counts: Mapping[str, Iterable[int]], orders: int, unit: TimeUnit = MINUTES) -> list[ChartRow]:
    """Return the share of `orders` per whole minute of error for each model in `counts` (see `count_errors`)."""
    return [
        {
            "model": name,
            "error": unit.from_minutes(edge),
            "error_end": unit.from_minutes(edge + 1),
            "share": count / orders,
            "tip": f"{count / orders:.1%} of orders: {unit.tick(edge)} to {unit.tick(edge + 1)} {unit.short}",
        }
        for name, per_minute in counts.items()
        for edge, count in enumerate(per_minute, start=-ERROR_LIMIT_MINUTES)
    ]


def segment_rows(
    segments: Iterable[Segment], dimensions: tuple[SegmentDimension, ...], unit: TimeUnit = MINUTES
) -> list[ChartRow]:
    """Return the segments of `dimensions` as rows: MAE, the lookup's MAE if known, and coverage with its 95% interval.

    A segment without a known coverage has no values of it, so charts of coverage draw the rows of `with_coverage`. Of
    cities and types of food, only the largest are included, largest first.
    """
    labels = {definition.name: definition.label for definition in DIMENSIONS}
    rows: list[ChartRow] = []
    for name in dimensions:
        selected = [segment for segment in segments if segment.segment == name]
        if name in ("city", "type_of_food"):
            selected = sorted(selected, key=lambda segment: (-segment.n, segment.value))[:MAX_SEGMENT_VALUES]
        rows += [_segment_row(segment, labels[name], unit) for segment in selected]
    return rows


def with_coverage(rows: Iterable[ChartRow]) -> list[ChartRow]:
    """Return the rows whose coverage is known. Predictions without an interval have none."""
    return [row for row in rows if "coverage" in row]


def _segment_row(segment: Segment, label: str, unit: TimeUnit) -> ChartRow:
    name = f"{label} {segment.value} ({segment.n:,} orders)"
    row: ChartRow = {
        "dimension": label,
        "value": segment.value,
        "label": f"{segment.value} · {segment.n:,}",
        "orders": segment.n,
        "small_sample": segment.n < MIN_RELIABLE_ORDERS,
        "mae": (segment.mae or 0.0) / unit.seconds,
        "tip": f"{name}: {unit.text(segment.mae or 0.0)}",
    }
    if segment.coverage is not None:
        n = segment.n if segment.interval_n is None else segment.interval_n
        low, high = wilson_interval(segment.coverage, n)
        orders = "" if n == segment.n else f" of the {n:,} with an interval"
        row |= {
            "coverage": segment.coverage,
            "in_band": coverage_in_band(segment.coverage, segment.coverage_inside),
            "coverage_low": low,
            "coverage_high": high,
            "coverage_tip": f"{name}: {segment.coverage:.1%}{orders}, 95% interval {low:.0%}–{high:.0%}",
        }
    if segment.lookup_mae is not None:
        tip = f"{row['tip']}, lookup {unit.text(segment.lookup_mae)}"
        row |= {"lookup_mae": segment.lookup_mae / unit.seconds, "tip": tip}
    return row


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95% confidence interval of a share observed in `n` ≥ 1 orders (Wilson, 1927)."""
    z2 = _WILSON_Z**2
    center = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _WILSON_Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, float(center - half)), min(1.0, float(center + half))


def calibration_rows(segments: Iterable[Segment], min_orders: int) -> list[ChartRow]:
    """Return nominal and observed coverage per quantile: all orders, then each fallback level with enough orders."""
    return [
        {
            "group": "all orders" if segment.segment == "overall" else segment.value,
            "orders": segment.n,
            "nominal": quantile.p,
            "observed": quantile.coverage,
            "tip": f"{segment.value}, {segment.n:,} orders: {quantile.p:.0%} nominal, {quantile.coverage:.1%} observed",
        }
        for segment in segments
        if segment.segment == "overall" or (segment.segment == "fallback_level" and segment.n >= min_orders)
        for quantile in segment.quantiles
        if quantile.coverage is not None
    ]


def importance_rows(importances: Mapping[str, float], limit: int = 15) -> list[ChartRow]:
    """Return the `limit` most important features with their shares of the total, largest first."""
    total = sum(importances.values()) or 1.0
    largest = sorted(importances.items(), key=lambda entry: (-entry[1], entry[0]))[:limit]
    return [{"feature": name, "share": value / total, "tip": f"{name}: {value / total:.1%}"} for name, value in largest]
