"""A small file of orders to try scoring with: most are well, two are wrong on purpose."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from preptime.features.directory import RestaurantIndex

SAMPLE_ROWS = 50
_SEED = 12
"""The notebook's."""
_ORDER_HOURS = (12, 12, 13, 13, 17, 18, 18, 19, 19, 19, 20, 20, 21)
"""Hours as orders come."""


def sample_orders(restaurants: RestaurantIndex | None, day: dt.date) -> pl.DataFrame:
    """Orders of `day` at the directory's first restaurants, or at restaurants 1 to 20; always the same ones."""
    rng = np.random.default_rng(_SEED)
    has_restaurants = restaurants is not None and len(restaurants) > 0
    ids = restaurants.restaurant_id[:40].tolist() if restaurants is not None and has_restaurants else list(range(1, 21))
    hours = np.sort(rng.choice(_ORDER_HOURS, SAMPLE_ROWS))
    minutes, seconds = rng.integers(0, 60, SAMPLE_ROWS), rng.integers(0, 60, SAMPLE_ROWS)
    items = 1 + rng.poisson(2.2, SAMPLE_ROWS)
    values = np.round(4.5 + items * rng.uniform(4.0, 11.0, SAMPLE_ROWS), 2)
    rows = pl.DataFrame(
        {
            "order_id": [f"sample-{number}" for number in range(1, SAMPLE_ROWS + 1)],
            "order_acknowledged_at": [
                f"{day} {hour:02d}:{minute:02d}:{second:02d}"
                for hour, minute, second in zip(hours.tolist(), minutes.tolist(), seconds.tolist(), strict=True)
            ],
            "order_value_gbp": [f"{value:.2f}" for value in values.tolist()],
            "restaurant_id": [str(cell) for cell in rng.choice(ids, SAMPLE_ROWS).tolist()],
            "number_of_items": [str(cell) for cell in items.tolist()],
        }
    )
    row = pl.int_range(pl.len())
    return rows.with_columns(
        order_value_gbp=pl.when(row == 8).then(pl.lit("free")).otherwise("order_value_gbp"),
        number_of_items=pl.when(row == 21).then(None).otherwise("number_of_items"),
    )
