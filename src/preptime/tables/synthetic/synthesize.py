"""From a plan to tables: draw block by block, put in order of time, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from preptime.tables.synthetic.clock import DAY_SECONDS, MICROSECONDS, make_clock
from preptime.tables.synthetic.noise import QUANTILES
from preptime.tables.synthetic.orders import Orders, draw_orders
from preptime.tables.synthetic.plan import SynthesisPlan
from preptime.tables.synthetic.restaurants import Restaurants, draw_restaurants
from preptime.tables.synthetic.truth import ExpectedLoad
from preptime.tables.synthetic.world import CITIES, FOODS
from preptime.tables.synthetic.writing import write_table

BLOCK_ORDERS = 500_000
"""Orders drawn at once; what is drawn depends on it, so it is no option."""

Progress = Callable[[str, float], None]
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
    out: Path,
    file_format: Literal["csv", "parquet"] = "csv",
    progress: Progress | None = None,
) -> SynthesisReport:
    """Write `orders`, `restaurants` and `truth` into the folder `out`; each file appears whole or not at all."""
    tell = progress if progress is not None else _silent
    restaurants, orders = _draw(plan, tell)
    out.mkdir(parents=True, exist_ok=True)
    paths = {name: out / f"{name}.{file_format}" for name in ("orders", "restaurants", "truth")}
    directory = _restaurants_frame(restaurants)
    write_table(directory, directory, paths["restaurants"])
    tell("Writing files", 0.1)
    write_table(_orders_frame(orders), directory, paths["orders"])
    tell("Writing files", 0.7)
    write_table(_truth_frame(orders), directory, paths["truth"])
    tell("Writing files", 1.0)
    return SynthesisReport(paths["orders"], paths["restaurants"], paths["truth"], plan.orders, directory.height)


def synthesize_frames(plan: SynthesisPlan) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Orders, restaurants and truth; orders and truth row by row the same orders, in order of acknowledgement (UTC)."""
    restaurants, orders = _draw(plan, _silent)
    return _orders_frame(orders), _restaurants_frame(restaurants), _truth_frame(orders)


def _silent(_step: str, _share: float) -> None:
    return None


def _draw(plan: SynthesisPlan, tell: Progress) -> tuple[Restaurants, Orders]:
    world_seed, orders_seed = np.random.SeedSequence(plan.seed).spawn(2)
    rng = np.random.Generator(np.random.PCG64(world_seed))
    clock = make_clock(plan.start, plan.days, rng)
    restaurants = draw_restaurants(plan, clock, rng)
    expected_load = ExpectedLoad(clock)
    drawn = []
    done = 0
    for block in _blocks(restaurants, plan.days):
        (seed,) = orders_seed.spawn(1)
        drawn.append(
            draw_orders(restaurants, block, clock=clock, expected_load=expected_load, drift=plan.drift, seed=seed)
        )
        done += len(drawn[-1].restaurant)
        tell("Drawing orders", done / plan.orders)
    return restaurants, _by_time(drawn)


def _blocks(restaurants: Restaurants, days: int) -> Iterator[range]:
    """Runs of restaurants with BLOCK_ORDERS orders, or one that has more; few enough that their times fit 63 bits."""
    most = int(2**62 // ((days + 5) * DAY_SECONDS * MICROSECONDS))
    until = np.cumsum(restaurants.orders)
    start = 0
    while start < len(until):
        before = int(until[start - 1]) if start else 0
        stop = int(np.searchsorted(until, before + BLOCK_ORDERS, side="right"))
        stop = min(max(stop, start + 1), start + most)
        yield range(start, stop)
        start = stop


def _by_time(drawn: list[Orders]) -> Orders:
    """One table of all blocks, in order of acknowledgement; ties (of different restaurants) by restaurant."""
    by_time = np.argsort(np.concatenate([block.acknowledged for block in drawn]), kind="stable")
    columns = {
        field.name: np.concatenate([getattr(block, field.name) for block in drawn], axis=-1)[..., by_time]
        for field in fields(Orders)
    }
    return Orders(**columns)


def _orders_frame(orders: Orders) -> pl.DataFrame:
    instant = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "order_id": np.arange(1, len(orders.restaurant) + 1),
            "order_acknowledged_at": pl.Series(orders.acknowledged).cast(instant),
            "order_ready_at": pl.Series(orders.ready).cast(instant),
            "order_value_gbp": orders.order_value_gbp,
            "restaurant_id": orders.restaurant.astype(np.int64) + 1,
            "number_of_items": orders.number_of_items.astype(np.int64),
            "prep_time_seconds": (orders.ready - orders.acknowledged) // MICROSECONDS,
        }
    )


def _restaurants_frame(restaurants: Restaurants) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "restaurant_id": np.arange(1, len(restaurants.city) + 1),
            "country": [CITIES[place].country for place in restaurants.city],
            "city": [CITIES[place].name for place in restaurants.city],
            "type_of_food": [FOODS[kind].name for kind in restaurants.food],
        }
    )


def _truth_frame(orders: Orders) -> pl.DataFrame:
    names = [f"p{p * 100:.0f}" for p in QUANTILES]
    names += [f"{name}_without_load" for name in names]
    return pl.DataFrame(
        {
            "order_id": np.arange(1, len(orders.restaurant) + 1),
            "open_orders": orders.open_orders,
            **dict(zip(names, orders.quantiles, strict=True)),
            "dirty": orders.dirty,
            "before_opening": orders.before_opening,
        }
    )
