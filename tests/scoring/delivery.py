"""Orders of a second company: delivery times, text identifiers, other formats, and custom features."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from preptime.bundle.bundle import Bundle
from preptime.bundle.store import Store
from preptime.schema.schema import Schema
from preptime.schema.toml_file import parse_schema
from preptime.synthetic import synthesize_frames
from tests.scoring.factories import PLAN, bundle_of

SCHEMA_TOML = """\
[source]
delimiter = ";"
decimal = ","

[target]
name = "delivery"
title = "delivery time"
event = "delivered"

[orders]
order_acknowledged_at = { column = "created", format = "%d/%m/%Y %I:%M %p", time_zone = "UTC" }
prep_time = { column = "delivery_min", unit = "min" }
restaurant_id = "store"
order_value = { column = "subtotal", unit = "cents", currency = "USD" }
number_of_items = "units"
order_id = "id"
country = "market"
city = "area"
type_of_food = "cuisine"

[restaurants]
restaurant_id = { column = "store" }
time_zone = "America/Los_Angeles"

[features]
busy_couriers = { column = "busy", type = "number", range = [0, 200], unit = "people" }
distance = { type = "number", unit = "km", title = "distance to the customer" }
protocol = "category"
channel = { type = "category", required = true }
staff = { type = "number", of = "restaurant" }
"""
PROTOCOLS = ("app", "call", "tablet")


@cache
def delivery_schema() -> Schema:
    """Return the schema of the second company."""
    return parse_schema(SCHEMA_TOML)


@cache
def delivery_frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return orders and restaurants as text, as the company writes them."""
    orders, restaurants, _ = synthesize_frames(PLAN)
    rng = np.random.default_rng(12)
    count = len(orders)
    busy = rng.integers(5, 60, count)
    distance = rng.gamma(2.0, 2.0, count).round(1)
    local = orders["order_acknowledged_at"].cast(pl.String).str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S")
    minutes = (orders["prep_time_seconds"].cast(pl.Float64) / 60 + pl.Series(busy) * 0.8).round(2)
    rows = pl.DataFrame(
        {
            "id": [f"d-{number}" for number in range(count)],
            "created": local.dt.strftime("%d/%m/%Y %I:%M %p"),
            "delivery_min": minutes.cast(pl.String).str.replace(".", ",", literal=True),
            "store": "store-" + orders["restaurant_id"].cast(pl.String),
            "subtotal": (orders["order_value_gbp"].cast(pl.Float64) * 100).round().cast(pl.Int64).cast(pl.String),
            "units": orders["number_of_items"].cast(pl.String),
            "busy": pl.Series(busy).cast(pl.String),
            "distance": pl.Series(distance).cast(pl.String).str.replace(".", ",", literal=True),
            "protocol": rng.choice(PROTOCOLS, count, p=[0.6, 0.3, 0.1]),
            "channel": rng.choice(["web", "phone"], count, p=[0.7, 0.3]),
        }
    )
    is_missing = pl.Series(rng.random(count) < 0.05)
    rows = rows.with_columns(busy=rows["busy"].set(is_missing, None))
    stores_frame = restaurants.select(
        store="store-" + pl.col("restaurant_id").cast(pl.String),
        country=pl.lit("USA"),
        city=pl.col("city").cast(pl.String),
        type_of_food=pl.col("type_of_food").cast(pl.String),
        staff=pl.int_range(pl.len()) % 7 + 2,
    )
    return rows, stores_frame


def delivery_bundle(store: Store) -> Bundle:
    """Return a small bundle of the second company."""
    return bundle_of(store, *delivery_frames(), schema=delivery_schema())
