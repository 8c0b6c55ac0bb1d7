"""Exploration of orders for the dashboard: a sample with filters, and the notebook's statistics of it.

Polars computes everything here, so that the data behind a chart stays small for any number of orders. Times are in
the unit of the target, and values in the currency of the schema. Rows are plain dictionaries for charts and tables.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import TARGET
from preptime.domain.orders import UNKNOWN_CODE, upper_outlier_limit
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask
from preptime.evaluation.aggregates import MIN_RELIABLE_ORDERS, ChartRow
from preptime.evaluation.distribution import Distribution, summarize_values
from preptime.evaluation.segments import UNKNOWN_VALUE
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, Schema
from preptime.sources.source import DataSource, concat_files, file_of
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.audit_report import CheckReport, summarize_audit
from preptime.validation.custom_features import feature_column
from preptime.validation.derived_restaurants import derive_restaurants

MAX_ROWS = 1_000_000
"""Maximum number of orders: a month of a large city. Reading them from Parquet takes 5 s and 400 MB (measured)."""

LABEL_MEASURE = "label_time"
"""The column with the label, in the unit of the target."""
TIME_COLUMNS = ("hour", "weekday", "day")
"""The columns of times that orders are grouped by. All other groups are categories."""

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

_BATCH_ROWS = 100_000
_CATEGORIES = ("country", "city", "type_of_food")
_OPTIONAL_COLUMNS: dict[str, type[pl.DataType]] = {"order_value": pl.Float32, "number_of_items": pl.Int32}

_SEED = 12
"""The notebook's random seed."""

_COUNT_BANDS = ((1, "1"), (2, "2–4"), (5, "5–9"), (10, "10–20"), (21, "21–50"), (51, "51–100"), (101, "over 100"))
"""Bands of restaurants by number of orders: first number and label. One band ends at the notebook's threshold."""

_OTHER_CORRELATIONS = {
    "hour": "hour",
    "weekday": "weekday",
    "day_of_month": "day of month",
    "restaurant_orders": "orders of the restaurant",
}
"""The notebook's numeric columns that aren't measures, and their labels in the chart."""
_OWN_TITLES = frozenset(
    {"order value", "number of items", "local hour", "local day", "city", "type of food", *_OTHER_CORRELATIONS.values()}
)
"""The names of the columns without custom features, for people."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of each order: its column, and its name, its unit, and its decimals for people."""

    column: str
    title: str
    unit: str
    is_whole: bool = False
    digits: int | None = 1
    """None: they depend on the distribution (`Distribution.digits`)."""


def list_measures(schema: Schema) -> tuple[Measure, ...]:
    """Return the numbers of orders with a schema: the label, the value, the items, and custom numbers of orders."""
    unit = schema.target.time_unit
    measures = [Measure(LABEL_MEASURE, schema.target.title, unit.name, digits=unit.digits())]
    if schema.has("order_value"):
        measures.append(Measure("order_value", "order value", schema.currency))
    if schema.has("number_of_items"):
        measures.append(Measure("number_of_items", "number of items", "items", is_whole=True))
    numbers = (feature for feature in schema.order_features if feature.type == "number")
    custom = (Measure(feature_column(item), _title(item, schema), item.unit, digits=None) for item in numbers)
    return (*measures, *custom)


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
    """`restaurant_id` (the key), `country`, `city`, `type_of_food` (text), local `day` (date), `weekday` (1 is Monday),
    `hour`, `label_time`, and, if the schema has them, `order_value`, `number_of_items`, and the custom features
    (`feature_column`). About 40 bytes per order."""
    excluded: int
    """Number of orders that were read and excluded."""
    schema: Schema = TAKE_HOME_SCHEMA
    restaurants: RestaurantIndex | None = None
    """The restaurants, for the identifiers that are text."""

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
            (pl.col(TARGET) / audited.schema.target.time_unit.seconds).cast(pl.Float32).alias(LABEL_MEASURE),
            *(pl.col(name).cast(dtype) for name, dtype in _OPTIONAL_COLUMNS.items() if audited.schema.has(name)),
            *(
                _feature_expression(feature)
                for feature in audited.schema.features
                if feature_column(feature) in orders.columns
            ),
        )
        return cls(frame, len(audited) - len(frame), audited.schema, restaurants)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The numbers of each order, the label first."""
        return list_measures(self.schema)

    @property
    def categories(self) -> dict[str, str]:
        """The names for people of the custom categories, by column."""
        custom = (feature for feature in self.schema.features if feature.type == "category")
        titles = {feature_column(feature): _title(feature, self.schema) for feature in custom}
        return {column: title for column, title in titles.items() if column in self.frame.columns}

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

    def label_limit(self) -> float:
        """Return the outlier limit of the labels, in the unit of the target. There must be at least one order."""
        return upper_outlier_limit(self.frame[LABEL_MEASURE].to_numpy().astype(np.float64))

    def filtered(self, order_filter: OrderFilter) -> OrderSample:
        """Return the orders that match a filter. Outliers are those of this sample, before filtering."""
        is_selected = pl.lit(value=True)
        for column, names in (("city", order_filter.cities), ("type_of_food", order_filter.foods)):
            if names:
                is_selected &= pl.col(column).is_in(list(names))
        if order_filter.date_range:
            is_selected &= pl.col("day").is_between(*order_filter.date_range)
        if order_filter.exclude_outliers and len(self):
            is_selected &= pl.col(LABEL_MEASURE) <= self.label_limit()
        return replace(self, frame=self.frame.filter(is_selected))


@dataclass(frozen=True)
class ExplorationData:
    """The orders of a data source for the dashboard, and the audit of their rows."""

    sample: OrderSample
    report: CheckReport
    """The audit of every row that was read."""
    is_truncated: bool
    """Whether the data source has more rows than were read."""


def load_exploration(
    orders: DataSource, restaurants: RestaurantIndex | None, max_rows: int = MAX_ROWS
) -> ExplorationData:
    """Read and audit the first `max_rows` orders of a data source. Raises `DataError` if they can't be read.

    Without restaurants, they are derived from the orders.
    """
    batches, row_count = list[pl.DataFrame](), 0
    for batch in orders.batches(_BATCH_ROWS):
        batches.append(batch.head(max_rows - row_count))
        row_count += len(batch)
        if row_count > max_rows:
            break
    rows = concat_files(orders, ((file_of(batch), batch) for batch in batches))
    if restaurants is None:
        restaurants = derive_restaurants(rows, orders.schema).index
    audited = audit_orders(rows, restaurants, need_label=True, schema=orders.schema)
    return ExplorationData(
        OrderSample.from_audited(audited, restaurants), summarize_audit(audited, len(restaurants)), row_count > max_rows
    )


def distribution(orders: OrderSample, measure: Measure) -> Distribution | None:
    """Return the distribution of a measure, or None without values. Missing values are only counted."""
    known = orders.frame[measure.column].drop_nulls()
    if not len(known):
        return None
    values = known.to_numpy().astype(np.float64)
    return summarize_values(values, missing=len(orders) - len(values), is_whole=measure.is_whole)


def summarize_groups(orders: OrderSample, column: str) -> list[ChartRow]:
    """Return the orders, quartiles, and mean label for each value of a column.

    Times are in ascending order. Categories are sorted by orders, largest first; the first `MAX_GROUPS` are those to
    draw.
    """
    label = pl.col(LABEL_MEASURE).cast(pl.Float64)
    groups = orders.frame.group_by(column).agg(
        pl.len().alias("orders"),
        label.quantile(0.25, "linear").alias("q1"),
        label.median().alias("median"),
        label.quantile(0.75, "linear").alias("q3"),
        label.mean().alias("mean"),
    )
    is_category = column not in TIME_COLUMNS
    groups = groups.sort(["orders", column], descending=[True, False]) if is_category else groups.sort(column)
    return [
        {"value": _display_value(column, value), "few": row["orders"] < MIN_RELIABLE_ORDERS, **row}
        for row in groups.iter_rows(named=True)
        for value in [row.pop(column)]
    ]


def correlation(sample: OrderSample, *, ranks: bool) -> list[ChartRow]:
    """Return the correlation of each pair of numeric columns: Spearman's if `ranks`, else Pearson's as in the notebook.

    A constant column has no correlation, so its pairs are omitted. A pair uses the orders that have both values.
    """
    if len(sample) < 2:
        return []
    orders = sample.frame.with_columns(pl.len().over("restaurant_id").alias("restaurant_orders"))
    if len(orders) > CORRELATION_SAMPLE_SIZE:
        orders = orders.sample(CORRELATION_SAMPLE_SIZE, seed=_SEED)
    labels = {measure.column: measure.title for measure in sample.measures} | _OTHER_CORRELATIONS
    frame = orders.with_columns(pl.col("day").dt.day().alias("day_of_month")).select(
        pl.col(name).cast(pl.Float64) for name in labels
    )
    if ranks:
        frame = frame.select(pl.all().rank())
    columns = {
        name: frame[name].fill_null(np.nan).to_numpy() for name in labels if frame[name].drop_nulls().n_unique() > 1
    }
    return [
        {"a": labels[a], "b": labels[b], "r": round(r, 4)}
        for a in columns
        for b in columns
        if (r := _pair_correlation(columns[a], columns[b])) is not None
    ]


def _pair_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Return the correlation over the orders that have both values, or None if one of them is constant."""
    has_both = ~np.isnan(first) & ~np.isnan(second)
    first, second = first[has_both], second[has_both]
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


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
    label = pl.col(LABEL_MEASURE).cast(pl.Float64)
    mean_value = pl.col("order_value").cast(pl.Float64).mean().alias("mean_order_value")
    means = [mean_value] if "order_value" in orders.frame.columns else []
    by_restaurant = (
        orders.frame.group_by("restaurant_id")
        .agg(
            pl.col("city").first().cast(pl.String),
            pl.col("type_of_food").first().cast(pl.String),
            pl.len().alias("orders"),
            label.median().alias("median"),
            label.quantile(0.9, "linear").alias("p90"),
            *means,
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
        table=tuple(
            row | {"restaurant_id": _display_id(int(row["restaurant_id"]), orders.restaurants)}
            for row in by_restaurant.head(MAX_RESTAURANTS).iter_rows(named=True)
        ),
    )


def scatter_points(orders: OrderSample, measure: Measure) -> list[ChartRow]:
    """Return a sample of orders as points of a measure and the label. The sample is reproducible."""
    columns = orders.frame.select(measure.column, LABEL_MEASURE).drop_nulls()
    if len(columns) > SCATTER_SAMPLE_SIZE:
        columns = columns.sample(SCATTER_SAMPLE_SIZE, seed=_SEED)
    return [{"x": float(x), "label": round(float(label), 4)} for x, label in columns.iter_rows()]


def _title(feature: CustomFeature, schema: Schema) -> str:
    """Return the name of a feature for people. Charts and lists identify columns by it, so it isn't an own title."""
    title = feature.display_name
    return f"{title} (feature)" if title in {schema.target.title, *_OWN_TITLES} else title


def _feature_expression(feature: CustomFeature) -> pl.Expr:
    """Return an expression for a custom feature. A missing category is `UNKNOWN_VALUE`, a missing number null."""
    column = pl.col(feature_column(feature))
    if feature.type == "number":
        return column.cast(pl.Float32)
    return pl.when(column == "").then(pl.lit(UNKNOWN_VALUE)).otherwise(column).alias(feature_column(feature))


def _display_id(key: int, restaurants: RestaurantIndex | None) -> int | str:
    """Return the identifier of a restaurant. The text of one that isn't in the restaurants file isn't kept."""
    if key >= 0 or restaurants is None:
        return key
    position = restaurants.position(key)
    return UNKNOWN_VALUE if position == UNKNOWN_CODE else restaurants.display_id(position)


def _decode_category(column: str, vocabulary: tuple[str, ...]) -> pl.Expr:
    """Return an expression that decodes a category to an Enum, which stores each value only once."""
    names = [*vocabulary, UNKNOWN_VALUE]
    codes = [*range(len(vocabulary)), -1]
    dtype = pl.Enum(list(dict.fromkeys(names)))
    return pl.col(column).cast(pl.Int64).replace_strict(codes, names, return_dtype=dtype).alias(column)


def _display_value(column: str, value: object) -> str:
    return WEEKDAYS[int(str(value)) - 1] if column == "weekday" else str(value)
