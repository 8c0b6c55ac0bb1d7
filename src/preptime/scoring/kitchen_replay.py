"""Replays the states of kitchens from the orders of a data source, for `preptime score --live`."""

from __future__ import annotations

import numpy as np

from preptime.bundle.bundle import Bundle
from preptime.errors import DataError, UsageError
from preptime.features.kitchen import KitchenReplay, concatenate_events
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.source import DataSource
from preptime.validation.audit import audit_orders, has_labels, to_kitchen_events


def replay_kitchens(orders: DataSource, restaurants: RestaurantIndex, bundle: Bundle, chunk_rows: int) -> KitchenReplay:
    """Return the states of the kitchens of all orders in a data source, which is read completely.

    Memory holds 32 bytes per order.

    Raises:
        UsageError: The bundle has no live model.
        DataError: The orders have no outcomes, so the state of a kitchen isn't known.
    """
    if not bundle.has_live_model:
        raise UsageError(
            f"The bundle {bundle.manifest.id} has no live model.",
            "Omit --live, or use a bundle that has one (--bundle). Training includes it where it's better.",
        )
    opening_times = np.full(len(restaurants), np.nan)  # they don't affect the events
    parts, has_outcomes = [], False
    for chunk in orders.batches(chunk_rows):
        audited = audit_orders(chunk, restaurants, need_label=True, opening_times=opening_times, schema=orders.schema)
        has_outcomes = has_outcomes or has_labels(chunk, orders.schema)
        parts.append(to_kitchen_events(audited))
    if not has_outcomes:
        raise DataError(
            f"The orders of {orders.name} have no outcomes, so every order of the latest 3 hours would count as open.",
            "Omit --live, or add the ready times of earlier orders.",
        )
    return KitchenReplay.from_events(concatenate_events(parts))
