"""Synthesis of a plan: draw orders block by block, sort them by time, and write them to CSV or Parquet files.

Files are written atomically. The same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from preptime.atomic_write import atomic_path
from preptime.domain.timestamps import MICROSECONDS, SECONDS_PER_DAY
from preptime.progress import ProgressCallback, no_progress
from preptime.synthetic.demand import make_demand_profile
from preptime.synthetic.ground_truth import QUANTILE_LEVELS, ExpectedLoad
from preptime.synthetic.orders import SyntheticOrders, draw_orders
from preptime.synthetic.restaurants import SyntheticRestaurants, draw_restaurants
from preptime.synthetic.world import CITIES, FOODS, TIME_ZONES, SynthesisPlan

BLOCK_ORDERS = 500_000
"""Orders drawn per block. The random numbers depend on it, so it's a constant."""

ROW_GROUP_ROWS = 262_144
INTEGER_CODED_COLUMNS = ("country", "city", "type_of_food")


@dataclass(frozen=True, slots=True)
class SynthesisReport:
    """The written files and their numbers of rows."""

    orders: Path
    restaurants: Path
    truth: Path
    order_rows: int
    restaurant_rows: int


def synthesize(
    plan: SynthesisPlan,
    output_dir: Path,
    file_format: Literal["csv", "parquet"] = "csv",
    progress: ProgressCallback = no_progress,
) -> SynthesisReport:
    """Write the files `orders`, `restaurants`, and `truth` to a folder.

    Args:
        plan: What to draw.
        output_dir: The folder, which is created if it doesn't exist.
        file_format: Format of the three files.
        progress: Called with the name of the step and its progress, 0 to 1.
    """
    restaurants, orders = _draw(plan, progress)
    output_dir.mkdir(parents=True, exist_ok=True)
    paths = {name: output_dir / f"{name}.{file_format}" for name in ("orders", "restaurants", "truth")}
    restaurants_frame = _restaurants_frame(restaurants)
    write_table(restaurants_frame, restaurants_frame, paths["restaurants"])
    progress("Writing files", 0.1)
    write_table(_orders_frame(orders), restaurants_frame, paths["orders"])
    progress("Writing files", 0.7)
    write_table(_truth_frame(orders), restaurants_frame, paths["truth"])
    progress("Writing files", 1.0)
    return SynthesisReport(paths["orders"], paths["restaurants"], paths["truth"], plan.orders, restaurants_frame.height)


def synthesize_frames(plan: SynthesisPlan) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return a plan's orders (in UTC, sorted by acknowledgement), restaurants, and truth (row i belongs to order i)."""
    restaurants, orders = _draw(plan, no_progress)
    return _orders_frame(orders), _restaurants_frame(restaurants), _truth_frame(orders)


def write_frames(
    frames: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
    output_dir: Path,
    file_format: Literal["csv", "parquet"] = "csv",
) -> None:
    """Write the result of `synthesize_frames` to the files that `synthesize` writes."""
    for name, table in zip(("orders", "restaurants", "truth"), frames, strict=True):
        write_table(table, frames[1], output_dir / f"{name}.{file_format}")


def write_integer_coded_orders(
    orders: pl.DataFrame, restaurants: pl.DataFrame, path: Path, rows: int | None = None
) -> int:
    """Write the first `rows` orders (all by default) in the take-home API's format, and return their number.

    The file has only the columns known at acknowledgement. The code of a category is its position in the sorted values
    of `restaurants`.
    """
    codes = [pl.col(name).rank("dense").cast(pl.Int64) - 1 for name in INTEGER_CODED_COLUMNS]
    first_orders = orders.head(rows) if rows is not None else orders
    coded = first_orders.join(
        restaurants.with_columns(codes), on="restaurant_id", how="left", maintain_order="left"
    ).select("order_acknowledged_at", "order_value_gbp", "restaurant_id", "number_of_items", *INTEGER_CODED_COLUMNS)
    write_table(coded, restaurants, path)
    return coded.height


def write_table(table: pl.DataFrame, restaurants: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV or Parquet, depending on the suffix of `path`.

    In CSV, instants become local times of the restaurant with a UTC offset, as in the real file
    (`2015-06-01 12:28:28.952789+01:00`). `restaurants` has the country of each restaurant.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary_path:
        if path.suffix == ".parquet":
            table.write_parquet(temporary_path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS)
        else:
            _with_wall_clock(table, restaurants).write_csv(temporary_path)


def _with_wall_clock(table: pl.DataFrame, restaurants: pl.DataFrame) -> pl.DataFrame:
    instant_columns = [
        name for name, kind in table.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"
    ]
    if not instant_columns:
        return table
    country = table.select("restaurant_id").join(
        restaurants.select("restaurant_id", "country"), on="restaurant_id", how="left", maintain_order="left"
    )["country"]
    zone = country.replace_strict(TIME_ZONES, default="UTC", return_dtype=pl.String)
    parts = []
    numbered = table.with_columns(zone.alias("_zone")).with_row_index("_row")
    for (name,), part in numbered.group_by("_zone", maintain_order=True):
        wall_clock_columns = [
            pl.col(column).dt.convert_time_zone(str(name)).dt.strftime("%Y-%m-%d %H:%M:%S%.6f%:z")
            for column in instant_columns
        ]
        parts.append(part.with_columns(wall_clock_columns))
    return pl.concat(parts).sort("_row").drop("_row", "_zone")


def _draw(plan: SynthesisPlan, progress: ProgressCallback) -> tuple[SyntheticRestaurants, SyntheticOrders]:
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
        progress("Drawing orders", drawn_orders / plan.orders)
    return restaurants, _sort_by_time(drawn_blocks)


def _blocks(restaurants: SyntheticRestaurants, days: int) -> Iterator[range]:
    """Yield ranges of restaurants with up to `BLOCK_ORDERS` orders, or one restaurant with more.

    The number of restaurants is limited so that their times fit in 63 bits.
    """
    max_restaurants = int(2**62 // ((days + 5) * SECONDS_PER_DAY * MICROSECONDS))
    cumulative_orders = np.cumsum(restaurants.orders)
    start = 0
    while start < len(cumulative_orders):
        orders_before = int(cumulative_orders[start - 1]) if start else 0
        stop = int(np.searchsorted(cumulative_orders, orders_before + BLOCK_ORDERS, side="right"))
        stop = min(max(stop, start + 1), start + max_restaurants)
        yield range(start, stop)
        start = stop


def _sort_by_time(blocks: list[SyntheticOrders]) -> SyntheticOrders:
    """Return the orders of all blocks, sorted by acknowledgement, then by restaurant."""
    time_order = np.argsort(np.concatenate([block.acknowledged for block in blocks]), kind="stable")
    columns = {field.name: [getattr(block, field.name) for block in blocks] for field in fields(SyntheticOrders)}
    sorted_columns = {name: np.concatenate(parts, axis=-1)[..., time_order] for name, parts in columns.items()}
    return SyntheticOrders(**sorted_columns)


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
