"""The rows of the published notebook: its cleaning, its counts and its two matrices, step by step.

It drops orders, which preptime itself never does (D4), because the notebook did.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.dictionary import TARGET
from preptime.domain.verdict import ValidationReason
from preptime.errors import DataError
from preptime.tables.audit import AuditedOrders

IQR_MULTIPLIER = 1.5
"""Tukey's multiple of the interquartile range. Both fences are applied; with data like the published one the lower
fence is negative for both columns and only the upper one bites, so one- and two-sided trimming give the same rows."""

ORDER_COUNT_THRESHOLD = 20
"""A restaurant, and a type of food, needs more than this many orders to stay."""

FEATURE_SET_1 = (
    *("order_value_gbp", "number_of_items", "r_counts", "monthday", "hour", "weekday"),
    *("city", "country", "type_of_food", "restaurant_id"),
)
FEATURE_SET_2 = (
    *("monthday", "hour", "weekday", "city", "country", "type_of_food", "restaurant_id"),
    *("r_counts", "order_value_gbp", "number_of_items"),
)
"""Without its last feature, the restaurant's mean, which needs to know the training rows (`with_restaurant_mean`)."""

REQUIRED_COLUMNS = ("acknowledged_utc", "order_value_gbp", "number_of_items", "restaurant_id", TARGET)


@dataclass(frozen=True, slots=True)
class CleaningStep:
    """One step of the cleaning and the orders left after it."""

    description: str
    orders: int


@dataclass(frozen=True, slots=True)
class NotebookRows:
    """The orders the notebook's protocol keeps, N of them, as its matrices."""

    feature_set_1: NDArray[np.float64]
    """[N, 10] in the order of `SET_1`."""
    feature_set_2: NDArray[np.float64]
    """[N, 10] in the order of `SET_2`."""
    restaurant_id: NDArray[np.int64]
    prep_time_seconds: NDArray[np.float64]
    steps: tuple[CleaningStep, ...]
    """What each step left, the orders as read first."""
    first_day: str
    last_day: str
    """Of the orders as read, UTC, ISO format."""

    def __len__(self) -> int:
        return len(self.restaurant_id)


def prepare_notebook_rows(audited: AuditedOrders) -> NotebookRows:
    """Clean and encode labelled orders as the notebook did.

    Hour, weekday and day of month are UTC, not the restaurant's own; a category's code is its position among the
    sorted values of the restaurants file. Raises DataError when no restaurant has enough orders.
    """
    is_unlisted = (pl.col("reasons") & ValidationReason.UNKNOWN_RESTAURANT.bit) != 0
    usable = audited.frame.filter(~is_unlisted).drop_nulls(list(REQUIRED_COLUMNS))
    steps = [
        CleaningStep("orders read", len(audited)),
        CleaningStep("complete, and of a known restaurant", len(usable)),
    ]
    kept = usable
    for column in (TARGET, "order_value_gbp"):
        kept, (lower, upper) = _within_outlier_limits(kept, column)
        steps.append(CleaningStep(f"{column} from {lower:,.2f} to {upper:,.2f}", len(kept)))
    kept = kept.with_columns(r_counts=pl.len().over("restaurant_id"), f_counts=pl.len().over("type_of_food"))
    kept = kept.filter((pl.col("r_counts") > ORDER_COUNT_THRESHOLD) & (pl.col("f_counts") > ORDER_COUNT_THRESHOLD))
    steps.append(
        CleaningStep(f"restaurant and type of food with more than {ORDER_COUNT_THRESHOLD} of these", len(kept))
    )
    if kept.is_empty():
        raise DataError(
            f"No restaurant has more than {ORDER_COUNT_THRESHOLD} orders among the {len(usable):,} complete ones.",
            "The notebook's protocol keeps only such restaurants; give it more days of orders.",
        )
    acknowledged_at = pl.col("acknowledged_utc")
    kept = kept.with_columns(
        monthday=acknowledged_at.dt.day(), hour=acknowledged_at.dt.hour(), weekday=acknowledged_at.dt.weekday() - 1
    )
    days = usable["acknowledged_utc"].dt.date().cast(pl.String)
    return NotebookRows(
        feature_set_1=kept.select(FEATURE_SET_1).cast(pl.Float64).to_numpy(),
        feature_set_2=kept.select(FEATURE_SET_2).cast(pl.Float64).to_numpy(),
        restaurant_id=kept["restaurant_id"].to_numpy(),
        prep_time_seconds=kept[TARGET].cast(pl.Float64).to_numpy(),
        steps=tuple(steps),
        first_day=str(days.min()),
        last_day=str(days.max()),
    )


def with_restaurant_mean(rows: NotebookRows, train: NDArray[np.intp]) -> NDArray[np.float64]:
    """Set 2 whole: [N, 11], the last column the mean preparation time of the restaurant over the `train` rows.

    A restaurant with no row among them gets the mean of all training rows.
    """
    _, restaurant = np.unique(rows.restaurant_id, return_inverse=True)
    labels = rows.prep_time_seconds[train]
    count = np.bincount(restaurant[train], minlength=restaurant.max() + 1)
    total = np.bincount(restaurant[train], weights=labels, minlength=len(count))
    mean = np.where(count > 0, total / np.maximum(count, 1), labels.mean())
    return np.column_stack([rows.feature_set_2, mean[restaurant]])


def _within_outlier_limits(orders: pl.DataFrame, column: str) -> tuple[pl.DataFrame, tuple[float, float]]:
    """The rows inside Tukey's fences of `column`, fences included, and the fences."""
    lower_quartile, upper_quartile = np.quantile(orders[column].to_numpy(), [0.25, 0.75]) if len(orders) else (0.0, 0.0)
    margin = IQR_MULTIPLIER * (upper_quartile - lower_quartile)
    limits = (float(lower_quartile - margin), float(upper_quartile + margin))
    return orders.filter(pl.col(column).is_between(*limits)), limits
