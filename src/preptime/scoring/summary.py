"""What a scored file looks like as a whole: small tables for pictures, gathered without holding its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from preptime.scoring.columns import BASIS, READY_AT, REASON, SECONDS, model_column, quantile_column

MOST_MINUTES = 120
"""Where the pictures end; what lies beyond is counted in their last bar."""
MOST_RESTAURANTS = 20

_MINUTE = 60
P10, P90 = quantile_column(0.1), quantile_column(0.9)


@dataclass(frozen=True)
class Summary:
    """Small tables over the predicted rows of a scored file. Minutes unless a name says otherwise."""

    predicted: int
    distribution: pl.DataFrame
    """`minutes` (the bar's low end), `width`, `orders`."""
    by_hour: pl.DataFrame
    """`hour` (0 to 23, the restaurant's clock at acknowledgement), `orders`, `median`, `low` and `high`: the median
    p10 and p90."""
    by_restaurant: pl.DataFrame
    """Those with most orders: `restaurant`, `orders`, `median`, `low`, `high`."""
    widths: pl.DataFrame
    """How wide p10 to p90 is: `minutes`, `width`, `orders`."""
    basis: pl.DataFrame
    """`basis`, `orders`."""
    models: pl.DataFrame
    """`model`, `median`, `mean`; the default answer first, as `p50`."""


def summarize(scored: Path, points: Sequence[str]) -> Summary:
    """The summary of a parquet file that scoring wrote with these point models."""
    rows = pl.scan_parquet(scored, glob=False).filter(pl.col(REASON).is_null())
    median = (pl.col(SECONDS).median() / _MINUTE).alias("median")
    low, high = ((pl.col(name).median() / _MINUTE).alias(called) for name, called in ((P10, "low"), (P90, "high")))
    about = (pl.len().alias("orders"), median, low, high)
    ready = pl.col(READY_AT).str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S")
    hour = (ready - pl.duration(seconds=pl.col(SECONDS).round())).dt.hour().alias("hour")
    restaurant = pl.col("restaurant_id").cast(pl.String).str.strip_chars().alias("restaurant")
    models = {"p50": SECONDS} | {name: model_column(name) for name in points}
    of_models = [
        pl.struct(
            pl.lit(name).alias("model"),
            (pl.col(column).median() / _MINUTE).cast(pl.Float64).alias("median"),
            (pl.col(column).mean() / _MINUTE).cast(pl.Float64).alias("mean"),
        ).alias(name)
        for name, column in models.items()
    ]
    plans = [
        rows.select(pl.len().alias("orders")),
        _histogram(rows, pl.col(SECONDS)),
        rows.group_by(hour).agg(*about).sort("hour"),
        rows.group_by(restaurant)
        .agg(*about)
        .sort("orders", "restaurant", descending=[True, False])
        .head(MOST_RESTAURANTS),
        _histogram(rows, pl.col(P90) - pl.col(P10)),
        rows.group_by(pl.col(BASIS).alias("basis")).agg(pl.len().alias("orders")).sort("orders", descending=True),
        rows.select(of_models),
    ]
    count, distribution, by_hour, by_restaurant, widths, basis, by_model = pl.collect_all(plans, engine="streaming")
    return Summary(
        predicted=int(count.item()),
        distribution=distribution,
        by_hour=by_hour,
        by_restaurant=by_restaurant,
        widths=widths,
        basis=basis,
        models=pl.DataFrame([by_model[name][0] for name in models]),
    )


def _histogram(rows: pl.LazyFrame, seconds: pl.Expr) -> pl.LazyFrame:
    """Orders by two minutes, the last bar open."""
    step = 2
    bars = (seconds / _MINUTE // step * step).clip(0, MOST_MINUTES - step).cast(pl.Int64).alias("minutes")
    return rows.group_by(bars).agg(pl.len().alias("orders")).sort("minutes").with_columns(pl.lit(step).alias("width"))
