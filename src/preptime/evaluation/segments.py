"""The cuts through the orders that every evaluation looks at, declared in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.domain.order import OrderColumns
from preptime.domain.prediction import BASES, LEVELS
from preptime.evaluation.documents import Segment, SegmentName
from preptime.evaluation.metrics import BIAS, MAE, WITHIN_5_MIN, Seconds, interval_coverage
from preptime.evaluation.scores import INTERVAL_LEVEL, quantile_scores
from preptime.features.directory import Vocabularies

UNKNOWN_LABEL = "(unknown)"
"""The value of a city or type of food that is not in the vocabulary."""

ITEM_BINS = ((1, "1"), (2, "2"), (3, "3"), (4, "4–5"), (6, "6–8"), (9, "9+"))
"""(least number of items, label). Half of the orders have 3 items or fewer, so those stand alone."""

_SECONDS_PER_HOUR = 3600
_HOURS_PER_DAY = 24


@dataclass(frozen=True, slots=True)
class SegmentColumns:
    """What the segments are made from, one entry per order."""

    city: NDArray[np.str_]
    type_of_food: NDArray[np.str_]
    hour: NDArray[np.int64]
    """0–23, on the restaurant's own wall clock."""
    number_of_items: NDArray[np.int64]
    basis: NDArray[np.int8]
    """Positions in `BASES`."""

    def __len__(self) -> int:
        return len(self.hour)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_] | slice) -> SegmentColumns:
        """The same columns at `rows`: positions, a mask, or a slice."""
        return SegmentColumns(
            self.city[rows], self.type_of_food[rows], self.hour[rows], self.number_of_items[rows], self.basis[rows]
        )

    @classmethod
    def of(cls, orders: OrderColumns, vocabularies: Vocabularies, basis: NDArray[np.int8]) -> SegmentColumns:
        """From orders with coded categories, and the basis of their predictions."""
        return cls(
            city=_names(orders.city, vocabularies.city),
            type_of_food=_names(orders.type_of_food, vocabularies.type_of_food),
            hour=orders.acknowledged_at // _SECONDS_PER_HOUR % _HOURS_PER_DAY,
            number_of_items=orders.number_of_items,
            basis=basis,
        )

    @classmethod
    def concatenate(cls, parts: list[SegmentColumns]) -> SegmentColumns:
        """The days of a backtest, one after the other; at least one part."""
        return cls(
            np.concatenate([part.city for part in parts]),
            np.concatenate([part.type_of_food for part in parts]),
            np.concatenate([part.hour for part in parts]),
            np.concatenate([part.number_of_items for part in parts]),
            np.concatenate([part.basis for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """Orders cut into segments: order i belongs to `values[codes[i]]`. Values stand in the order people expect."""

    codes: NDArray[np.intp]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SegmentDefinition:
    """One way to cut: its name in documents, its label for people, and how it is made."""

    name: SegmentName
    label: str
    cut: Callable[[SegmentColumns], Cut]


def _names(codes: NDArray[np.int32], vocabulary: tuple[str, ...]) -> NDArray[np.str_]:
    # UNKNOWN is -1, which is the last place.
    return np.array([*vocabulary, UNKNOWN_LABEL], dtype=np.str_)[codes]


def _by_name(names: NDArray[np.str_]) -> Cut:
    values, codes = np.unique(names, return_inverse=True)
    return Cut(codes, tuple(str(value) for value in values))


def _by_items(number_of_items: NDArray[np.int64]) -> Cut:
    starts = np.array([start for start, _ in ITEM_BINS])
    # An order of 0 items is a defect of the data; it is answered, and counted with the smallest.
    codes = np.maximum(np.searchsorted(starts, number_of_items, side="right") - 1, 0)
    return Cut(codes, tuple(label for _, label in ITEM_BINS))


SEGMENTS = (
    SegmentDefinition("overall", "all orders", lambda columns: Cut(np.zeros(len(columns), dtype=np.intp), ("all",))),
    SegmentDefinition("city", "city", lambda columns: _by_name(columns.city)),
    SegmentDefinition("type_of_food", "type of food", lambda columns: _by_name(columns.type_of_food)),
    SegmentDefinition(
        "hour",
        "local hour",
        lambda columns: Cut(columns.hour.astype(np.intp), tuple(str(hour) for hour in range(_HOURS_PER_DAY))),
    ),
    SegmentDefinition("items", "number of items", lambda columns: _by_items(columns.number_of_items)),
    SegmentDefinition("basis", "basis of the answer", lambda columns: Cut(columns.basis.astype(np.intp), BASES)),
)
"""Every cut. Within one, each order is in exactly one segment; segments without an order are left out."""


def segments(
    columns: SegmentColumns, actual: Seconds, quantiles: NDArray[np.floating], lookup: Seconds
) -> tuple[Segment, ...]:
    """The default model (p50) in every segment, beside the restaurant lookup; all [N] seconds, `quantiles` [N, 4].

    No orders, no segments.
    """
    found: list[Segment] = []
    if not len(columns):
        return ()
    for definition in SEGMENTS:
        cut = definition.cut(columns)
        order = np.argsort(cut.codes, kind="stable")
        ends = np.cumsum(np.bincount(cut.codes, minlength=len(cut.values)))
        for value, rows in zip(cut.values, np.split(order, ends[:-1]), strict=True):
            if len(rows):
                found.append(_segment(definition.name, value, actual[rows], quantiles[rows], lookup[rows]))
    return tuple(found)


def _segment(
    name: SegmentName, value: str, actual: Seconds, quantiles: NDArray[np.floating], lookup: Seconds
) -> Segment:
    median = quantiles[:, LEVELS.index(0.5)]
    return Segment(
        segment=name,
        value=value,
        n=len(actual),
        mae=MAE(actual, median),
        bias=BIAS(actual, median),
        within_5_min=WITHIN_5_MIN(actual, median),
        coverage=interval_coverage(INTERVAL_LEVEL)(actual, quantiles[:, 0], quantiles[:, -1]),
        lookup_mae=MAE(actual, lookup),
        quantiles=quantile_scores(actual, quantiles),
    )
