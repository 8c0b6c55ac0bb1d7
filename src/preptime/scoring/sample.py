"""A small file of orders to try scoring with: most are well, two are wrong on purpose."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl

from preptime.features.directory import Directory

ROWS = 50
_SEED = 12
"""The notebook's."""
_LUNCH_AND_DINNER = (12, 12, 13, 13, 17, 18, 18, 19, 19, 19, 20, 20, 21)
"""Hours as orders come."""


def sample_orders(directory: Directory | None, day: dt.date) -> pl.DataFrame:
    """Orders of `day` at the directory's first restaurants, or at restaurants 1 to 20; always the same ones."""
    dice = np.random.default_rng(_SEED)
    known = directory is not None and len(directory) > 0
    ids = directory.restaurant_id[:40].tolist() if directory is not None and known else list(range(1, 21))
    hours = np.sort(dice.choice(_LUNCH_AND_DINNER, ROWS))
    minutes, seconds = dice.integers(0, 60, ROWS), dice.integers(0, 60, ROWS)
    items = 1 + dice.poisson(2.2, ROWS)
    values = np.round(4.5 + items * dice.uniform(4.0, 11.0, ROWS), 2)
    rows = pl.DataFrame(
        {
            "order_id": [f"sample-{number}" for number in range(1, ROWS + 1)],
            "order_acknowledged_at": [
                f"{day} {hour:02d}:{minute:02d}:{second:02d}"
                for hour, minute, second in zip(hours.tolist(), minutes.tolist(), seconds.tolist(), strict=True)
            ],
            "order_value_gbp": [f"{value:.2f}" for value in values.tolist()],
            "restaurant_id": [str(one) for one in dice.choice(ids, ROWS).tolist()],
            "number_of_items": [str(one) for one in items.tolist()],
        }
    )
    place = pl.int_range(pl.len())
    return rows.with_columns(
        order_value_gbp=pl.when(place == 8).then(pl.lit("free")).otherwise("order_value_gbp"),
        number_of_items=pl.when(place == 21).then(None).otherwise("number_of_items"),
    )
