"""What a scored file looks like as a whole: small tables for pictures, gathered in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.scoring.columns import BASIS, READY_AT, REASON, SECONDS, model_column, quantile_column
from preptime.scoring.histogram import Histogram
from preptime.tables.write import ROW_GROUP_ROWS

MOST_MINUTES = 120
"""Where the pictures end; what lies beyond is counted in their last bar."""
BAR_MINUTES = 2
MOST_RESTAURANTS = 20

_MINUTE = 60
_HOURS = 24
P10, P90 = quantile_column(0.1), quantile_column(0.9)
RESTAURANT = "restaurant_id"


@dataclass(frozen=True)
class Summary:
    """Small tables over the predicted rows of a scored file. Minutes; medians to the second."""

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
    ready_days: tuple[str, str] | None
    """First and last local day on which an order is ready; None where no row is predicted."""


def summarize(scored: Path, points: Sequence[str]) -> Summary:
    """The summary of a parquet file that scoring wrote with these point models."""
    models = {"p50": SECONDS} | {name: model_column(name) for name in points}
    of_models, of_widths = Histogram(len(models)), Histogram(1)
    hours = _Spread(_HOURS)
    restaurants, basis, days = Counter[str](), Counter[str](), set[str]()
    for rows in _batches(scored, [*models.values(), P10, P90, READY_AT, BASIS, RESTAURANT]):
        for place, column in enumerate(models.values()):
            of_models.add(np.full(len(rows), place), rows[column].to_numpy())
        of_widths.add(np.zeros(len(rows), np.int64), (rows[P90] - rows[P10]).to_numpy())
        hours.add(_hours(rows), rows)
        restaurants.update(dict(rows[RESTAURANT].value_counts().iter_rows()))
        basis.update(dict(rows[BASIS].value_counts().iter_rows()))
        days.update(rows[READY_AT].str.head(10).unique())
    # Ties by name, so that the same file has the same picture.
    most = [name for name, _ in sorted(restaurants.items(), key=lambda one: (-one[1], one[0]))[:MOST_RESTAURANTS]]
    medians, means = of_models.medians() / _MINUTE, of_models.means() / _MINUTE
    return Summary(
        predicted=int(of_widths.counts()[0]),
        distribution=_bars(of_models, 0),
        by_hour=hours.table(pl.Series("hour", range(_HOURS))),
        by_restaurant=_of_restaurants(scored, most).table(pl.Series("restaurant", most, pl.String)),
        widths=_bars(of_widths, 0),
        basis=pl.DataFrame({"basis": list(basis), "orders": list(basis.values())}, {"basis": pl.String, "orders": int}),
        models=pl.DataFrame({"model": list(models), "median": medians, "mean": means}),
        ready_days=(min(days), max(days)) if days else None,
    )


class _Spread:
    """Histograms of p50, p10 and p90 for each of some groups."""

    def __init__(self, groups: int) -> None:
        self._of = {name: Histogram(groups) for name in (SECONDS, P10, P90)}

    def add(self, group: NDArray[np.int64], rows: pl.DataFrame) -> None:
        for name, histogram in self._of.items():
            histogram.add(group, rows[name].to_numpy())

    def table(self, names: pl.Series) -> pl.DataFrame:
        median, low, high = (pl.Series(histogram.medians() / _MINUTE) for histogram in self._of.values())
        orders = pl.Series(self._of[SECONDS].counts())
        table = pl.DataFrame(
            [names, orders.alias("orders"), median.alias("median"), low.alias("low"), high.alias("high")]
        )
        return table.filter(pl.col("orders") > 0)


def _of_restaurants(scored: Path, names: list[str]) -> _Spread:
    """A second look at the file, for the few restaurants that are shown."""
    spread = _Spread(len(names))
    if names:
        places = dict(zip(names, range(len(names)), strict=True))
        for rows in _batches(scored, [SECONDS, P10, P90, RESTAURANT]):
            place = rows[RESTAURANT].replace_strict(places, default=None, return_dtype=pl.Int64)
            shown = rows.filter(place.is_not_null())
            spread.add(place.drop_nulls().to_numpy(), shown)
    return spread


def _batches(scored: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """The predicted rows; restaurants as text without blanks around it."""
    table = pl.scan_parquet(scored, glob=False)
    wanted = [pl.col(name) for name in columns if name != RESTAURANT]
    restaurant = [pl.col(RESTAURANT).cast(pl.String).str.strip_chars()] if RESTAURANT in columns else []
    # Row group by row group: left to itself, the reader runs ahead and holds several hundred MB.
    for start in range(0, int(table.select(pl.len()).collect().item()), ROW_GROUP_ROWS):
        rows = table.slice(start, ROW_GROUP_ROWS).filter(pl.col(REASON).is_null())
        yield rows.select(*wanted, *restaurant).collect()


def _hours(rows: pl.DataFrame) -> NDArray[np.int64]:
    """[N] local hour of the acknowledgement: when it is ready, less how long that takes."""
    ready = rows[READY_AT].str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S").to_physical().to_numpy() // 1_000_000
    acknowledged = ready - np.rint(rows[SECONDS].to_numpy()).astype(np.int64)
    hours: NDArray[np.int64] = acknowledged // 3600 % _HOURS
    return hours


def _bars(histogram: Histogram, group: int) -> pl.DataFrame:
    """Orders by two minutes, the last bar open, bars without orders left out."""
    orders = histogram.bars(group, BAR_MINUTES * _MINUTE, MOST_MINUTES // BAR_MINUTES)
    minutes = pl.int_range(0, MOST_MINUTES, BAR_MINUTES, eager=True)
    table = pl.DataFrame([minutes.alias("minutes"), pl.Series("orders", orders)])
    return table.with_columns(width=BAR_MINUTES).filter(pl.col("orders") > 0)
