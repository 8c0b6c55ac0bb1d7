"""The truth of synthetic orders: load, quantiles, and drift."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preptime.synthetic import Drift, SynthesisPlan, synthesize_frames
from preptime.synthetic.orders import count_open_orders, solve_open_orders

QUANTILES = {"p10": 0.1, "p50": 0.5, "p80": 0.8, "p90": 0.9}


@pytest.fixture(scope="module")
def clean_orders() -> pl.DataFrame:
    """Return 300,000 orders with their truth and restaurants, without label noise."""
    orders, restaurants, truth = synthesize_frames(SynthesisPlan(orders=300_000, seed=3))
    return (
        pl.concat([orders, truth.drop("order_id")], how="horizontal")
        .join(restaurants, on="restaurant_id", how="left", maintain_order="left")
        .filter(~pl.col("noisy_label"))
    )


def _count_open_orders_directly(orders: pl.DataFrame) -> list[int]:
    rows = orders.select("restaurant_id", "order_acknowledged_at", "order_ready_at").rows()
    return [
        sum(other[0] == index[0] and other[1] < index[1] < other[2] for other in rows[:position])
        for position, index in enumerate(rows)
    ]


@pytest.mark.parametrize(
    "plan",
    [
        SynthesisPlan(orders=700, restaurants=6, days=2, seed=1),
        SynthesisPlan(orders=400, restaurants=1, days=1, seed=2),
        SynthesisPlan(orders=600, restaurants=40, days=20, seed=3),
    ],
    ids=str,
)
def test_open_orders_match_direct_count(plan: SynthesisPlan) -> None:
    orders, _, truth = synthesize_frames(plan)
    counted = _count_open_orders_directly(orders)
    assert truth["open_orders"].to_list() == counted
    assert max(counted) > 1


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=25),
    st.integers(0, 9),
)
def test_solve_open_orders_equals_order_by_order_simulation(drawn: list[tuple[int, int, int]], slowing: int) -> None:
    drawn.sort(key=lambda order: order[0])
    restaurant = np.array([order[0] for order in drawn])
    acknowledged = np.cumsum([order[1] for order in drawn])
    base = np.array([order[2] for order in drawn])

    def ready_given_load(rows: NDArray[np.intp], open_orders: NDArray[np.int64]) -> NDArray[np.int64]:
        ready: NDArray[np.int64] = acknowledged[rows] + base[rows] + slowing * np.minimum(open_orders, 5)
        return ready

    open_orders, ready = solve_open_orders(restaurant, acknowledged, ready_given_load)
    simulated: list[int] = []
    for index in range(len(drawn)):
        load = sum(
            restaurant[other] == restaurant[index] and simulated[other] > acknowledged[index] for other in range(index)
        )
        assert load == open_orders[index]
        simulated.append(int(acknowledged[index] + base[index] + slowing * min(load, 5)))
    assert simulated == ready.tolist()


def test_count_open_orders_without_orders_is_empty() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert len(count_open_orders(empty, empty, empty)) == 0


def _shares_below(clean_orders: pl.DataFrame, suffix: str, by: pl.Expr) -> pl.DataFrame:
    label = pl.col("prep_time_seconds")
    return clean_orders.group_by(by.alias("group")).agg(
        pl.len().alias("n"), *((label < pl.col(name + suffix)).mean().alias(name) for name in QUANTILES)
    )


@pytest.mark.parametrize("suffix", ["", "_without_load"])
def test_true_quantiles_hold_over_all_orders(clean_orders: pl.DataFrame, suffix: str) -> None:
    everything = _shares_below(clean_orders, suffix, pl.lit(0))
    for name, p in QUANTILES.items():
        assert everything[name].item() == pytest.approx(p, abs=0.01)


LOAD_FREE = {
    "city": pl.col("city"),
    "food": pl.col("type_of_food"),
    "hour": pl.col("order_acknowledged_at").dt.hour(),
    "items": pl.col("number_of_items").clip(upper_bound=9),
    "value": (pl.col("order_value_gbp").log(2) * 2).floor(),
    "restaurant size": pl.len().over("restaurant_id").log(2).floor(),
    "before opening": pl.col("before_opening"),
}


@pytest.mark.parametrize("by", LOAD_FREE)
@pytest.mark.parametrize("suffix", ["", "_without_load"])
def test_true_quantiles_hold_in_groups_independent_of_load(clean_orders: pl.DataFrame, suffix: str, by: str) -> None:
    groups = _shares_below(clean_orders, suffix, LOAD_FREE[by]).filter(pl.col("n") >= 1_000)
    assert groups.height > 1
    for name, p in QUANTILES.items():
        noise = 4 * math.sqrt(p * (1 - p))  # four standard errors of a share, times the root of n
        off = (groups[name] - p).abs() - noise / groups["n"].sqrt()
        assert off.max() is not None
        assert groups.filter(off > 0.01).is_empty()


@pytest.mark.parametrize("load", [0, 1, 2, 3])
def test_true_quantiles_given_load_hold_at_each_load(clean_orders: pl.DataFrame, load: int) -> None:
    loaded = clean_orders.filter(pl.col("open_orders") == load)
    for name, p in QUANTILES.items():
        share = (loaded["prep_time_seconds"] < loaded[name]).mean()
        assert share == pytest.approx(p, abs=0.01 + 4 * math.sqrt(p * (1 - p) / loaded.height))


def test_quantiles_without_load_lose_coverage_at_heavy_load(clean_orders: pl.DataFrame) -> None:
    loaded = clean_orders.filter(pl.col("open_orders") >= 2)
    share = (loaded["prep_time_seconds"] < loaded["p50_without_load"]).mean()
    assert isinstance(share, float)
    assert share < 0.45


def test_true_quantiles_never_cross(clean_orders: pl.DataFrame) -> None:
    for suffix in ("", "_without_load"):
        ordered = [pl.col(name + suffix) for name in QUANTILES]
        assert clean_orders.select(pl.all_horizontal(low < high for low, high in pairwise(ordered))).to_series().all()


def test_drift_scales_cooking_in_its_city_from_its_day() -> None:
    plan = SynthesisPlan(orders=20_000, seed=4)
    orders, restaurants, truth = synthesize_frames(plan)
    drifted, _, drifted_truth = synthesize_frames(replace(plan, drift=Drift("London", 20, 1.5)))
    london = orders.join(restaurants, on="restaurant_id", how="left", maintain_order="left")["city"] == "London"
    british_day = pl.col("order_acknowledged_at").dt.convert_time_zone("Europe/London").dt.day()
    is_drifted = london & orders.select(british_day >= 20).to_series()
    same = [name for name in orders.columns if name not in {"order_ready_at", "prep_time_seconds"}]
    assert orders.select(same).equals(drifted.select(same))

    # Restaurants in other cities have the same load, including forgotten orders that are still open on later days.
    assert orders.filter(~is_drifted).equals(drifted.filter(~is_drifted))
    cooked = is_drifted & ~truth["before_opening"] & (truth["open_orders"] == drifted_truth["open_orders"])
    for name in ("p10", "p50", "p90"):
        ratio = (drifted_truth[name] / truth[name]).filter(cooked)
        assert ratio.to_numpy() == pytest.approx(1.5, rel=1e-5)
    clean = cooked & ~truth["noisy_label"]
    ratio = (drifted["prep_time_seconds"] / orders["prep_time_seconds"]).filter(clean)
    assert ratio.median() == pytest.approx(1.5, abs=0.01)
