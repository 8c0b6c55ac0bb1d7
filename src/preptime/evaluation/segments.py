"""Segments of orders that every evaluation reports, declared in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from preptime.domain.orders import FALLBACK_LEVELS, QUANTILE_LEVELS, OrderColumns
from preptime.evaluation.documents import Segment, SegmentDimension
from preptime.evaluation.metrics import (
    BIAS,
    COVERAGE_INSIDE,
    INTERVAL_LEVEL,
    MAE,
    WITHIN_5_MIN,
    Seconds,
    interval_coverage,
    quantile_scores,
)
from preptime.features.restaurant_index import Vocabularies

UNKNOWN_VALUE = "(unknown)"
"""The segment of orders whose city or type of food isn't in the vocabulary."""

ITEM_BINS = ((1, "1"), (2, "2"), (3, "3"), (4, "4–5"), (6, "6–8"), (9, "9+"))
"""(minimum number of items, label). Half of the orders have 3 items or fewer, so these counts get separate bins."""

_SECONDS_PER_HOUR = 3600
_HOURS_PER_DAY = 24


@dataclass(frozen=True, slots=True)
class SegmentColumns:
    """The columns that define segments, one entry per order."""

    city: NDArray[np.str_]
    type_of_food: NDArray[np.str_]
    hour: NDArray[np.int64]
    """0–23, in the restaurant's time zone."""
    number_of_items: NDArray[np.int64]
    fallback_level: NDArray[np.int8]
    """Indices into `FALLBACK_LEVELS`."""

    def __len__(self) -> int:
        return len(self.hour)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> SegmentColumns:
        """Return the columns at `rows`, which are indices, a mask, or a slice."""
        return SegmentColumns(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def from_orders(
        cls, orders: OrderColumns, vocabularies: Vocabularies, fallback_level: NDArray[np.int8]
    ) -> SegmentColumns:
        """Return the columns of orders with coded categories and the fallback levels of their predictions."""
        return cls(
            city=_decode_categories(orders.city, vocabularies.city),
            type_of_food=_decode_categories(orders.type_of_food, vocabularies.type_of_food),
            hour=orders.acknowledged_at // _SECONDS_PER_HOUR % _HOURS_PER_DAY,
            number_of_items=orders.number_of_items,
            fallback_level=fallback_level,
        )

    @classmethod
    def concatenate(cls, parts: list[SegmentColumns]) -> SegmentColumns:
        """Return the days of a backtest, concatenated. Requires at least one part."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Orders split into segments: order i belongs to `values[codes[i]]`. Values are in display order."""

    codes: NDArray[np.intp]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DimensionDefinition:
    """One dimension: its name in documents, its display label, and the function that splits orders by it."""

    name: SegmentDimension
    label: str
    split: Callable[[SegmentColumns], Segmentation]


def _decode_categories(codes: NDArray[np.int32], vocabulary: tuple[str, ...]) -> NDArray[np.str_]:
    # UNKNOWN_CODE is -1, which selects the last element.
    return np.array([*vocabulary, UNKNOWN_VALUE], dtype=np.str_)[codes]


def _split_by_name(names: NDArray[np.str_]) -> Segmentation:
    values, codes = np.unique(names, return_inverse=True)
    return Segmentation(codes, tuple(str(value) for value in values))


def _split_by_items(number_of_items: NDArray[np.int64]) -> Segmentation:
    starts = np.array([start for start, _ in ITEM_BINS])
    # An order with 0 items is invalid data. It gets a prediction, so it counts in the first bin.
    codes = np.maximum(np.searchsorted(starts, number_of_items, side="right") - 1, 0)
    return Segmentation(codes, tuple(label for _, label in ITEM_BINS))


DIMENSIONS = (
    DimensionDefinition(
        "overall", "all orders", lambda columns: Segmentation(np.zeros(len(columns), dtype=np.intp), ("all",))
    ),
    DimensionDefinition("city", "city", lambda columns: _split_by_name(columns.city)),
    DimensionDefinition("type_of_food", "type of food", lambda columns: _split_by_name(columns.type_of_food)),
    DimensionDefinition(
        "hour",
        "local hour",
        lambda columns: Segmentation(columns.hour.astype(np.intp), tuple(str(hour) for hour in range(_HOURS_PER_DAY))),
    ),
    DimensionDefinition("items", "number of items", lambda columns: _split_by_items(columns.number_of_items)),
    DimensionDefinition(
        "fallback_level",
        "fallback level",
        lambda columns: Segmentation(columns.fallback_level.astype(np.intp), FALLBACK_LEVELS),
    ),
)
"""Every dimension. Within a dimension, each order is in exactly one segment. Empty segments are left out."""


def score_segments(
    columns: SegmentColumns, actual: Seconds, quantiles: NDArray[np.floating], lookup: Seconds
) -> tuple[Segment, ...]:
    """Return the scores of the default model (p50) and of the restaurant lookup in every segment.

    All arrays are [N] seconds; `quantiles` is [N, 4]. Without orders, there are no segments.
    """
    results: list[Segment] = []
    if not len(columns):
        return ()
    for definition in DIMENSIONS:
        segmentation = definition.split(columns)
        order = np.argsort(segmentation.codes, kind="stable")
        ends = np.cumsum(np.bincount(segmentation.codes, minlength=len(segmentation.values)))
        for value, rows in zip(segmentation.values, np.split(order, ends[:-1]), strict=True):
            if len(rows):
                results.append(_score_segment(definition.name, value, actual[rows], quantiles[rows], lookup[rows]))
    return tuple(results)


def _score_segment(
    dimension: SegmentDimension, value: str, actual: Seconds, quantiles: NDArray[np.floating], lookup: Seconds
) -> Segment:
    median = quantiles[:, QUANTILE_LEVELS.index(0.5)]
    return Segment(
        segment=dimension,
        value=value,
        n=len(actual),
        mae=MAE(actual, median),
        bias=BIAS(actual, median),
        within_5_min=WITHIN_5_MIN(actual, median),
        coverage=interval_coverage(INTERVAL_LEVEL)(actual, quantiles[:, 0], quantiles[:, -1]),
        lookup_mae=MAE(actual, lookup),
        quantiles=quantile_scores(actual, quantiles),
        coverage_inside=COVERAGE_INSIDE(actual, quantiles[:, 0], quantiles[:, -1]),
    )
