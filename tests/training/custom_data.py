"""Synthetic orders with custom features, some of them missing, and without a number of items."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl

from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature
from preptime.synthetic import synthesize_frames
from tests.training.factories import PLAN, SyntheticData

SCHEMA = msgspec.structs.replace(
    TAKE_HOME_SCHEMA,
    orders={name: column for name, column in TAKE_HOME_SCHEMA.orders.items() if name != "number_of_items"},
    features=(
        CustomFeature(name="outstanding", column="open", type="number", required=True),
        CustomFeature(name="driving", column="driving_s", type="number", unit="s", range=(0.0, 7_200.0)),
        CustomFeature(name="distance", column="km", type="number", unit="km"),
        CustomFeature(name="protocol", column="protocol", type="category"),
        CustomFeature(name="channel", column="channel", type="category"),
        CustomFeature(name="seats", column="seats", type="number", of="restaurant"),
        CustomFeature(name="style", column="style", type="category", of="restaurant"),
    ),
)
PROTOCOLS = ("app", "phone", "web", "")


def custom_frames(seed: int = 7) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return orders and restaurants. One of ten drives and 60% of distances are missing or invalid.

    `channel` has one common value, and one value for each of the first ten orders.
    """
    orders, restaurants, _ = synthesize_frames(PLAN)
    rng, n = np.random.default_rng(seed), len(orders)
    driving = rng.integers(60, 2_400, n).astype(str)
    driving[::10] = "unknown"
    driving[5::100] = "90000"
    distance = np.where(rng.random(n) < 0.6, "", rng.gamma(2.0, 2.0, n).round(2).astype(str))
    channel = np.full(n, "web").astype(object)
    channel[:10] = [f"rare {number}" for number in range(10)]
    orders = orders.drop("number_of_items").with_columns(
        open=pl.Series(rng.integers(0, 40, n)),
        driving_s=pl.Series(driving.tolist()),
        km=pl.Series(distance.tolist()),
        protocol=pl.Series([PROTOCOLS[code] for code in rng.integers(0, 4, n)]),
        channel=pl.Series(channel.tolist()),
    )
    seats = [str(20 + row) if row % 3 else "" for row in range(len(restaurants))]
    styles = [("fast", "fine", "")[row % 3] for row in range(len(restaurants))]
    return orders, restaurants.with_columns(seats=pl.Series(seats), style=pl.Series(styles))


def make_custom_data() -> SyntheticData:
    """Return the parsed orders and restaurants of `SCHEMA`."""
    return SyntheticData.from_frames(*custom_frames(), SCHEMA)
