"""The rows of a batch that a history is counted from: the orders known as of a date, and what identifies them."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN, TARGET
from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose, ValidationReason
from preptime.features.history_state import CompletedOrders
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import Schema
from preptime.training.training_data import rows_as_of
from preptime.validation.audit import AuditedOrders, audit_orders, to_order_columns
from preptime.validation.cell_text import cells_as_text
from preptime.validation.custom_features import feature_column
from preptime.validation.duplicates import identity_columns
from preptime.validation.label_counts import LabelRows, is_open

IDENTITY_PREFIX = "identity_"
"""Start of the columns that distinguish orders."""
CATEGORY_PREFIX = "category_"
"""Start of the columns with the codes of custom categories."""
NO_LABEL = -1
_COMPLETED_COLUMNS = (
    "acknowledged_local",
    "ready_local",
    "restaurant_id",
    "order_value",
    "number_of_items",
    "country",
    "city",
    "type_of_food",
    TARGET,
)


def audit_batch(batch: pl.DataFrame, restaurants: RestaurantIndex, schema: Schema) -> AuditedOrders:
    """Return the audit of a batch. Duplicates are found within the batch."""
    # No opening hours are inferred, because they exclude no order from the history.
    opening_times = np.full(len(restaurants), np.nan)
    return audit_orders(batch, restaurants, need_label=True, opening_times=opening_times, schema=schema)


def completed_orders(audited: AuditedOrders, restaurants: RestaurantIndex, rows: NDArray[np.bool_]) -> CompletedOrders:
    """Return the completed orders at `rows`, a mask of rows with usable times and labels."""
    custom = [name for name in map(feature_column, restaurants.feature_set.custom) if name in audited.frame.columns]
    known = audited.frame.select(*_COMPLETED_COLUMNS, *custom).filter(pl.Series(rows))
    ready = known["ready_local"].to_physical().to_numpy() // MICROSECONDS
    prep_time_seconds = known[TARGET].cast(pl.Int64).to_numpy()
    return CompletedOrders(to_order_columns(known, restaurants), ready, prep_time_seconds)


def history_rows(audited: AuditedOrders, restaurants: RestaurantIndex, as_of: dt.date) -> pl.DataFrame:
    """Return what a history needs of an audited batch, one narrow row for each order known as of a date.

    A batch can have rows of any files in any order, so duplicates are found later, among all rows. Rows that neither
    count nor can make another row a duplicate are left out.

    Returns:
        The columns `position` (that of the restaurant, or `UNKNOWN_CODE`), `is_history`, `is_usable` (for fitting, and
        not open), `is_open`, `acknowledged_at`, `ready_at` (seconds on the restaurant's clock), `order_value`,
        `number_of_items`, `prep_time_seconds`, `label_day` (`NO_LABEL` without a label), `label_seconds`,
        `is_fraction`, `_file`, and `_row`. Then the codes of custom categories (`category_0`, …), and the columns that
        distinguish orders (`identity_0`, …).
    """
    audited = without_duplicate_reason(rows_as_of(audited, restaurants, as_of))
    frame = audited.frame
    is_history, is_open_order = audited.usable_for(Purpose.HISTORY), is_open(audited)
    orders = to_order_columns(frame, restaurants)
    categories = np.empty((len(frame), 0), np.int32) if orders.categories is None else orders.categories
    columns = {
        "position": pl.Series(restaurants.positions(orders.restaurant_id), dtype=pl.Int32),
        "is_history": pl.Series(is_history, dtype=pl.Boolean),
        "is_usable": pl.Series(audited.usable_for(Purpose.FITTING) & ~is_open_order, dtype=pl.Boolean),
        "is_open": pl.Series(is_open_order, dtype=pl.Boolean),
        "acknowledged_at": pl.Series(orders.acknowledged_at, dtype=pl.Int64),
        "ready_at": (frame["ready_local"].to_physical() // MICROSECONDS).fill_null(0).cast(pl.Int64),
        "order_value": pl.Series(orders.order_value, dtype=pl.Float64),
        "number_of_items": pl.Series(orders.number_of_items, dtype=pl.Int64),
        "prep_time_seconds": frame[TARGET].cast(pl.Int64).fill_null(0),
        **_label_columns(audited, as_of),
        **{name: frame[name].cast(dtype) for name, dtype in ((FILE_COLUMN, pl.String()), (ROW_COLUMN, pl.Int64()))},
        **{f"{CATEGORY_PREFIX}{place}": pl.Series(codes, dtype=pl.Int32) for place, codes in enumerate(categories.T)},
        **_identity_cells(frame),
    }
    rows = pl.DataFrame(columns)
    identity = [name for name in rows.columns if name.startswith(IDENTITY_PREFIX)]
    has_effect = (
        pl.col("is_history") | (pl.col("label_day") != NO_LABEL) | pl.all_horizontal(pl.col(identity).is_not_null())
    )
    return rows.filter(has_effect)


def counted_orders(rows: pl.DataFrame, restaurants: RestaurantIndex) -> CompletedOrders:
    """Return the completed orders of narrow rows (`history_rows`) with `is_history`, as `HistoryState` counts them.

    The codes of country, city, and type of food, which no state contains, are unknown.
    """
    known = rows.filter("is_history")
    category_names = [name for name in rows.columns if name.startswith(CATEGORY_PREFIX)]
    unknown = np.full(len(known), UNKNOWN_CODE, np.int32)
    orders = OrderColumns(
        known["acknowledged_at"].to_numpy(),
        np.append(restaurants.restaurant_id, UNKNOWN_RESTAURANT_KEY)[known["position"].to_numpy()],
        known["order_value"].to_numpy(),
        known["number_of_items"].to_numpy(),
        unknown,
        unknown,
        unknown,
        None,
        known.select(category_names).to_numpy() if category_names else None,
    )
    return CompletedOrders(orders, known["ready_at"].to_numpy(), known["prep_time_seconds"].to_numpy())


def counted_labels(rows: pl.DataFrame) -> LabelRows:
    """Return the labels of narrow rows (`history_rows`)."""
    labeled = rows.with_row_index("row").filter(pl.col("label_day") != NO_LABEL)
    return LabelRows(
        labeled["row"].cast(pl.Int64).to_numpy(),
        labeled["label_day"].to_numpy(),
        labeled["label_seconds"].to_numpy(),
        labeled["is_fraction"].to_numpy(),
    )


def without_duplicate_reason(audited: AuditedOrders) -> AuditedOrders:
    """Return the audit without the reason `duplicate`, which depends on the rows in a batch."""
    reasons = audited.reasons & np.uint32(~ValidationReason.DUPLICATE.bit & 0xFFFFFFFF)
    return replace(audited, frame=audited.frame.with_columns(reasons=pl.Series(reasons)))


def _label_columns(audited: AuditedOrders, as_of: dt.date) -> dict[str, pl.Series]:
    labels = LabelRows.from_audited(audited, as_of)
    days, seconds = np.full(len(audited), NO_LABEL, np.int64), np.zeros(len(audited), np.int64)
    is_fraction = np.zeros(len(audited), np.bool_)
    days[labels.rows], seconds[labels.rows], is_fraction[labels.rows] = labels.day, labels.seconds, labels.is_fraction
    return {"label_day": pl.Series(days), "label_seconds": pl.Series(seconds), "is_fraction": pl.Series(is_fraction)}


def _identity_cells(frame: pl.DataFrame) -> dict[str, pl.Series]:
    """Return the columns that distinguish orders, as integers, floats, or text."""
    cells = identity_columns(frame).get_columns()
    return {f"{IDENTITY_PREFIX}{place}": _plain_cells(column) for place, column in enumerate(cells)}


def _plain_cells(cells: pl.Series) -> pl.Series:
    if cells.dtype.is_integer() and cells.dtype != pl.UInt64:
        return cells.cast(pl.Int64)
    if isinstance(cells.dtype, pl.Datetime):
        return cells.to_physical()
    return cells.cast(pl.Float64) + 0.0 if cells.dtype.is_float() else cells_as_text(cells)
