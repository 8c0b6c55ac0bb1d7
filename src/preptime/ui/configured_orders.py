"""The configured orders and restaurants, which the pages Data and Models read."""

from __future__ import annotations

from pathlib import Path

from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.settings import Settings
from preptime.sources.registry import default_restaurants, is_database, open_source
from preptime.validation.restaurants import read_restaurants


def are_orders_configured(settings: Settings, schema: Schema) -> bool:
    """Return whether there are orders, and restaurants for them: in a file, in the same database, or derived."""
    has_restaurants = settings.restaurants or is_database(settings.orders) or derives_restaurants(schema)
    return bool(settings.orders and has_restaurants)


def derives_restaurants(schema: Schema) -> bool:
    """Return whether restaurants are derived from orders without a restaurants file. The take-home files have one."""
    return schema != TAKE_HOME_SCHEMA


def read_configured_restaurants(orders: str, restaurants: str, schema: Schema) -> RestaurantIndex | None:
    """Return the restaurants of configured orders, or None if they are derived from the orders."""
    return read_restaurants_at(restaurants or default_restaurants(orders), schema)


def read_restaurants_at(location: str | Path, schema: Schema) -> RestaurantIndex | None:
    """Return the restaurants, or None without a location."""
    if not location:
        return None
    source = open_source(location, schema)
    return read_restaurants(source.frame(), source.schema)
