"""Small frames of orders and restaurants for the tests."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from preptime.domain.timestamps import SECONDS_PER_DAY
from preptime.features.restaurant_index import RestaurantIndex
from preptime.validation.label_counts import LabelCounts
from preptime.validation.restaurants import read_restaurants

RESTAURANTS = pl.DataFrame(
    {
        "restaurant_id": [30, 10, 20, 40],
        "country": ["France", "UK", "UK", "Ireland"],
        "city": ["Paris", "London", "Leeds", "Dublin"],
        "type_of_food": ["thai", "italian", "thai", "burgers"],
    }
)


def make_restaurant_index() -> RestaurantIndex:
    """Return the index of `RESTAURANTS`."""
    return read_restaurants(RESTAURANTS)


def make_order(**cells: str | None) -> dict[str, str | None]:
    """Return a valid order as text cells, as read from CSV, with some cells replaced."""
    valid: dict[str, str | None] = {
        "order_acknowledged_at": "2015-06-01 19:00:00.250000+01:00",
        "order_ready_at": "2015-06-01 19:10:00.750000+01:00",
        "order_value_gbp": "21.40",
        "restaurant_id": "10",
        "number_of_items": "3",
        "prep_time_seconds": "600",
    }
    return valid | cells


def make_orders(*rows: dict[str, str | None]) -> pl.DataFrame:
    """Return a frame of text cells, as read from CSV."""
    return pl.DataFrame(list(rows), infer_schema_length=None)


def make_month(
    *, days: int = 28, per_day: int = 60, start: datetime = datetime(2015, 6, 1), seed: int = 1
) -> pl.DataFrame:
    """Return typed orders of the four restaurants in the evenings of `days`, about `per_day` on each (Poisson)."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(per_day, days)
    day = np.repeat(np.arange(days), counts)
    seconds = np.clip(rng.normal(19.5, 1.8, len(day)), 12, 23.9) * 3600
    start_us = int((start - datetime(1970, 1, 1)) / timedelta(microseconds=1))
    acknowledged = start_us + ((day * SECONDS_PER_DAY + seconds) * 1e6).astype(np.int64)
    label = rng.gamma(3, 280, len(day)).astype(np.int64) + 60
    return pl.DataFrame(
        {
            "order_acknowledged_at": pl.Series(acknowledged).cast(pl.Datetime("us")),
            "order_ready_at": pl.Series(acknowledged + label * 1_000_000).cast(pl.Datetime("us")),
            "order_value_gbp": rng.gamma(2, 12, len(day)).round(2),
            "restaurant_id": rng.choice([10, 20, 30, 40], len(day)),
            "number_of_items": rng.integers(1, 8, len(day)),
            "prep_time_seconds": label,
        }
    )


def equal_counts(first: LabelCounts, second: LabelCounts) -> bool:
    """Return whether all counts of labels are equal."""
    return (
        first.by_day == second.by_day
        and first.fractions == second.fractions
        and np.array_equal(first.total, second.total)
        and first.latest.keys() == second.latest.keys()
        and all(np.array_equal(first.latest[day], second.latest[day]) for day in first.latest)
    )
