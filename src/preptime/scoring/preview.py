"""Preview of a file before scoring: its first rows, counts by validation reason, and the rejected rows.

Also makes a sample file of orders.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import ROW_COLUMN
from preptime.domain.validation_reasons import (
    Purpose,
    ValidationReason,
    exclusion_mask,
    reasons_in_mask,
    validation_rule,
)
from preptime.errors import panic_as_error
from preptime.features.restaurant_index import RestaurantIndex
from preptime.progress import ProgressCallback
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, Schema
from preptime.scoring.column_names import file_column_names
from preptime.scoring.field_values import FieldValues
from preptime.scoring.score_file import CHUNK_ROWS, open_orders, row_progress
from preptime.scoring.what_if import OrderInput, restaurant_zone
from preptime.validation.audit import AuditedOrders, audit_orders
from preptime.validation.cell_text import cells_as_text, to_csv_cells

SAMPLE_ROWS = 50
SAMPLE_TRAVEL_COLUMN = "travel_seconds"
"""The column of sample orders with the travel times of couriers, with the name of the API's field."""
_SEED = 12
"""The seed of the published notebook."""
_ORDER_HOURS = (12, 12, 13, 13, 17, 18, 18, 19, 19, 19, 20, 20, 21)
"""Local hours, repeated in proportion to their orders."""

PREVIEW_ROWS = 200
"""Rows in the preview. More take longer to display and aren't read."""
MAX_REJECTED_ROWS = 2_000
"""Rejected rows that are listed individually. The counts include all rows."""

VALIDATION_RESULT = "validation_result"
PREDICTABLE = "can be predicted"


def sample_orders(
    restaurants: RestaurantIndex | None,
    day: dt.date,
    schema: Schema = TAKE_HOME_SCHEMA,
    values: Mapping[str, FieldValues] | None = None,
) -> pl.DataFrame:
    """Return sample orders of `day`, two of them invalid on purpose. The same arguments give the same orders.

    They're from the first of `restaurants`, or from restaurants 1 to 20 without any. Their custom features have values
    from `values`. If the target is the ready time, each order has the travel time of a courier.
    """
    rng = np.random.default_rng(_SEED)
    listed_ids = (
        [] if restaurants is None else [restaurants.display_id(row) for row in range(min(40, len(restaurants)))]
    )
    ids = listed_ids or [str(number) for number in range(1, 21)]
    hours = np.sort(rng.choice(_ORDER_HOURS, SAMPLE_ROWS))
    minutes, seconds = rng.integers(0, 60, SAMPLE_ROWS), rng.integers(0, 60, SAMPLE_ROWS)
    items = 1 + rng.poisson(2.2, SAMPLE_ROWS)
    order_values = np.round(4.5 + items * rng.uniform(4.0, 11.0, SAMPLE_ROWS), 2)
    features = {
        feature.name: _sample_values(rng, feature, (values or {}).get(feature.name, FieldValues()))
        for feature in schema.order_features
    }
    rows = []
    for row, restaurant_id in enumerate(rng.choice(ids, SAMPLE_ROWS).tolist()):
        cells: dict[str, float | str | None] = {
            "order_id": f"sample-{row + 1}",
            "order_value": float(order_values[row]),
            "number_of_items": float(items[row]),
        }
        cells |= {name: sampled[row] for name, sampled in features.items()}
        time = dt.datetime.combine(day, dt.time(int(hours[row]), int(minutes[row]), int(seconds[row])))
        order = OrderInput(restaurant_id, time, cells)
        zone = None if restaurants is None else restaurant_zone(order, restaurants)
        rows.append(order.to_row(schema, zone))
    sample = pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String))
    if schema.target.has_dispatch and SAMPLE_TRAVEL_COLUMN not in sample.columns:
        travel = pl.Series(SAMPLE_TRAVEL_COLUMN, rng.integers(2, 15, SAMPLE_ROWS) * 60)
        sample = sample.with_columns(travel.cast(pl.String))
    return _with_invalid_rows(sample, schema)


def _sample_values(rng: np.random.Generator, feature: CustomFeature, seen: FieldValues) -> list[float | str | None]:
    """Return values that other orders have. Without any, only a required feature has a value."""
    if seen.values:
        return [str(value) for value in rng.choice(seen.values, SAMPLE_ROWS)]
    if seen.minimum is not None and seen.maximum is not None:
        return [float(value) for value in rng.uniform(seen.minimum, seen.maximum, SAMPLE_ROWS).round(1)]
    if not feature.required:
        return [None] * SAMPLE_ROWS
    return ["example" if feature.type == "category" else (feature.range or (1.0, 1.0))[0]] * SAMPLE_ROWS


def _with_invalid_rows(rows: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return sample orders of which one has a text instead of its value, and one lacks its number of items.

    If the schema doesn't have these columns, the orders have no valid time and no restaurant.
    """
    unreadable, missing = (
        schema.orders[name if schema.has(name) else other].column
        for name, other in (("order_value", "order_acknowledged_at"), ("number_of_items", "restaurant_id"))
    )
    row = pl.int_range(pl.len())
    return rows.with_columns(
        pl.when(row == 8).then(pl.lit("free")).otherwise(unreadable).alias(unreadable),
        pl.when(row == 21).then(None).otherwise(missing).alias(missing),
    )


@dataclass(frozen=True)
class Preview:
    """The validation result of a file's rows, before any prediction."""

    columns: tuple[str, ...]
    """The file's columns, in order."""
    rows: int
    rejected: dict[ValidationReason, int]
    """Rows that can't be predicted, by their first reason in the order of `ValidationReason`."""
    unknown_restaurant_rows: int
    """Rows that can be predicted but are from an unknown restaurant, so with a coarser fallback level."""
    head: pl.DataFrame
    """The first rows: `row` (from 1) and `validation_result`, then the file's columns."""
    rejected_cells: pl.DataFrame
    """The invalid cells of the first rejected rows: `row`, `reason`, `column`, `value`, `expected`."""

    @property
    def predictable(self) -> int:
        """Number of rows that can be predicted."""
        return self.rows - sum(self.rejected.values())


@panic_as_error()
def preview_file(
    source: str,
    restaurants: RestaurantIndex,
    schema: Schema,
    *,
    bundle_id: str = "",
    progress: ProgressCallback | None = None,
) -> Preview:
    """Validate all rows of `source` as scoring does, in bounded memory.

    `bundle_id` is the bundle that has the schema, for messages. Raises `DataError` if the source can't be read, is
    empty, or lacks a column.
    """
    orders = open_orders(source, schema, bundle_id)
    report_rows = row_progress(orders, "Checking", progress)
    rows = unknown_restaurant_rows = 0
    rejected: dict[ValidationReason, int] = {}
    heads, rejected_parts, listed_rows = list[pl.DataFrame](), list[pl.DataFrame](), 0
    for chunk in orders.batches(CHUNK_ROWS):
        audited = audit_orders(chunk, restaurants, need_label=False, schema=orders.schema)
        first_reasons = _first_reasons(audited)
        if rows < PREVIEW_ROWS:
            heads.append(_head(audited, first_reasons, orders.columns, PREVIEW_ROWS - rows))
        for reason, count in _count_reasons(first_reasons):
            rejected[reason] = rejected.get(reason, 0) + count
        is_unknown = (audited.reasons & np.uint32(ValidationReason.UNKNOWN_RESTAURANT.bit)) != 0
        unknown_restaurant_rows += int(np.count_nonzero(is_unknown & audited.usable_for(Purpose.SCORING)))
        if listed_rows < MAX_REJECTED_ROWS:
            new_parts = list(_list_rejected_cells(audited, MAX_REJECTED_ROWS - listed_rows))
            listed_rows += len({row for part in new_parts for row in part["row"]})
            rejected_parts += new_parts
        rows += len(chunk)
        report_rows(rows)
    rejected_cells = pl.concat([_NO_REJECTED_CELLS, *rejected_parts]).sort("row", maintain_order=True)
    return Preview(
        columns=orders.columns,
        rows=rows,
        rejected={reason: rejected[reason] for reason in ValidationReason if reason in rejected},
        unknown_restaurant_rows=unknown_restaurant_rows,
        head=pl.concat(heads),
        rejected_cells=rejected_cells,
    )


_NO_REJECTED_CELLS = pl.DataFrame(
    schema={"row": pl.Int64, "reason": pl.String, "column": pl.String, "value": pl.String, "expected": pl.String}
)


def _first_reasons(audited: AuditedOrders) -> list[tuple[ValidationReason | None, NDArray[np.bool_]]]:
    """Return a mask [N] of the rows for each first rejecting reason that occurs, and for None (not rejected)."""
    rejecting_bits = audited.reasons & np.uint32(exclusion_mask(Purpose.SCORING))
    masks, mask_index = np.unique(rejecting_bits, return_inverse=True)
    shown_reasons = [reasons_in_mask(int(bits))[0] if bits else None for bits in masks]
    return [
        (
            reason,
            np.isin(mask_index, [index for index, shown_reason in enumerate(shown_reasons) if shown_reason is reason]),
        )
        for reason in dict.fromkeys(shown_reasons)
    ]


def _count_reasons(
    first_reasons: list[tuple[ValidationReason | None, NDArray[np.bool_]]],
) -> Iterator[tuple[ValidationReason, int]]:
    for reason, is_shown in first_reasons:
        if reason is not None:
            yield reason, int(np.count_nonzero(is_shown))


def _head(
    audited: AuditedOrders,
    first_reasons: list[tuple[ValidationReason | None, NDArray[np.bool_]]],
    columns: tuple[str, ...],
    rows: int,
) -> pl.DataFrame:
    results = np.full(len(audited), PREDICTABLE, object)
    for reason, is_shown in first_reasons:
        if reason is not None:
            results[is_shown] = validation_rule(reason).description
    head = audited.raw.head(rows)
    file_columns = to_csv_cells(head.select(name for name in columns))
    return file_columns.rename(file_column_names(columns, ("row", VALIDATION_RESULT))).select(
        head[ROW_COLUMN].cast(pl.Int64).alias("row"),
        pl.Series(VALIDATION_RESULT, results[: len(head)].tolist(), pl.String),
        pl.all(),
    )


def _list_rejected_cells(audited: AuditedOrders, max_rows: int) -> Iterator[pl.DataFrame]:
    is_rejected = ~audited.usable_for(Purpose.SCORING)
    listed_positions = np.flatnonzero(is_rejected)[:max_rows]
    if not len(listed_positions):
        return
    is_listed = is_rejected.copy()
    is_listed[listed_positions[-1] + 1 :] = False
    row_numbers = audited.raw[ROW_COLUMN].cast(pl.Int64)
    rejecting_bits = exclusion_mask(Purpose.SCORING)
    for finding in audited.findings:
        rows = finding.rows[is_listed[finding.rows]]
        if not finding.reason.bit & rejecting_bits or not len(rows):
            continue
        values = cells_as_text(audited.raw[finding.column].gather(rows))
        yield pl.DataFrame(
            {
                "row": row_numbers.gather(rows),
                "reason": pl.Series([validation_rule(finding.reason).description] * len(rows), dtype=pl.String),
                "column": pl.Series([_display_column(finding.column)] * len(rows), dtype=pl.String),
                "value": values,
                "expected": pl.Series([finding.expected] * len(rows), dtype=pl.String),
            }
        )


def _display_column(name: str) -> str:
    return "(after the last column)" if name.startswith("_") else name
