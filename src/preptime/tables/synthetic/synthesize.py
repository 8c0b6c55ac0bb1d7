"""From a plan to tables: draw block by block, put in order of time, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from preptime.tables.synthetic.clock import DAY_SECONDS, MICROSECONDS, make_demand_profile
from preptime.tables.synthetic.noise import QUANTILE_LEVELS
from preptime.tables.synthetic.orders import SyntheticOrders, draw_orders
from preptime.tables.synthetic.plan import SynthesisPlan
from preptime.tables.synthetic.restaurants import SyntheticRestaurants, draw_restaurants
from preptime.tables.synthetic.truth import ExpectedLoad
from preptime.tables.synthetic.world import CITIES, FOODS
from preptime.tables.synthetic.writing import write_table

BLOCK_ORDERS = 500_000
"""Orders drawn at once; what is drawn depends on it, so it is no option."""

ProgressCallback = Callable[[str, float], None]
"""Told the step and the share of it that is done."""


@dataclass(frozen=True, slots=True)
class SynthesisReport:
    """What was written where."""

    orders: Path
    restaurants: Path
    truth: Path
    order_rows: int
    restaurant_rows: int


def synthesize(
    plan: SynthesisPlan,
    output_dir: Path,
    file_format: Literal["csv", "parquet"] = "csv",
    progress: ProgressCallback | None = None,
) -> SynthesisReport:
    """Write `orders`, `restaurants` and `truth` into the folder `output_dir`; each file appears whole or not at all."""
    report_progress = progress if progress is not None else _ignore_progress
    restaurants, orders = _draw(plan, report_progress)
    output_dir.mkdir(parents=True, exist_ok=True)
    paths = {name: output_dir / f"{name}.{file_format}" for name in ("orders", "restaurants", "truth")}
    restaurants_frame = _restaurants_frame(restaurants)
    write_table(restaurants_frame, restaurants_frame, paths["restaurants"])
    report_progress("Writing files", 0.1)
    write_table(_orders_frame(orders), restaurants_frame, paths["orders"])
    report_progress("Writing files", 0.7)
    write_table(_truth_frame(orders), restaurants_frame, paths["truth"])
    report_progress("Writing files", 1.0)
    return SynthesisReport(paths["orders"], paths["restaurants"], paths["truth"], plan.orders, restaurants_frame.height)


def synthesize_frames(plan: SynthesisPlan) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Orders, restaurants and truth; orders and truth row by row the same orders, in order of acknowledgement (UTC)."""
    restaurants, orders = _draw(plan, _ignore_progress)
    return _orders_frame(orders), _restaurants_frame(restaurants), _truth_frame(orders)


def _ignore_progress(_step: str, _share: float) -> None:
    return None


def _draw(plan: SynthesisPlan, report_progress: ProgressCallback) -> tuple[SyntheticRestaurants, SyntheticOrders]:
    world_seed, orders_seed = np.random.SeedSequence(plan.seed).spawn(2)
    rng = np.random.Generator(np.random.PCG64(world_seed))
    demand = make_demand_profile(plan.start, plan.days, rng)
    restaurants = draw_restaurants(plan, demand, rng)
    expected_load = ExpectedLoad(demand)
    drawn_blocks = []
    drawn_orders = 0
    for block in _blocks(restaurants, plan.days):
        (seed,) = orders_seed.spawn(1)
        drawn_blocks.append(
            draw_orders(restaurants, block, demand=demand, expected_load=expected_load, drift=plan.drift, seed=seed)
        )
        drawn_orders += len(drawn_blocks[-1].restaurant_index)
        report_progress("Drawing orders", drawn_orders / plan.orders)
    return restaurants, _sort_by_time(drawn_blocks)


def _blocks(restaurants: SyntheticRestaurants, days: int) -> Iterator[range]:
    """Runs of restaurants with BLOCK_ORDERS orders, or one that has more; few enough that their times fit 63 bits."""
    max_restaurants = int(2**62 // ((days + 5) * DAY_SECONDS * MICROSECONDS))
    cumulative_orders = np.cumsum(restaurants.orders)
    start = 0
    while start < len(cumulative_orders):
        orders_before = int(cumulative_orders[start - 1]) if start else 0
        stop = int(np.searchsorted(cumulative_orders, orders_before + BLOCK_ORDERS, side="right"))
        stop = min(max(stop, start + 1), start + max_restaurants)
        yield range(start, stop)
        start = stop


def _sort_by_time(blocks: list[SyntheticOrders]) -> SyntheticOrders:
    """One table of all blocks, in order of acknowledgement; ties (of different restaurants) by restaurant."""
    time_order = np.argsort(np.concatenate([block.acknowledged for block in blocks]), kind="stable")
    columns = {
        field.name: np.concatenate([getattr(block, field.name) for block in blocks], axis=-1)[..., time_order]
        for field in fields(SyntheticOrders)
    }
    return SyntheticOrders(**columns)


def _orders_frame(orders: SyntheticOrders) -> pl.DataFrame:
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "order_id": np.arange(1, len(orders.restaurant_index) + 1),
            "order_acknowledged_at": pl.Series(orders.acknowledged).cast(instant),
            "order_ready_at": pl.Series(orders.ready).cast(instant),
            "order_value_gbp": orders.order_value_gbp,
            "restaurant_id": orders.restaurant_index.astype(np.int64) + 1,
            "number_of_items": orders.number_of_items.astype(np.int64),
            "prep_time_seconds": (orders.ready - orders.acknowledged) // MICROSECONDS,
        }
    )


def _restaurants_frame(restaurants: SyntheticRestaurants) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "restaurant_id": np.arange(1, len(restaurants.city) + 1),
            "country": [CITIES[city_index].country for city_index in restaurants.city],
            "city": [CITIES[city_index].name for city_index in restaurants.city],
            "type_of_food": [FOODS[food_index].name for food_index in restaurants.food],
        }
    )


def _truth_frame(orders: SyntheticOrders) -> pl.DataFrame:
    names = [f"p{p * 100:.0f}" for p in QUANTILE_LEVELS]
    names += [f"{name}_without_load" for name in names]
    return pl.DataFrame(
        {
            "order_id": np.arange(1, len(orders.restaurant_index) + 1),
            "open_orders": orders.open_orders,
            **dict(zip(names, orders.quantiles, strict=True)),
            "noisy_label": orders.noisy_label,
            "before_opening": orders.before_opening,
        }
    )
