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
ENOUGH_ORDERS = 5
"""With fewer the city's opening stands in, and the whole table's for a small city."""
LOW_QUANTILE = 0.02
"""Not the minimum: one order with a wrong clock would open a restaurant at dawn for good."""
MARGIN_SECONDS = 900
"""Kitchens start before the doors open."""

_DAY = 86_400


def seconds_of_day(local: NDArray[np.int64]) -> NDArray[np.int32]:
    """Seconds since 05:00 on the wall clock, from microseconds since 1970."""
    return ((local // MICROSECONDS - DAY_START_SECONDS) % _DAY).astype(np.int32)


def infer_opening(
    restaurants: int,
    position: NDArray[np.int64],
    city: NDArray[np.int32],
    ready_local: NDArray[np.int64],
    label_seconds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """[R] seconds since 05:00 at which each restaurant of the directory opens; NaN where nothing tells.

    `position` is each order's restaurant in the directory; give only orders whose label can be trusted.
    """
    orders = pl.DataFrame(
        {"position": position, "city": city, "ready": seconds_of_day(ready_local), "label": label_seconds}
    )
    opening = (pl.col("ready").quantile(LOW_QUANTILE) - pl.col("label").median()).alias("opening")
    own = orders.group_by("position").agg(opening, pl.col("city").first(), pl.len().alias("orders"))
    cities = orders.group_by("city").agg(opening.alias("of_city"), pl.len().alias("city_orders"))
    everywhere = orders.select(opening).item()
    joined = own.filter(pl.col("position") >= 0).join(cities, on="city", how="left")
    chosen = joined.select(
        "position",
        pl.when(pl.col("orders") >= ENOUGH_ORDERS)
        .then("opening")
        .when(pl.col("city_orders") >= ENOUGH_ORDERS)
        .then("of_city")
        .otherwise(pl.lit(everywhere, pl.Float64))
        .alias("opening"),
    )
    found = np.full(restaurants, np.nan)
    found[chosen["position"].to_numpy()] = chosen["opening"].to_numpy()
    return found


def is_before_opening(
    acknowledged_local: NDArray[np.int64], position: NDArray[np.int64], opening: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """[N] which orders were acknowledged before their restaurant usually opens; never where that is not known."""
    known = np.append(opening, np.nan)  # position -1, a restaurant that is not listed, reads the last
    return seconds_of_day(acknowledged_local) < known[position] - MARGIN_SECONDS
