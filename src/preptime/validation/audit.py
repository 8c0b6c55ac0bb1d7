"""The audit: parse every order and record every error as a validation reason. No row is dropped (decision 4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import (
    FILE_COLUMN,
    ORDERS_DICTIONARY,
    ROW_COLUMN,
    SURPLUS_COLUMN,
    TARGET,
    require_columns,
    required_columns,
)
from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask
from preptime.errors import DataError
from preptime.features.restaurant_index import RestaurantIndex
from preptime.validation.duplicates import find_later_duplicates, key_columns
from preptime.validation.parsing import (
    ParsedFloats,
    ParsedIntegers,
    parse_categories,
    parse_floats,
    parse_integers,
    parse_timestamps,
)
from preptime.validation.restaurants import order_time_zones
from preptime.validation.row_checks import (
    Finding,
    FindingCollector,
    check_column,
    infer_opening_times,
    is_before_opening,
    parse_labels,
)

LABEL_COLUMNS = (TARGET, "order_ready_at")
CATEGORY_COLUMNS = ("country", "city", "type_of_food")


@dataclass(frozen=True)
class AuditedOrders:
    """N orders, parsed and checked, in the order of the input rows."""

    raw: pl.DataFrame
    """The unparsed rows, with the columns that readers add (`_row`, `_file`)."""
    frame: pl.DataFrame
    """Parsed columns, null where a cell is missing or invalid: `restaurant_id`, `acknowledged_local`,
    `acknowledged_utc` (microseconds, no zone), `order_value_gbp`, `number_of_items`, the codes `country`, `city`, and
    `type_of_food`, and the bit masks `reasons`. With labels, also `ready_local` and `prep_time_seconds` (whole
    seconds)."""
    findings: tuple[Finding, ...]
    """The evidence for the reasons: rows, column, and expected content."""

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def reasons(self) -> NDArray[np.uint32]:
        """[N] bit masks of validation reasons (`preptime.domain.validation_reasons.ValidationReason`)."""
        return self.frame["reasons"].to_numpy()

    @property
    def purposes(self) -> tuple[Purpose, ...]:
        """The purposes that the orders were checked for: all of them, or only scoring if no label was read."""
        return tuple(Purpose) if TARGET in self.frame.columns else (Purpose.SCORING,)

    def usable_for(self, purpose: Purpose) -> NDArray[np.bool_]:
        """Return [N] which orders can be used for `purpose`."""
        is_usable: NDArray[np.bool_] = (self.reasons & np.uint32(exclusion_mask(purpose))) == 0
        return is_usable


def has_labels(orders: pl.DataFrame) -> bool:
    """Return whether any order has a preparation time or a ready time, readable or not."""
    columns = [orders[name].drop_nulls() for name in LABEL_COLUMNS if name in orders.columns]
    return any(
        bool((cells.str.strip_chars() != "").any()) if cells.dtype == pl.String else len(cells) > 0 for cells in columns
    )


def audit_orders(
    orders: pl.DataFrame,
    restaurants: RestaurantIndex,
    *,
    need_label: bool,
    opening_times: NDArray[np.float64] | None = None,
) -> AuditedOrders:
    """Parse and check orders.

    With `need_label` (training, evaluation, `check`), labels, duplicates, and opening hours are checked too. Without
    it, label columns aren't read. `opening_times` [R] are the opening times of the restaurants in `restaurants` (see
    `preptime.validation.row_checks`). By default, they are inferred from these orders.

    Raises `DataError` for a missing column.
    """
    _require_order_columns(orders, need_label=need_label)
    findings = FindingCollector(len(orders))
    _check_line_length(findings, orders)
    restaurant_ids = parse_integers(orders["restaurant_id"])
    restaurant_index = _find_restaurants(findings, restaurant_ids, restaurants)
    zone_codes, zone_names = order_time_zones(orders, restaurant_index, restaurants)
    acknowledged = parse_timestamps(orders["order_acknowledged_at"], zone_codes, zone_names)
    order_values = parse_floats(orders["order_value_gbp"])
    item_counts = parse_integers(orders["number_of_items"])
    check_column(findings, "restaurant_id", restaurant_ids)
    check_column(findings, "order_acknowledged_at", acknowledged)
    check_column(findings, "order_value_gbp", order_values)
    check_column(findings, "number_of_items", item_counts)
    is_undated = acknowledged.missing | acknowledged.invalid
    columns = {
        "restaurant_id": _to_series(restaurant_ids),
        "acknowledged_local": _to_datetimes(acknowledged.local, is_undated),
        "acknowledged_utc": _to_datetimes(acknowledged.utc, is_undated),
        "order_value_gbp": _to_series(order_values),
        "number_of_items": _to_series(item_counts),
    }
    for name in CATEGORY_COLUMNS:
        columns[name] = pl.Series(_category_codes(orders, name, restaurant_index, restaurants))
    if "open_orders" in orders.columns:
        columns["open_orders"] = _to_series(open_orders := parse_integers(orders["open_orders"]))
        check_column(findings, "open_orders", open_orders, optional=True)
    if need_label:
        labels = parse_labels(findings, orders, acknowledged, zone_codes, zone_names)
        columns[TARGET] = _null_where(pl.Series(labels.seconds), ~labels.is_known)
        columns["ready_local"] = _to_datetimes(labels.ready_local, ~labels.is_known | is_undated)
        if opening_times is None:
            opening_times = _infer_opening(findings, columns, restaurant_index, len(restaurants))
        is_early = is_before_opening(acknowledged.local, restaurant_index, opening_times) & ~is_undated
        findings.add(
            ValidationReason.BEFORE_OPENING, "order_acknowledged_at", is_early, "a time when the restaurant is open"
        )
        _check_duplicates(findings, orders, columns)
    passthrough = {name: orders[name] for name in ("order_id", ROW_COLUMN, FILE_COLUMN) if name in orders.columns}
    frame = pl.DataFrame(passthrough | columns | {"reasons": pl.Series(findings.reason_masks)})
    return AuditedOrders(orders, frame, findings.sorted_findings())


def to_order_columns(frame: pl.DataFrame) -> OrderColumns:
    """Convert audited rows to the columns that features are computed from, without a copy where nothing is null.

    Rows that are excluded from scoring have nulls. They become zeros here, and their predictions have no meaning.
    """
    local = frame["acknowledged_local"].to_physical().fill_null(0).to_numpy()
    return OrderColumns(
        local // MICROSECONDS,
        frame["restaurant_id"].fill_null(0).to_numpy(),
        frame["order_value_gbp"].fill_null(0.0).to_numpy(),
        frame["number_of_items"].fill_null(0).to_numpy(),
        frame["country"].to_numpy(),
        frame["city"].to_numpy(),
        frame["type_of_food"].to_numpy(),
    )


def trailing_undated(frame: pl.DataFrame, is_known: pl.Series) -> pl.Series:
    """Return [N] which rows without a valid time follow the last row where `is_known` is true. None do if no row is."""
    is_undated = frame["acknowledged_local"].is_null()
    known_rows = is_known.arg_true()
    last_known_row = len(is_known) if known_rows.is_empty() else known_rows[-1]
    return is_undated & (pl.Series(np.arange(len(frame))) > last_known_row)


def _require_order_columns(orders: pl.DataFrame, *, need_label: bool) -> None:
    require_columns(
        orders.columns, required_columns(ORDERS_DICTIONARY, "training" if need_label else "scoring"), "the orders"
    )
    if need_label and TARGET not in orders.columns and "order_ready_at" not in orders.columns:
        raise DataError(
            f"The orders have neither order_ready_at nor {TARGET}.",
            "Add one of them. Without it, the orders have no labels to train on.",
        )


def _check_line_length(findings: FindingCollector, orders: pl.DataFrame) -> None:
    if SURPLUS_COLUMN in orders.columns:
        has_surplus = orders[SURPLUS_COLUMN].is_not_null().to_numpy()
        findings.add(ValidationReason.MALFORMED_LINE, SURPLUS_COLUMN, has_surplus, "as many cells as the header has")


def _find_restaurants(
    findings: FindingCollector, restaurant_ids: ParsedIntegers, restaurants: RestaurantIndex
) -> NDArray[np.int64]:
    """Return [N] the index of each order's restaurant, or `UNKNOWN_CODE`."""
    is_valid = ~(restaurant_ids.missing | restaurant_ids.invalid)
    restaurant_index = np.where(is_valid, restaurants.positions(restaurant_ids.values), UNKNOWN_CODE)
    is_unknown = (restaurant_index == UNKNOWN_CODE) & is_valid
    findings.add(
        ValidationReason.UNKNOWN_RESTAURANT, "restaurant_id", is_unknown, "a restaurant_id from the restaurants file"
    )
    return restaurant_index


def _check_duplicates(findings: FindingCollector, orders: pl.DataFrame, columns: dict[str, pl.Series]) -> None:
    id_column = "order_id" if "order_id" in orders.columns else "order_acknowledged_at"
    is_duplicate = find_later_duplicates(key_columns(orders, pl.DataFrame(columns)))
    findings.add(ValidationReason.DUPLICATE, id_column, is_duplicate, "one row for each order")


def _category_codes(
    orders: pl.DataFrame, category: str, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> NDArray[np.int32]:
    """Return [N] the code of the order's own category where it's valid, otherwise its restaurant's."""
    restaurant_codes: NDArray[np.int32] = np.append(getattr(restaurants, category), np.int32(UNKNOWN_CODE))[
        restaurant_index
    ]
    if category not in orders.columns:
        return restaurant_codes
    order_codes = parse_categories(orders[category], getattr(restaurants.vocabularies, category))
    return np.where(order_codes == UNKNOWN_CODE, restaurant_codes, order_codes)


def _infer_opening(
    findings: FindingCollector,
    columns: dict[str, pl.Series],
    restaurant_index: NDArray[np.int64],
    restaurant_count: int,
) -> NDArray[np.float64]:
    # An order that was left open overnight carries no information about when its food was ready.
    is_trusted = (findings.reason_masks & np.uint32(exclusion_mask(Purpose.EVALUATION))) == 0
    ready_local = columns["ready_local"].to_physical().fill_null(0).to_numpy()
    label_seconds = columns[TARGET].fill_null(0).to_numpy()
    city_codes = columns["city"].to_numpy()
    return infer_opening_times(
        restaurant_count,
        restaurant_index[is_trusted],
        city_codes[is_trusted],
        ready_local[is_trusted],
        label_seconds[is_trusted],
    )


def _to_series(parsed: ParsedIntegers | ParsedFloats) -> pl.Series:
    return _null_where(pl.Series(parsed.values), parsed.missing | parsed.invalid)


def _to_datetimes(microseconds: NDArray[np.int64], unusable: NDArray[np.bool_]) -> pl.Series:
    return _null_where(pl.Series(microseconds), unusable).cast(pl.Datetime("us"))


def _null_where(values: pl.Series, unusable: NDArray[np.bool_]) -> pl.Series:
    return values.set(pl.Series(unusable), None) if unusable.any() else values
