"""The flag "acknowledged before opening": when a restaurant usually opens, read off its own orders.

Opening is the low end of the times of day at which its food was ready, less its usual preparation time; an order
acknowledged more than a quarter of an hour before that is flagged. Measured on 24,377 real orders: 839 are flagged
(most between 11 and 13 h); their median preparation is 3,251 s against 801 s for the others, and 41 % of them take over
an hour against 2.2 %. The flag excludes nothing.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.timestamps import MICROSECONDS

DAY_START_SECONDS = 5 * 3600
"""A kitchen's day begins at 05:00, so that food ready after midnight belongs to the evening before."""
MIN_ORDERS = 5
"""With fewer the city's opening stands in, and the whole table's for a small city."""
OPENING_QUANTILE = 0.02
"""Not the minimum: one order with a wrong clock would open a restaurant at dawn for good."""
MARGIN_SECONDS = 900
"""Kitchens start before the doors open."""

_DAY_SECONDS = 86_400


def seconds_since_day_start(local: NDArray[np.int64]) -> NDArray[np.int32]:
    """Seconds since 05:00 on the wall clock, from microseconds since 1970."""
    return ((local // MICROSECONDS - DAY_START_SECONDS) % _DAY_SECONDS).astype(np.int32)


def infer_opening_times(
    restaurant_count: int,
    restaurant_index: NDArray[np.int64],
    city_codes: NDArray[np.int32],
    ready_local: NDArray[np.int64],
    label_seconds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """[R] seconds since 05:00 at which each restaurant of the directory opens; NaN where nothing tells.

    `position` is each order's restaurant in the directory; give only orders whose label can be trusted.
    """
    orders = pl.DataFrame(
        {
            "position": restaurant_index,
            "city": city_codes,
            "ready": seconds_since_day_start(ready_local),
            "label": label_seconds,
        }
    )
    opening_expr = (pl.col("ready").quantile(OPENING_QUANTILE) - pl.col("label").median()).alias("opening")
    by_restaurant = orders.group_by("position").agg(opening_expr, pl.col("city").first(), pl.len().alias("orders"))
    by_city = orders.group_by("city").agg(opening_expr.alias("city_opening"), pl.len().alias("city_orders"))
    overall_opening = orders.select(opening_expr).item()
    joined = by_restaurant.filter(pl.col("position") >= 0).join(by_city, on="city", how="left")
    chosen = joined.select(
        "position",
        pl.when(pl.col("orders") >= MIN_ORDERS)
        .then("opening")
        .when(pl.col("city_orders") >= MIN_ORDERS)
        .then("city_opening")
        .otherwise(pl.lit(overall_opening, pl.Float64))
        .alias("opening"),
    )
    opening_times = np.full(restaurant_count, np.nan)
    opening_times[chosen["position"].to_numpy()] = chosen["opening"].to_numpy()
    return opening_times


def is_before_opening(
    acknowledged_local: NDArray[np.int64], restaurant_index: NDArray[np.int64], opening_times: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """[N] which orders were acknowledged before their restaurant usually opens; never where that is not known."""
    padded_times = np.append(opening_times, np.nan)  # position -1, a restaurant that is not listed, reads the last
    return seconds_since_day_start(acknowledged_local) < padded_times[restaurant_index] - MARGIN_SECONDS
