"""The waiting cost of couriers and food, for each way to choose when a courier arrives.

A courier who arrives at A waits until the food is ready at R, or the food waits for the courier. With a known travel
time T, the courier is sent at A - T, so the travel time doesn't change the waiting. See docs/metrics.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preptime.domain.dispatch import dispatch_level, quantile_at
from preptime.domain.orders import QUANTILE_LEVELS
from preptime.evaluation.documents import WaitingCost
from preptime.evaluation.metrics import Seconds
from preptime.features import shrinkage

LOOKUP_LEVELS = shrinkage.QUANTILE_LEVELS
"""The levels of the lookup's quantiles and of those of all orders."""

COST_RATIOS = ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0))
"""Costs of a minute, (courier, food), in display order."""

ARRIVALS = ("predicted_quantile", "live_quantile", "p50", "lookup_quantile", "constant")
"""The ways to choose when a courier arrives: the fields of `WaitingCost`, in display order."""

_PER_ORDERS = 1_000


def arrival_seconds(
    level: float,
    quantiles: NDArray[np.floating],
    lookup_quantiles: NDArray[np.floating],
    global_quantiles: NDArray[np.floating],
    live_quantiles: NDArray[np.floating] | None = None,
) -> dict[str, NDArray[np.floating]]:
    """Return when the couriers of N orders arrive, by the names in `ARRIVALS`, [N] seconds after acknowledgement.

    Args:
        level: `dispatch_level` of the costs.
        quantiles: [N, 4] seconds at `QUANTILE_LEVELS`.
        lookup_quantiles: [N, 5] seconds, of each order's restaurant, at `LOOKUP_LEVELS`.
        global_quantiles: [N, 5] seconds, of all orders, at `LOOKUP_LEVELS`.
        live_quantiles: [N, 4] seconds at `QUANTILE_LEVELS`, of the live model. Without it, the result has no
            `live_quantile`.
    """
    arrivals = {
        "predicted_quantile": quantile_at(quantiles, level),
        "p50": quantiles[:, QUANTILE_LEVELS.index(0.5)],
        "lookup_quantile": quantile_at(lookup_quantiles, level, LOOKUP_LEVELS),
        "constant": quantile_at(global_quantiles, level, LOOKUP_LEVELS),
    }
    return arrivals if live_quantiles is None else arrivals | {"live_quantile": quantile_at(live_quantiles, level)}


def weighted_waiting(ready: Seconds, arrival: Seconds, level: float) -> NDArray[np.float64]:
    """Return the waiting of each order, [N] seconds, with weights for courier and food that add to 2.

    The weight of a courier's second is 2 * `level`, so at 0.5 the result is the absolute error of `arrival`.

    Example:
        >>> weighted_waiting(np.array([900.0, 900.0]), np.array([600.0, 1200.0]), level=0.75)
        array([450., 150.])
    """
    courier_waits = ready.astype(np.float64) - arrival
    waiting: NDArray[np.float64] = 2 * np.maximum(level * courier_waits, (level - 1) * courier_waits)
    return waiting


def compute_waiting_costs(
    ready: Seconds,
    quantiles: NDArray[np.floating],
    lookup_quantiles: NDArray[np.floating],
    global_quantiles: NDArray[np.floating],
    live_quantiles: NDArray[np.floating] | None = None,
) -> tuple[WaitingCost, ...]:
    """Return the waiting cost at each of `COST_RATIOS` over N orders that were ready at `ready`, [N] seconds.

    For the other arguments, see `arrival_seconds`. Without orders, no cost has a value.
    """
    costs = []
    for courier_cost, food_cost in COST_RATIOS:
        level = dispatch_level(courier_cost, food_cost)
        arrivals = arrival_seconds(level, quantiles, lookup_quantiles, global_quantiles, live_quantiles)
        means = {name: weighted_waiting(ready, at, level).mean() for name, at in arrivals.items() if len(ready)}
        costs.append(waiting_cost(courier_cost, food_cost, len(ready), means))
    return tuple(costs)


def waiting_cost(courier_cost: float, food_cost: float, n: int, means: dict[str, float | None]) -> WaitingCost:
    """Return the document of one cost ratio from the mean waiting of an order, in seconds, by name in `ARRIVALS`."""
    values = {name: None if (mean := means.get(name)) is None else float(mean) * _PER_ORDERS for name in ARRIVALS}
    return WaitingCost(
        courier_cost=courier_cost, food_cost=food_cost, level=dispatch_level(courier_cost, food_cost), n=n, **values
    )
