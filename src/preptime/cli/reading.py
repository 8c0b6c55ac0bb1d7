"""Reading orders and restaurants for a verb."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preptime.cli.speaking import Output
    from preptime.features.directory import RestaurantIndex
    from preptime.tables.audit import AuditedOrders
    from preptime.training.corpus import TrainingData


def read_restaurants(restaurants: str) -> RestaurantIndex:
    """The restaurants at an address."""
    from preptime.tables import directory
    from preptime.tables.open import open_source

    return directory.read_restaurants(open_source(restaurants).frame())


def read_audited_orders(output: Output, orders: str, restaurants: str) -> tuple[AuditedOrders, RestaurantIndex]:
    """Completed orders with a verdict for each, and the restaurants."""
    from preptime.tables.audit import audit_orders
    from preptime.tables.open import open_source

    output.progress("Reading the orders", 0.0)
    restaurant_index = read_restaurants(restaurants)
    audited_orders = audit_orders(open_source(orders).frame(), restaurant_index, need_label=True)
    output.progress("Reading the orders", 1.0)
    return audited_orders, restaurant_index


def read_training_data(output: Output, orders: str, restaurants: str) -> TrainingData:
    """Completed orders that can be fitted, counted or evaluated."""
    from preptime.training.corpus import TrainingData

    return TrainingData.from_orders(*read_audited_orders(output, orders, restaurants))
