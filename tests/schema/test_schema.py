"""The schema itself: the columns that it requires, and the take-home files."""

from __future__ import annotations

import msgspec

from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, OrderColumn, Schema

SCHEMA = Schema(
    orders={
        "order_acknowledged_at": OrderColumn(column="created_at"),
        "restaurant_id": OrderColumn(column="store"),
        "order_id": OrderColumn(column="number"),
    },
    features=(
        CustomFeature(name="distance", column="distance_m", type="number", required=True),
        CustomFeature(name="channel", column="channel_name", type="category"),
        CustomFeature(name="seats", column="seat_count", type="number", of="restaurant", required=True),
    ),
)


def test_required_columns_include_required_order_features() -> None:
    required = {"order_acknowledged_at": "created_at", "restaurant_id": "store", "distance": "distance_m"}
    assert SCHEMA.required_columns("scoring") == required
    assert SCHEMA.required_columns("training") == required


def test_take_home_orders_are_recognized_by_both_names() -> None:
    assert TAKE_HOME_SCHEMA.has_take_home_orders
    assert TAKE_HOME_SCHEMA.canonical().has_take_home_orders
    assert msgspec.structs.replace(TAKE_HOME_SCHEMA, features=SCHEMA.features).has_take_home_orders
    assert not SCHEMA.has_take_home_orders
