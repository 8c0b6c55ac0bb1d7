"""The notebook's own looks at the orders: distributions, preparation time by this and that, correlation, restaurants.

Everything is counted here, in Polars, so that what a page draws stays small however many orders there are. Minutes and
pounds; rows are plain dictionaries for charts and tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from preptime.domain.fence import upper_fence
from preptime.tables.looked import Looked

Row: TypeAlias = dict[str, str | int | float | bool]

Measure = Literal["prep_minutes", "order_value_gbp", "number_of_items"]
Cut = Literal["hour", "weekday", "day", "city", "type_of_food"]

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

FEW_ORDERS = 30
"""Under this a group's quartiles are mostly chance; it is drawn paler."""
SHOWN_GROUPS = 20
"""How many cities and types of food are drawn: the largest."""
SHOWN_RESTAURANTS = 5_000
"""How many restaurants the table holds: those with most orders."""
SAMPLED_ORDERS = 2_000
"""How many orders are drawn as dots; more would be a blot."""
CORRELATED_ORDERS = 200_000
"""How many orders correlations are taken of, drawn at random: their second digit no longer moves."""
NOTEBOOK_ENOUGH_ORDERS = 20
"""The notebook kept restaurants with more orders than this."""

PICTURED_FENCES = 1.6
"""How far a distribution is drawn, in outlier fences: the fence is seen, and the bulk still fills the picture."""

_BINS = 64
_NICE = (1, 2, 2.5, 5, 10)
_SEED = 12
"""The notebook's."""

_COUNT_BANDS = ((1, "1"), (2, "2–4"), (5, "5–9"), (10, "10–20"), (21, "21–50"), (51, "51–100"), (101, "over 100"))
"""Restaurants by their number of orders. One ends where the notebook's threshold lies."""

_CORRELATED = {
    "prep_minutes": "preparation time",
    "order_value_gbp": "order value",
    "number_of_items": "items",
    "hour": "hour",
    "weekday": "weekday",
    "day_of_month": "day of month",
    "restaurant_orders": "orders of the restaurant",
}
"""The notebook's numeric columns, by what they are called in the picture."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One measure over N orders, in its own unit."""

    orders: int
    mean: float
    q1: float
    median: float
    q3: float
    largest: float
    fence: float
    """Third quartile + 1.5 times the interquartile range."""
    beyond_fence: int
    limit: float
    """Where the picture ends."""
    beyond_limit: int
    bins: tuple[Row, ...]
    """`low`, `high`, `orders`, and whether it lies `beyond` the fence."""


def distribution(looked: Looked, measure: Measure) -> Distribution | None:
    """How a measure is spread; nothing of no orders."""
    if not len(looked):
        return None
    values = looked.frame[measure].to_numpy().astype(np.float64)
    q1, median, q3 = (float(value) for value in np.percentile(values, [25, 50, 75]))
    fence, largest = upper_fence(values), float(values.max())
    whole = measure == "number_of_items"
    end = min(largest, PICTURED_FENCES * fence)
    step = _step(end, whole=whole)
    # Whole numbers stand in the middle of their bin.
    edges = np.arange(math.floor(end / step) + 2) * step - (0.5 if whole else 0.0)
    counts, _ = np.histogram(values, bins=edges)
    return Distribution(
        orders=len(values),
        mean=float(values.mean()),
        q1=q1,
        median=median,
        q3=q3,
        largest=largest,
        fence=fence,
        beyond_fence=int((values > fence).sum()),
        limit=float(edges[-1]),
        beyond_limit=int((values > edges[-1]).sum()),
        bins=tuple(
            {
                "low": float(low),
                "high": float(low + step),
                "orders": count,
                "beyond": bool(low >= fence),
            }
            for low, count in zip(edges.tolist(), counts.tolist(), strict=False)
        ),
    )


def by(looked: Looked, cut: Cut) -> list[Row]:
    """Orders, quartiles and mean of the preparation time (minutes) for each value of a cut, in the order people expect.

    Of cities and types of food all, the largest first: `[:SHOWN_GROUPS]` are those to draw.
    """
    minutes = pl.col("prep_minutes").cast(pl.Float64)
    groups = looked.frame.group_by(cut).agg(
        pl.len().alias("orders"),
        minutes.quantile(0.25, "linear").alias("q1"),
        minutes.median().alias("median"),
        minutes.quantile(0.75, "linear").alias("q3"),
        minutes.mean().alias("mean"),
    )
    named = cut in ("city", "type_of_food")
    groups = groups.sort(["orders", cut], descending=[True, False]) if named else groups.sort(cut)
    return [
        {"value": _shown(cut, value), "few": row["orders"] < FEW_ORDERS, **row}
        for row in groups.iter_rows(named=True)
        for value in [row.pop(cut)]
    ]


def correlation(looked: Looked, *, ranks: bool) -> list[Row]:
    """Each pair of numeric columns with its correlation: Pearson's as in the notebook, or of `ranks` (Spearman).

    A column whose values are all the same correlates with nothing: its pairs are left out.
    """
    if len(looked) < 2:
        return []
    orders = looked.frame.with_columns(pl.len().over("restaurant_id").alias("restaurant_orders"))
    if len(orders) > CORRELATED_ORDERS:
        orders = orders.sample(CORRELATED_ORDERS, seed=_SEED)
    frame = orders.select(
        *(name for name in _CORRELATED if name in orders.columns),
        pl.col("day").dt.day().alias("day_of_month"),
    ).select(pl.col(name).cast(pl.Float64) for name in _CORRELATED)
    if ranks:
        frame = frame.select(pl.all().rank())
    varied = [name for name in frame.columns if frame[name].n_unique() > 1]
    if not varied:
        return []
    found = np.atleast_2d(np.corrcoef(frame.select(varied).to_numpy(), rowvar=False))
    return [
        {"a": _CORRELATED[a], "b": _CORRELATED[b], "r": round(float(found[i, j]), 4)}
        for i, a in enumerate(varied)
        for j, b in enumerate(varied)
    ]


@dataclass(frozen=True, slots=True)
class Restaurants:
    """How the orders are spread over restaurants."""

    restaurants: int
    kept_by_notebook: int
    """Restaurants with more orders than the notebook asked for."""
    orders_kept: int
    bands: tuple[Row, ...]
    """`band`, `restaurants`, `orders`, and whether the notebook `kept` it."""
    table: tuple[Row, ...]
    """The restaurants with most orders, largest first; at most `SHOWN_RESTAURANTS`."""


def restaurants(looked: Looked) -> Restaurants:
    """Counts per restaurant."""
    minutes = pl.col("prep_minutes").cast(pl.Float64)
    each = (
        looked.frame.group_by("restaurant_id")
        .agg(
            pl.col("city").first().cast(pl.String),
            pl.col("type_of_food").first().cast(pl.String),
            pl.len().alias("orders"),
            minutes.median().alias("median_minutes"),
            minutes.quantile(0.9, "linear").alias("p90_minutes"),
            pl.col("order_value_gbp").cast(pl.Float64).mean().alias("mean_value_gbp"),
        )
        .sort(["orders", "restaurant_id"], descending=[True, False])
    )
    counts = each["orders"].to_numpy()
    starts = np.array([start for start, _ in _COUNT_BANDS])
    band = np.searchsorted(starts, counts, side="right") - 1
    kept = counts > NOTEBOOK_ENOUGH_ORDERS
    return Restaurants(
        restaurants=len(each),
        kept_by_notebook=int(kept.sum()),
        orders_kept=int(counts[kept].sum()),
        bands=tuple(
            {
                "band": label,
                "restaurants": int((band == place).sum()),
                "orders": int(counts[band == place].sum()),
                "kept": start > NOTEBOOK_ENOUGH_ORDERS,
            }
            for place, (start, label) in enumerate(_COUNT_BANDS)
        ),
        table=tuple(each.head(SHOWN_RESTAURANTS).iter_rows(named=True)),
    )


def sample(looked: Looked, measure: Measure) -> list[Row]:
    """Some orders as dots of `measure` against preparation time: always the same ones of the same orders."""
    columns = looked.frame.select(measure, "prep_minutes")
    if len(columns) > SAMPLED_ORDERS:
        columns = columns.sample(SAMPLED_ORDERS, seed=_SEED)
    return [{"x": float(x), "minutes": round(float(minutes), 2)} for x, minutes in columns.iter_rows()]


def _step(limit: float, *, whole: bool) -> float:
    """A round width for about `_BINS` bins up to `limit`."""
    rough = max(limit, 1e-6) / _BINS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in _NICE if power * nice >= rough - 1e-12)
    return max(1.0, float(round(step))) if whole else step


def _shown(cut: Cut, value: object) -> str:
    if cut == "weekday":
        return WEEKDAYS[int(str(value)) - 1]
    return str(value)
