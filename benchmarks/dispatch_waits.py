"""How exact the expected waiting times of dispatch decisions are, on the real data.

    python -m benchmarks.dispatch_waits                             last week of the real data
    python -m benchmarks.dispatch_waits --from 2015-06-17 --to 2015-06-23
    python -m benchmarks.dispatch_waits --json                      one JSON document instead of the table

`quantile` is fitted as of the first day. For each cost ratio, couriers are dispatched by its decision, with a travel
time of five minutes. Expected and actual waiting times are means over the orders with a label up to 3 h.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import msgspec
import numpy as np

from benchmarks.real_data import load_data, parse_options
from preptime.domain.dispatch import decide, dispatch_level
from preptime.domain.orders import DEFAULT_MODEL
from preptime.errors import PreptimeError
from preptime.models.catalogue import CATALOGUE
from preptime.training.backtest import backtest
from preptime.training.fitting import FitPlan
from preptime.training.training_data import TrainingData

TRAVEL_SECONDS = 300.0
RATIOS = ((1, 9), (1, 3), (1, 2), (1, 1), (2, 1), (3, 1), (9, 1))
"""Costs of a minute, (courier, food)."""


class Waits(msgspec.Struct, frozen=True):
    """The mean waiting times of one cost ratio, in seconds."""

    courier_cost: float
    food_cost: float
    orders: int
    expected_courier: float
    actual_courier: float
    expected_food: float
    actual_food: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the waiting times, and print them."""
    arguments = parse_options(__doc__, argv)
    try:
        data = load_data(arguments)
    except PreptimeError as error:
        print(f"{error} Set PREPTIME_REAL_DATA to the folder of the real data.", file=sys.stderr)
        return 1
    plan = FitPlan({DEFAULT_MODEL: CATALOGUE[DEFAULT_MODEL]}, os.cpu_count() or 1, with_live_model=False)
    orders = TrainingData.from_orders(data.audited, data.restaurant_index)
    evaluated = backtest(orders, data.first, data.last, plan)
    waits = [_measure(evaluated.quantiles, evaluated.actual.astype(np.float64), *ratio) for ratio in RATIOS]
    print(msgspec.json.encode(waits).decode() if arguments.json else _markdown(waits, data.days))
    return 0


def _measure(
    quantiles: np.ndarray[tuple[int, ...], np.dtype[np.floating]],
    ready: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    courier_cost: float,
    food_cost: float,
) -> Waits:
    travel = np.full(len(ready), TRAVEL_SECONDS)
    decisions = decide(quantiles, travel, dispatch_level(courier_cost, food_cost))
    arrival = decisions.dispatch_seconds + travel
    return Waits(
        courier_cost,
        food_cost,
        len(ready),
        float(decisions.courier_wait_seconds.mean()),
        float(np.maximum(ready - arrival, 0).mean()),
        float(decisions.food_wait_seconds.mean()),
        float(np.maximum(arrival - ready, 0).mean()),
    )


def _markdown(waits: Sequence[Waits], days: str) -> str:
    lines = [
        f"{waits[0].orders:,} orders of {days}. Mean waiting times in seconds.",
        "",
        "| courier : food | courier, expected | actual | ratio | food, expected | actual | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {wait.courier_cost:g}:{wait.food_cost:g} | {wait.expected_courier:,.0f} | {wait.actual_courier:,.0f} | "
        f"{wait.expected_courier / wait.actual_courier:.2f} | {wait.expected_food:,.0f} | {wait.actual_food:,.0f} | "
        f"{wait.expected_food / wait.actual_food:.2f} |"
        for wait in waits
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
