"""Exploration of orders for the dashboard: a sample with filters, and the notebook's statistics of it.

Polars computes everything here, so that the data behind a chart stays small for any number of orders. Times are minutes
and values are pounds. Rows are plain dictionaries for charts and tables.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from preptime.domain.data_dictionary import TARGET
from preptime.domain.orders import upper_outlier_limit
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask
from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS, ChartRow
from preptime.evaluation.segments import UNKNOWN_VALUE
from preptime.features.restaurant_index import RestaurantIndex
from preptime.sources.source import DataSource
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import CheckReport, summarize_audit

MAX_ROWS = 1_000_000
"""Maximum number of orders: a month of a large city. Reading them from Parquet takes 5 s and 400 MB (measured)."""

Measure = Literal["prep_minutes", "order_value_gbp", "number_of_items"]
GroupColumn = Literal["hour", "weekday", "day", "city", "type_of_food"]

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

MAX_GROUPS = 20
"""Number of cities and types of food in a chart: the largest."""
MAX_RESTAURANTS = 5_000
"""Number of restaurants in the table: those with most orders."""
SCATTER_SAMPLE_SIZE = 2_000
"""Number of orders in a scatter chart. More points would overlap."""
CORRELATION_SAMPLE_SIZE = 200_000
"""Number of sampled orders for correlations. With more, the second digit doesn't change."""
NOTEBOOK_MIN_ORDERS = 20
"""The notebook kept restaurants with more orders than this."""

DISPLAY_LIMIT_FACTOR = 1.6
"""End of a distribution chart, relative to the outlier limit: the limit is visible, and the bulk fills the chart."""

_BATCH_ROWS = 100_000
_CATEGORIES = ("country", "city", "type_of_food")

_BIN_COUNT = 64
_ROUND_STEPS = (1, 2, 2.5, 5, 10)
_SEED = 12
"""The notebook's random seed."""

_COUNT_BANDS = ((1, "1"), (2, "2–4"), (5, "5–9"), (10, "10–20"), (21, "21–50"), (51, "51–100"), (101, "over 100"))
"""Bands of restaurants by number of orders: first number and label. One band ends at the notebook's threshold."""

_CORRELATION_LABELS = {
    "prep_minutes": "preparation time",
    "order_value_gbp": "order value",
    "number_of_items": "items",
    "hour": "hour",
    "weekday": "weekday",
    "day_of_month": "day of month",
    "restaurant_orders": "orders of the restaurant",
}
"""The notebook's numeric columns, and their labels in the chart."""


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """A filter on orders. The default selects all."""

    cities: tuple[str, ...] = ()
    """Empty: all."""
    foods: tuple[str, ...] = ()
    """Empty: all."""
    date_range: tuple[dt.date, dt.date] | None = None
    """First and last local day, both included."""
    exclude_outliers: bool = False
    """Whether to exclude preparation times over the outlier limit."""


@dataclass(frozen=True)
class OrderSample:
    """N orders with a plausible preparation time, or one that is too long.

    Preparation times over three hours are included, as the notebook shows its outliers. Contradictory, unparsable, and
    duplicate orders are excluded.
    """

    frame: pl.DataFrame
    """`restaurant_id`, `country`, `city`, `type_of_food` (text), local `day` (date), `weekday` (1 is Monday), `hour`,
    `order_value_gbp`, `number_of_items`, `prep_minutes`. About 40 bytes per order."""
    excluded: int
    """Number of orders that were read and excluded."""

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def from_audited(cls, audited: AuditedOrders, restaurants: RestaurantIndex) -> OrderSample:
        """Return the sample of audited orders with labels."""
        excluding_mask = exclusion_mask(Purpose.EVALUATION) & ~ValidationReason.LABEL_OVER_CAP.bit
        orders = audited.frame.filter(pl.Series((audited.reasons & np.uint32(excluding_mask)) == 0))
        acknowledged_local = pl.col("acknowledged_local")
        frame = orders.select(
            pl.col("restaurant_id").cast(pl.Int64),
            *(_decode_category(name, getattr(restaurants.vocabularies, name)) for name in _CATEGORIES),
            acknowledged_local.dt.date().alias("day"),
            acknowledged_local.dt.weekday().alias("weekday"),
            acknowledged_local.dt.hour().alias("hour"),
            pl.col("order_value_gbp").cast(pl.Float32),
            pl.col("number_of_items").cast(pl.Int32),
            (pl.col(TARGET) / 60).cast(pl.Float32).alias("prep_minutes"),
        )
        return cls(frame, len(audited) - len(frame))

    @property
    def date_range(self) -> tuple[dt.date, dt.date]:
        """The first and the last local day. The sample must have at least one order."""
        date_range: tuple[dt.date, dt.date] = self.frame.select(
            pl.col("day").min().alias("first"), pl.col("day").max().alias("last")
        ).row(0)
        return date_range

    def category_values(self, column: str) -> list[str]:
        """Return the values of a category, sorted by number of orders, most first."""
        counts = self.frame.group_by(column).len().sort(["len", column], descending=[True, False])
        return [str(name) for name in counts[column]]

    def outlier_limit_minutes(self) -> float:
        """Return the outlier limit of the preparation times, minutes. The sample must have at least one order."""
        return upper_outlier_limit(self.frame["prep_minutes"].to_numpy().astype(np.float64))

    def filtered(self, order_filter: OrderFilter) -> OrderSample:
        """Return the orders that match a filter. Outliers are those of this sample, before filtering."""
        is_selected = pl.lit(value=True)
        for column, names in (("city", order_filter.cities), ("type_of_food", order_filter.foods)):
            if names:
                is_selected &= pl.col(column).is_in(list(names))
        if order_filter.date_range:
            is_selected &= pl.col("day").is_between(*order_filter.date_range)
        if order_filter.exclude_outliers and len(self):
            is_selected &= pl.col("prep_minutes") <= self.outlier_limit_minutes()
        return OrderSample(self.frame.filter(is_selected), self.excluded)


@dataclass(frozen=True)
class ExplorationData:
    """The orders of a data source for the dashboard, and the audit of their rows."""

    sample: OrderSample
    report: CheckReport
    """The audit of every row that was read."""
    is_truncated: bool
    """Whether the data source has more rows than were read."""


def load_exploration(orders: DataSource, restaurants: RestaurantIndex, max_rows: int = MAX_ROWS) -> ExplorationData:
    """Read and audit the first `max_rows` orders of a data source. Raises `DataError` if they can't be read."""
    batches, row_count = list[pl.DataFrame](), 0
    for batch in orders.batches(_BATCH_ROWS):
        batches.append(batch.head(max_rows - row_count))
        row_count += len(batch)
        if row_count > max_rows:
            break
    audited = audit_orders(pl.concat(batches, how="diagonal_relaxed"), restaurants, need_label=True)
    return ExplorationData(
        OrderSample.from_audited(audited, restaurants), summarize_audit(audited, len(restaurants)), row_count > max_rows
    )


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of a measure over N orders, in the unit of the measure."""

    orders: int
    mean: float
    q1: float
    median: float
    q3: float
    maximum: float
    outlier_limit: float
    """Third quartile + 1.5 times the interquartile range."""
    outliers: int
    display_limit: float
    """End of the chart."""
    beyond_display_limit: int
    """Number of orders beyond the end of the chart."""
    bins: tuple[ChartRow, ...]
    """`low`, `high`, `orders`, and `is_outlier`: whether the bin is above the outlier limit."""


def distribution(orders: OrderSample, measure: Measure) -> Distribution | None:
    """Return the distribution of a measure, or None without orders."""
    if not len(orders):
        return None
    values = orders.frame[measure].to_numpy().astype(np.float64)
    q1, median, q3 = (float(value) for value in np.percentile(values, [25, 50, 75]))
    outlier_limit, maximum = upper_outlier_limit(values), float(values.max())
    whole_numbers = measure == "number_of_items"
    display_end = min(maximum, DISPLAY_LIMIT_FACTOR * outlier_limit)
    bin_width = _bin_width(display_end, whole_numbers=whole_numbers)
    # A whole number is the middle of its bin.
    edges = np.arange(math.floor(display_end / bin_width) + 2) * bin_width - (0.5 if whole_numbers else 0.0)
    counts, _ = np.histogram(values, bins=edges)
    return Distribution(
        orders=len(values),
        mean=float(values.mean()),
        q1=q1,
        median=median,
        q3=q3,
        maximum=maximum,
        outlier_limit=outlier_limit,
        outliers=int((values > outlier_limit).sum()),
        display_limit=float(edges[-1]),
        beyond_display_limit=int((values > edges[-1]).sum()),
        bins=tuple(
            {
                "low": float(low),
                "high": float(low + bin_width),
                "orders": count,
                "is_outlier": bool(low >= outlier_limit),
            }
            for low, count in zip(edges.tolist(), counts.tolist(), strict=False)
        ),
    )


def summarize_groups(orders: OrderSample, column: GroupColumn) -> list[ChartRow]:
    """Return the orders, quartiles, and mean preparation time (minutes) for each value of a column.

    Times are in ascending order. Cities and types of food are sorted by orders, largest first; the first `MAX_GROUPS`
    are those to draw.
    """
    minutes = pl.col("prep_minutes").cast(pl.Float64)
    groups = orders.frame.group_by(column).agg(
        pl.len().alias("orders"),
        minutes.quantile(0.25, "linear").alias("q1"),
        minutes.median().alias("median"),
        minutes.quantile(0.75, "linear").alias("q3"),
        minutes.mean().alias("mean"),
    )
    is_category = column in ("city", "type_of_food")
    groups = groups.sort(["orders", column], descending=[True, False]) if is_category else groups.sort(column)
    return [
        {"value": _display_value(column, value), "few": row["orders"] < MIN_RELIABLE_ORDERS, **row}
        for row in groups.iter_rows(named=True)
        for value in [row.pop(column)]
    ]


def correlation(sample: OrderSample, *, ranks: bool) -> list[ChartRow]:
    """Return the correlation of each pair of numeric columns: Spearman's if `ranks`, else Pearson's as in the notebook.

    A constant column has no correlation, so its pairs are omitted.
    """
    if len(sample) < 2:
        return []
    orders = sample.frame.with_columns(pl.len().over("restaurant_id").alias("restaurant_orders"))
    if len(orders) > CORRELATION_SAMPLE_SIZE:
        orders = orders.sample(CORRELATION_SAMPLE_SIZE, seed=_SEED)
    frame = orders.select(
        *(name for name in _CORRELATION_LABELS if name in orders.columns),
        pl.col("day").dt.day().alias("day_of_month"),
    ).select(pl.col(name).cast(pl.Float64) for name in _CORRELATION_LABELS)
    if ranks:
        frame = frame.select(pl.all().rank())
    varying_columns = [name for name in frame.columns if frame[name].n_unique() > 1]
    if not varying_columns:
        return []
    matrix = np.atleast_2d(np.corrcoef(frame.select(varying_columns).to_numpy(), rowvar=False))
    return [
        {"a": _CORRELATION_LABELS[a], "b": _CORRELATION_LABELS[b], "r": round(float(matrix[i, j]), 4)}
        for i, a in enumerate(varying_columns)
        for j, b in enumerate(varying_columns)
    ]


@dataclass(frozen=True, slots=True)
class RestaurantSummary:
    """The numbers of orders per restaurant."""

    restaurants: int
    kept_by_notebook: int
    """Number of restaurants with more orders than `NOTEBOOK_MIN_ORDERS`."""
    orders_kept_by_notebook: int
    """Number of orders of those restaurants."""
    bands: tuple[ChartRow, ...]
    """`band`, `restaurants`, `orders`, and whether the notebook `kept` the band."""
    table: tuple[ChartRow, ...]
    """The restaurants with most orders, largest first; at most `MAX_RESTAURANTS`."""


def summarize_restaurants(orders: OrderSample) -> RestaurantSummary:
    """Return the numbers of orders per restaurant."""
    minutes = pl.col("prep_minutes").cast(pl.Float64)
    by_restaurant = (
        orders.frame.group_by("restaurant_id")
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
    counts = by_restaurant["orders"].to_numpy()
    band_starts = np.array([start for start, _ in _COUNT_BANDS])
    band_index = np.searchsorted(band_starts, counts, side="right") - 1
    is_kept = counts > NOTEBOOK_MIN_ORDERS
    return RestaurantSummary(
        restaurants=len(by_restaurant),
        kept_by_notebook=int(is_kept.sum()),
        orders_kept_by_notebook=int(counts[is_kept].sum()),
        bands=tuple(
            {
                "band": label,
                "restaurants": int((band_index == index).sum()),
                "orders": int(counts[band_index == index].sum()),
                "kept": start > NOTEBOOK_MIN_ORDERS,
            }
            for index, (start, label) in enumerate(_COUNT_BANDS)
        ),
        table=tuple(by_restaurant.head(MAX_RESTAURANTS).iter_rows(named=True)),
    )


def scatter_points(orders: OrderSample, measure: Measure) -> list[ChartRow]:
    """Return a sample of orders as points of a measure and the preparation time. The sample is reproducible."""
    columns = orders.frame.select(measure, "prep_minutes")
    if len(columns) > SCATTER_SAMPLE_SIZE:
        columns = columns.sample(SCATTER_SAMPLE_SIZE, seed=_SEED)
    return [{"x": float(x), "minutes": round(float(minutes), 2)} for x, minutes in columns.iter_rows()]


def _decode_category(column: str, vocabulary: tuple[str, ...]) -> pl.Expr:
    """Return an expression that decodes a category to an Enum, which stores each value only once."""
    names = [*vocabulary, UNKNOWN_VALUE]
    codes = [*range(len(vocabulary)), -1]
    dtype = pl.Enum(list(dict.fromkeys(names)))
    return pl.col(column).cast(pl.Int64).replace_strict(codes, names, return_dtype=dtype).alias(column)


def _bin_width(limit: float, *, whole_numbers: bool) -> float:
    """Return a round width for about `_BIN_COUNT` bins up to `limit`."""
    exact_width = max(limit, 1e-6) / _BIN_COUNT
    power = 10.0 ** math.floor(math.log10(exact_width))
    width = next(power * round_step for round_step in _ROUND_STEPS if power * round_step >= exact_width - 1e-12)
    return max(1.0, float(round(width))) if whole_numbers else width


def _display_value(column: GroupColumn, value: object) -> str:
    if column == "weekday":
        return WEEKDAYS[int(str(value)) - 1]
    return str(value)
