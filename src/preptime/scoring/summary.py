"""Summary of a scored file: small tables for the dashboard's charts, computed in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.scoring.scorer import (
    FALLBACK_LEVEL,
    PREDICTED_READY_AT,
    PREDICTED_SECONDS,
    PREDICTION_REASON,
    model_column,
    quantile_column,
)
from preptime.sources.writer import ROW_GROUP_ROWS
from preptime.validation.cell_text import cells_as_text

MAX_SECONDS = 6 * 3600
"""Longer durations are counted as this. No median of predictions is that long."""
MAX_MINUTES = 120
"""End of the charts. The last bar includes longer durations."""
BAR_MINUTES = 2
MAX_RESTAURANTS = 20

_MINUTE_SECONDS = 60
_HOURS = 24
P10_COLUMN, P90_COLUMN = quantile_column(0.1), quantile_column(0.9)


class DurationHistogram:
    """Histograms of durations by the second, one for each group, in constant memory."""

    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._counts = np.zeros((groups, MAX_SECONDS + 1), np.int64)
        self._sums = np.zeros(groups)

    def add(self, group: NDArray[np.int64], seconds: NDArray[np.float32]) -> None:
        """Count `seconds` [N], each in its `group` [N]."""
        whole_seconds = np.clip(np.rint(seconds), 0, MAX_SECONDS).astype(np.int64)
        cells = group * (MAX_SECONDS + 1) + whole_seconds
        self._counts += np.bincount(cells, minlength=self._counts.size).reshape(self._counts.shape)
        self._sums += np.bincount(group, weights=seconds.astype(np.float64), minlength=self._groups)

    def counts(self) -> NDArray[np.int64]:
        """Return the number of durations in each group, [groups]."""
        total: NDArray[np.int64] = self._counts.sum(axis=1)
        return total

    def medians(self) -> NDArray[np.float64]:
        """Return the lower median of each group in whole seconds, [groups]. NaN for an empty group."""
        cumulative = np.cumsum(self._counts, axis=1)
        middle = (cumulative[:, -1:] + 1) // 2
        return np.where(cumulative[:, -1] == 0, np.nan, np.argmax(cumulative >= middle, axis=1))

    def means(self) -> NDArray[np.float64]:
        """Return the mean of each group in seconds, [groups]. NaN for an empty group."""
        counts = self.counts()
        means = np.full(self._groups, np.nan)
        np.divide(self._sums, counts, out=means, where=counts > 0)
        return means

    def bars(self, group: int, width_seconds: int, bar_count: int) -> NDArray[np.int64]:
        """Return the number of durations of a group in each bar of `width_seconds`, [bars]. The last bar is open."""
        starts = np.arange(bar_count) * width_seconds
        bar_counts: NDArray[np.int64] = np.add.reduceat(self._counts[group], starts)
        return bar_counts


@dataclass(frozen=True)
class ScoreSummary:
    """Tables over the predicted rows of a scored file. Durations are in minutes. Medians are exact to the second."""

    predicted: int
    distribution: pl.DataFrame
    """Histogram of predictions: `minutes` (start of the bar), `width`, `orders`."""
    by_hour: pl.DataFrame
    """By local hour of acknowledgement: `hour` (0 to 23), `orders`, `median`, and the median p10 and p90 as `low` and
    `high`."""
    by_restaurant: pl.DataFrame
    """The restaurants with the most orders: `restaurant`, `orders`, `median`, `low`, `high`."""
    widths: pl.DataFrame
    """Histogram of the width from p10 to p90: `minutes`, `width`, `orders`."""
    fallback_level: pl.DataFrame
    """`fallback_level`, `orders`."""
    models: pl.DataFrame
    """`model`, `median`, `mean`. The default prediction comes first, as `p50`."""
    ready_days: tuple[str, str] | None
    """First and last local date of the predicted ready times. None without predictions."""


def summarize(scored: Path, point_models: Sequence[str], *, restaurant_column: str = "restaurant_id") -> ScoreSummary:
    """Return the summary of a scored Parquet file with predictions of `point_models`."""
    models = {"p50": PREDICTED_SECONDS} | {name: model_column(name) for name in point_models}
    model_histogram, width_histogram = DurationHistogram(len(models)), DurationHistogram(1)
    hours = _QuantileHistograms(_HOURS)
    restaurants, fallback_levels, ready_days = Counter[str](), Counter[str](), set[str]()
    for rows in _read_predicted_rows(
        scored, restaurant_column, [*models.values(), P10_COLUMN, P90_COLUMN, PREDICTED_READY_AT, FALLBACK_LEVEL]
    ):
        for index, column in enumerate(models.values()):
            model_histogram.add(np.full(len(rows), index), rows[column].to_numpy())
        width_histogram.add(np.zeros(len(rows), np.int64), (rows[P90_COLUMN] - rows[P10_COLUMN]).to_numpy())
        hours.add(_local_hours(rows), rows)
        restaurants.update(dict(rows[restaurant_column].value_counts().iter_rows()))
        fallback_levels.update(dict(rows[FALLBACK_LEVEL].value_counts().iter_rows()))
        ready_days.update(rows[PREDICTED_READY_AT].str.head(10).unique())
    # Ties are sorted by name, so that the same file gives the same chart.
    busiest = [name for name, _ in sorted(restaurants.items(), key=lambda item: (-item[1], item[0]))[:MAX_RESTAURANTS]]
    medians, means = model_histogram.medians() / _MINUTE_SECONDS, model_histogram.means() / _MINUTE_SECONDS
    return ScoreSummary(
        predicted=int(width_histogram.counts()[0]),
        distribution=_bar_table(model_histogram),
        by_hour=hours.table(pl.Series("hour", range(_HOURS))),
        by_restaurant=_restaurant_histograms(scored, restaurant_column, busiest).table(
            pl.Series("restaurant", busiest, pl.String)
        ),
        widths=_bar_table(width_histogram),
        fallback_level=pl.DataFrame(
            {"fallback_level": list(fallback_levels), "orders": list(fallback_levels.values())},
            {"fallback_level": pl.String, "orders": int},
        ),
        models=pl.DataFrame({"model": list(models), "median": medians, "mean": means}),
        ready_days=(min(ready_days), max(ready_days)) if ready_days else None,
    )


class _QuantileHistograms:
    """Histograms of p50, p10, and p90 for each group."""

    def __init__(self, groups: int) -> None:
        self._histograms = {name: DurationHistogram(groups) for name in (PREDICTED_SECONDS, P10_COLUMN, P90_COLUMN)}

    def add(self, group: NDArray[np.int64], rows: pl.DataFrame) -> None:
        for name, histogram in self._histograms.items():
            histogram.add(group, rows[name].to_numpy())

    def table(self, names: pl.Series) -> pl.DataFrame:
        median, low, high = (
            pl.Series(histogram.medians() / _MINUTE_SECONDS) for histogram in self._histograms.values()
        )
        orders = pl.Series(self._histograms[PREDICTED_SECONDS].counts())
        table = pl.DataFrame(
            [names, orders.alias("orders"), median.alias("median"), low.alias("low"), high.alias("high")]
        )
        return table.filter(pl.col("orders") > 0)


def _restaurant_histograms(scored: Path, restaurant_column: str, names: list[str]) -> _QuantileHistograms:
    """Read the file a second time for the few restaurants that are shown."""
    histograms = _QuantileHistograms(len(names))
    if names:
        group_by_name = dict(zip(names, range(len(names)), strict=True))
        for rows in _read_predicted_rows(scored, restaurant_column, [PREDICTED_SECONDS, P10_COLUMN, P90_COLUMN]):
            group = rows[restaurant_column].replace_strict(group_by_name, default=None, return_dtype=pl.Int64)
            shown = rows.filter(group.is_not_null())
            histograms.add(group.drop_nulls().to_numpy(), shown)
    return histograms


def _read_predicted_rows(scored: Path, restaurant_column: str, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Yield columns of the predicted rows, and the restaurants as text without surrounding spaces."""
    table = pl.scan_parquet(scored, glob=False)
    # Reading by row group limits memory. A streaming reader prefetches several hundred MB.
    for start in range(0, int(table.select(pl.len()).collect().item()), ROW_GROUP_ROWS):
        predicted = table.slice(start, ROW_GROUP_ROWS).filter(pl.col(PREDICTION_REASON).is_null())
        rows = predicted.select(*columns, restaurant_column).collect()
        yield rows.with_columns(cells_as_text(rows[restaurant_column]).str.strip_chars())


def _local_hours(rows: pl.DataFrame) -> NDArray[np.int64]:
    """Return the local hour of acknowledgement [N]: the ready time minus the prediction."""
    ready_at = rows[PREDICTED_READY_AT].str.head(19).str.to_datetime("%Y-%m-%d %H:%M:%S")
    predicted_seconds = np.rint(rows[PREDICTED_SECONDS].to_numpy()).astype(np.int64)
    hours: NDArray[np.int64] = (ready_at.to_physical().to_numpy() // 1_000_000 - predicted_seconds) // 3600 % _HOURS
    return hours


def _bar_table(histogram: DurationHistogram) -> pl.DataFrame:
    """Return the bars of the only group that have orders. The last bar is open."""
    orders = histogram.bars(0, BAR_MINUTES * _MINUTE_SECONDS, MAX_MINUTES // BAR_MINUTES)
    minutes = pl.int_range(0, MAX_MINUTES, BAR_MINUTES, eager=True)
    table = pl.DataFrame([minutes.alias("minutes"), pl.Series("orders", orders)])
    return table.with_columns(width=BAR_MINUTES).filter(pl.col("orders") > 0)
