"""Row checks of the audit: declared columns, labels, and orders before opening.

**Columns**: a cell can be missing, unparsable, negative, or outside its declared range.

**Labels**: whole seconds from acknowledged to ready, from `prep_time_seconds`, from the two times, or from both.

**Opening hours**: a restaurant usually opens at the low end of the times of day at which its food is ready, minus its
usual preparation time. An order that is acknowledged more than 15 minutes earlier is flagged. Of 24,377 real orders,
839 are flagged, most of them between 11:00 and 13:00. Their median preparation time is 3,251 s, compared with 801 s for
the others, and 41% of them take more than an hour, compared with 2.2%. The flag excludes an order from nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import TARGET
from preptime.domain.time_zones import build_offset_table
from preptime.domain.timestamps import MICROSECONDS, SECONDS_PER_DAY
from preptime.domain.validation_reasons import MAX_LABEL_SECONDS, SHORT_LABEL_SECONDS, ValidationReason
from preptime.schema.schema import Schema, SchemaColumn
from preptime.validation.parsing import (
    ParsedFloats,
    ParsedIntegers,
    ParsedTimestamps,
    parse_durations,
    parse_integers,
    parse_timestamps,
)
from preptime.validation.restaurant_ids import ParsedRestaurantIds

READY_COLUMN = "order_ready_at"
_TOLERANCE_SECONDS = 1
"""`prep_time_seconds` is a difference in microseconds truncated to whole seconds. Some systems round instead."""
_MAX_LABEL_SECONDS = 2**32
"""Much longer than any label. Limits absurd labels, so that the ready time can't overflow."""

DAY_START_SECONDS = 5 * 3600
"""The day of a kitchen starts at 05:00, so that food that is ready after midnight belongs to the evening before."""
MIN_ORDERS = 5
"""With fewer orders, the opening time of the city is used, and that of all orders for a small city."""
OPENING_QUANTILE = 0.02
"""Not the minimum: a single order with a wrong time would make a restaurant open at dawn."""
MARGIN_SECONDS = 900
"""Kitchens start before the restaurant opens."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The rows that have one reason in one column."""

    reason: ValidationReason
    column: str
    rows: NDArray[np.intp]
    """Row indexes, ascending."""
    expected: str
    """The expected content, for messages."""


class FindingCollector:
    """Collect findings for N rows. Memory grows with the number of errors, not with rows times checks."""

    def __init__(self, row_count: int) -> None:
        self.reason_masks = np.zeros(row_count, np.uint32)
        """[N] bit masks of the reasons found so far."""
        self._findings: list[Finding] = []

    def add(self, reason: ValidationReason, column: str, is_affected: NDArray[np.bool_], expected: str) -> None:
        """Add `reason` to the rows where `is_affected` is true."""
        if is_affected.any():
            rows = np.flatnonzero(is_affected)
            self.reason_masks[rows] |= np.uint32(reason.bit)
            self._findings.append(Finding(reason, column, rows, expected))

    def sorted_findings(self) -> tuple[Finding, ...]:
        """Return all findings, most fundamental reason first."""
        order = list(ValidationReason)
        return tuple(sorted(self._findings, key=lambda finding: order.index(finding.reason)))


def check_column(
    findings: FindingCollector,
    column: SchemaColumn,
    parsed: ParsedIntegers | ParsedFloats | ParsedTimestamps | ParsedRestaurantIds,
    *,
    optional: bool = False,
) -> None:
    """Add the findings of one declared column of orders. Cells of an optional column can be empty."""
    name = column.source
    if not optional:
        findings.add(ValidationReason.MISSING_VALUE, name, parsed.missing, column.expected_text)
    if isinstance(parsed, ParsedTimestamps):
        findings.add(ValidationReason.UNPARSABLE_TIME, name, parsed.invalid, column.expected_text)
        return
    if isinstance(parsed, ParsedRestaurantIds):
        findings.add(ValidationReason.UNPARSABLE_NUMBER, name, parsed.invalid, column.expected_text)
        findings.add(ValidationReason.OUT_OF_RANGE, name, parsed.too_long, column.expected_text)
        return
    findings.add(ValidationReason.UNPARSABLE_NUMBER, name, parsed.invalid, column.expected_text)
    findings.add(ValidationReason.NEGATIVE_VALUE, name, parsed.values < 0, column.expected_text)
    minimum = -np.inf if column.minimum is None else column.minimum
    maximum = np.inf if column.maximum is None else column.maximum
    is_outside = parsed.values > maximum
    if minimum > 0:
        # Missing and invalid cells are 0, and negative values have their own reason.
        is_outside |= (parsed.values < minimum) & (parsed.values >= 0) & ~(parsed.missing | parsed.invalid)
    findings.add(ValidationReason.OUT_OF_RANGE, name, is_outside, column.expected_text)


@dataclass(frozen=True, slots=True)
class ParsedLabels:
    """N labels. Where `is_known` is false, the values have no meaning."""

    seconds: NDArray[np.int64]
    ready_local: NDArray[np.int64]
    """Local time at the restaurant, in microseconds since 1970-01-01 00:00."""
    ready_utc: NDArray[np.int64]
    """The same time in UTC."""
    is_known: NDArray[np.bool_]


def parse_labels(
    findings: FindingCollector,
    orders: pl.DataFrame,
    acknowledged: ParsedTimestamps,
    zone_codes: NDArray[np.int32],
    zone_names: tuple[str, ...],
    *,
    schema: Schema,
) -> ParsedLabels:
    """Parse and check the labels of orders. `prep_time_seconds` takes precedence over the two times.

    `orders` have canonical names and the formats of `schema`.
    """
    no_start = acknowledged.missing | acknowledged.invalid
    ready = (
        parse_timestamps(orders[READY_COLUMN], zone_codes, zone_names, schema.column(READY_COLUMN).timestamp_format)
        if READY_COLUMN in orders.columns
        else _missing_timestamps(len(orders))
    )
    given_seconds = _parse_given_labels(orders, schema)
    has_times = ~(ready.missing | ready.invalid | no_start)
    has_given_label = ~(given_seconds.missing | given_seconds.invalid)
    elapsed = (ready.utc - acknowledged.utc) // MICROSECONDS
    seconds = np.where(has_given_label, given_seconds.values, elapsed)
    ready_local, ready_utc = ready.local, ready.utc
    has_only_duration = has_given_label & ~has_times & ~no_start
    if has_only_duration.any():
        bounded_seconds = np.clip(seconds, -_MAX_LABEL_SECONDS, _MAX_LABEL_SECONDS)
        ready_utc = np.where(has_only_duration, acknowledged.utc + bounded_seconds * MICROSECONDS, ready_utc)
        offsets = _offsets_after(acknowledged.utc, seconds, zone_codes, zone_names)
        ready_local = np.where(has_only_duration, ready_utc + offsets, ready_local)
    columns = {name: schema.column(name) for name in (READY_COLUMN, TARGET) if name in orders.columns}
    label_column = columns[TARGET if TARGET in columns else READY_COLUMN].source
    is_missing = ready.missing & given_seconds.missing
    expected_columns = " or ".join(column.source for column in columns.values())
    findings.add(ValidationReason.MISSING_VALUE, label_column, is_missing, expected_columns)
    for name, column in columns.items():
        check_column(findings, column, ready if name == READY_COLUMN else given_seconds, optional=True)
    is_before = has_times & (ready.utc < acknowledged.utc)
    findings.add(
        ValidationReason.READY_BEFORE_ACKNOWLEDGED,
        columns[READY_COLUMN].source if READY_COLUMN in columns else label_column,
        is_before,
        f"a time after {schema.orders['order_acknowledged_at'].column}",
    )
    is_contradictory = has_times & has_given_label & (np.abs(given_seconds.values - elapsed) > _TOLERANCE_SECONDS)
    start = schema.orders["order_acknowledged_at"].column
    expected = f"{columns[READY_COLUMN].source if READY_COLUMN in columns else READY_COLUMN} minus {start}, in seconds"
    findings.add(ValidationReason.LABEL_CONTRADICTS_TIMES, label_column, is_contradictory, expected)
    is_known = has_times | has_given_label
    _check_label_range(findings, label_column, seconds, is_known)
    return ParsedLabels(seconds, ready_local, ready_utc, is_known)


def _offsets_after(
    utc: NDArray[np.int64], seconds: NDArray[np.int64], zone_codes: NDArray[np.int32], zone_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """Return [N] UTC offsets in microseconds after a duration, in which the clocks can change."""
    # A longer duration isn't a label, and searching centuries for changes of the clocks is slow.
    moments = utc + np.clip(seconds, 0, SECONDS_PER_DAY) * MICROSECONDS
    return build_offset_table(moments, zone_names).offset_at_utc(zone_codes, moments)


def _parse_given_labels(orders: pl.DataFrame, schema: Schema) -> ParsedIntegers:
    if TARGET not in orders.columns:
        return _missing_integers(len(orders))
    number_format = schema.column(TARGET).number_format
    if number_format.multiplier == number_format.divisor:
        return parse_integers(orders[TARGET], number_format)
    return parse_durations(orders[TARGET], number_format)


def _check_label_range(
    findings: FindingCollector, column: str, seconds: NDArray[np.int64], is_known: NDArray[np.bool_]
) -> None:
    is_short = is_known & (seconds > 0) & (seconds < SHORT_LABEL_SECONDS)
    is_over_cap = is_known & (seconds > MAX_LABEL_SECONDS)
    findings.add(ValidationReason.LABEL_ZERO, column, is_known & (seconds == 0), "more than 0 seconds")
    findings.add(ValidationReason.LABEL_UNDER_A_MINUTE, column, is_short, f"{SHORT_LABEL_SECONDS} seconds or more")
    findings.add(ValidationReason.LABEL_OVER_CAP, column, is_over_cap, f"at most {MAX_LABEL_SECONDS:,} seconds")


def _missing_timestamps(row_count: int) -> ParsedTimestamps:
    zeros = np.zeros(row_count, np.int64)
    return ParsedTimestamps(zeros, zeros, np.ones(row_count, np.bool_), np.zeros(row_count, np.bool_))


def _missing_integers(row_count: int) -> ParsedIntegers:
    return ParsedIntegers(np.zeros(row_count, np.int64), np.ones(row_count, np.bool_), np.zeros(row_count, np.bool_))


def seconds_since_day_start(local: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the seconds since 05:00 local time, from microseconds since 1970-01-01 00:00 local time."""
    return ((local // MICROSECONDS - DAY_START_SECONDS) % SECONDS_PER_DAY).astype(np.int32)


def infer_opening_times(
    restaurant_city: NDArray[np.int32],
    restaurant_index: NDArray[np.int64],
    city_codes: NDArray[np.int32],
    ready_local: NDArray[np.int64],
    label_seconds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return [R] the usual opening time of each restaurant, in seconds since 05:00; NaN where it's unknown.

    A restaurant with few orders has that of its city, or else that of all orders. `restaurant_city` [R] is the city of
    each restaurant, `restaurant_index` [N] is each order's index in the restaurant index, and `city_codes` [N] is its
    city. Pass only orders whose label is reliable.
    """
    orders = pl.DataFrame(
        {
            "restaurant_index": restaurant_index,
            "city": city_codes,
            "ready": seconds_since_day_start(ready_local),
            "label": label_seconds,
        }
    )
    opening_expr = (pl.col("ready").quantile(OPENING_QUANTILE) - pl.col("label").median()).alias("opening")
    by_restaurant = orders.group_by("restaurant_index").agg(opening_expr, pl.len().alias("orders"))
    by_city = orders.group_by("city").agg(opening_expr.alias("city_opening"), pl.len().alias("city_orders"))
    overall_opening = orders.select(opening_expr).item()
    restaurants = pl.DataFrame({"restaurant_index": np.arange(len(restaurant_city)), "city": restaurant_city})
    joined = restaurants.join(by_restaurant, on="restaurant_index").join(by_city, on="city", how="left")
    openings = joined.select(
        "restaurant_index",
        pl.when(pl.col("orders") >= MIN_ORDERS)
        .then("opening")
        .when(pl.col("city_orders") >= MIN_ORDERS)
        .then("city_opening")
        .otherwise(pl.lit(overall_opening, pl.Float64))
        .alias("opening"),
    )
    opening_times = np.full(len(restaurant_city), np.nan)
    opening_times[openings["restaurant_index"].to_numpy()] = openings["opening"].to_numpy()
    return opening_times


def is_before_opening(
    acknowledged_local: NDArray[np.int64], restaurant_index: NDArray[np.int64], opening_times: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return [N] which orders were acknowledged before their restaurant usually opens; false where that is unknown."""
    padded_times = np.append(opening_times, np.nan)  # index -1, an unknown restaurant, reads the last element
    return seconds_since_day_start(acknowledged_local) < padded_times[restaurant_index] - MARGIN_SECONDS
