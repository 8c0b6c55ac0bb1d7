"""Read the orders and restaurants of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preptime.cli.output import Output
    from preptime.features.restaurant_index import RestaurantIndex
    from preptime.training.training_data import TrainingData
    from preptime.validation.audit import AuditedOrders


def read_restaurants(url: str) -> RestaurantIndex:
    """Return the restaurants at a location."""
    from preptime.sources.registry import open_source
    from preptime.validation.restaurants import read_restaurants as index_restaurants

    return index_restaurants(open_source(url).frame())


def read_audited_orders(
    output: Output, orders: str, restaurants: str, *, need_label: bool | None = True
) -> tuple[AuditedOrders, RestaurantIndex]:
    """Return orders with their validation results, and the restaurants.

    With `need_label`, the orders are completed orders. With None, they are if any of them has a label.
    """
    from preptime.sources.registry import open_source
    from preptime.validation.audit import audit_orders, has_labels

    output.progress("Reading the orders", 0.0)
    restaurant_index = read_restaurants(restaurants)
    frame = open_source(orders).frame()
    audited_orders = audit_orders(
        frame, restaurant_index, need_label=has_labels(frame) if need_label is None else need_label
    )
    output.progress("Reading the orders", 1.0)
    return audited_orders, restaurant_index


def read_training_data(output: Output, orders: str, restaurants: str) -> TrainingData:
    """Return the completed orders that can be used for fitting, history, or evaluation."""
    from preptime.training.training_data import TrainingData

    return TrainingData.from_orders(*read_audited_orders(output, orders, restaurants))
