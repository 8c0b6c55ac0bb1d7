"""The audit: parse every order and record every error as a validation reason. No row is dropped (decision 4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.data_dictionary import (
    FILE_COLUMN,
    READER_COLUMNS,
    ROW_COLUMN,
    SURPLUS_COLUMN,
    TARGET,
    order_column,
    require_columns,
)
from preptime.domain.orders import UNKNOWN_CODE, OrderColumns
from preptime.domain.restaurant_ids import UNKNOWN_RESTAURANT_KEY
from preptime.domain.timestamps import MICROSECONDS
from preptime.domain.validation_reasons import Purpose, ValidationReason, exclusion_mask
from preptime.errors import DataError
from preptime.features.kitchen import NEVER, KitchenEvents
from preptime.features.restaurant_index import RestaurantIndex
from preptime.features.spec import local_day
from preptime.schema.schema import TAKE_HOME_SCHEMA, Schema
from preptime.schema.toml_file import assumed_origin
from preptime.validation.cell_text import cells_as_text
from preptime.validation.custom_features import custom_columns, read_custom_features
from preptime.validation.duplicates import find_later_duplicates, identity_columns
from preptime.validation.parsing import (
    ParsedFloats,
    ParsedIntegers,
    is_empty_text,
    parse_categories,
    parse_floats,
    parse_integers,
    parse_timestamps,
)
from preptime.validation.restaurant_ids import ParsedRestaurantIds, parse_restaurant_ids
from preptime.validation.restaurants import order_time_zones
from preptime.validation.row_checks import (
    Finding,
    FindingCollector,
    check_column,
    infer_opening_times,
    is_before_opening,
    parse_labels,
)

LABEL_COLUMNS = ("order_ready_at", TARGET)
CATEGORY_COLUMNS = ("country", "city", "type_of_food")
REJECT_SURPLUS = "reject_surplus"
"""The column of a file of rejected rows with the surplus text of a malformed line. The row stays malformed until the
cell is empty."""
PLACE_COLUMNS = ("country", "city")
"""The columns that say where a restaurant is."""


@dataclass(frozen=True)
class AuditedOrders:
    """N orders, parsed and checked, in the order of the input rows."""

    raw: pl.DataFrame
    """The unparsed rows, with the company's columns and those that readers add (`_row`, `_file`)."""
    frame: pl.DataFrame
    """Parsed columns, null where a cell is missing or invalid: `restaurant_id`, `acknowledged_local`,
    `acknowledged_utc` (microseconds, no zone), `order_value`, `number_of_items`, the codes `country`, `city`, and
    `type_of_food`, the custom features (`preptime.validation.custom_features`), and the bit masks `reasons`. With
    labels, also `ready_local`, `ready_utc`, and `prep_time_seconds` (whole seconds). Values are in canonical units."""
    findings: tuple[Finding, ...]
    """The evidence for the reasons: rows, column, and expected content."""
    schema: Schema = TAKE_HOME_SCHEMA
    """The schema of `raw`."""

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
        return is_usable(self.reasons, purpose)


def is_usable(reasons: NDArray[np.uint32], purpose: Purpose) -> NDArray[np.bool_]:
    """Return [N] which orders can be used for `purpose`, from the bit masks of their validation reasons."""
    usable: NDArray[np.bool_] = (reasons & np.uint32(exclusion_mask(purpose))) == 0
    return usable


def has_labels(orders: pl.DataFrame, schema: Schema) -> bool:
    """Return whether any order has a preparation time or a ready time, readable or not."""
    sources = [schema.orders[name].column for name in LABEL_COLUMNS if schema.has(name)]
    columns = [orders[source].drop_nulls() for source in sources if source in orders.columns]
    return any(
        bool((cells.str.strip_chars() != "").any()) if cells.dtype == pl.String else len(cells) > 0 for cells in columns
    )


def audit_orders(
    orders: pl.DataFrame,
    restaurants: RestaurantIndex,
    *,
    need_label: bool,
    opening_times: NDArray[np.float64] | None = None,
    schema: Schema = TAKE_HOME_SCHEMA,
) -> AuditedOrders:
    """Parse and check orders.

    With `need_label` (training, evaluation, `check`), labels, duplicates, and opening hours are checked too. Without
    it, label columns aren't read. `opening_times` [R] are the opening times of the restaurants in `restaurants` (see
    `preptime.validation.row_checks`). By default, they are inferred from these orders. `schema` describes the columns
    of `orders`.

    Raises `DataError` for a missing column.
    """
    _require_order_columns(orders, schema, need_label=need_label)
    findings = FindingCollector(len(orders))
    _check_line_length(findings, orders)
    cells = _canonical_columns(orders, schema)
    restaurant_ids = parse_restaurant_ids(cells["restaurant_id"])
    restaurant_index = _find_restaurants(findings, restaurant_ids, restaurants, schema)
    zone_codes, zone_names = order_time_zones(cells, restaurant_index, restaurants)
    acknowledged_column = schema.column("order_acknowledged_at")
    acknowledged = parse_timestamps(
        cells["order_acknowledged_at"], zone_codes, zone_names, acknowledged_column.timestamp_format
    )
    check_column(findings, schema.column("restaurant_id"), restaurant_ids)
    check_column(findings, acknowledged_column, acknowledged)
    is_undated = acknowledged.missing | acknowledged.invalid
    columns = {
        "restaurant_id": _null_where(pl.Series(restaurant_ids.keys), restaurant_ids.unusable),
        "acknowledged_local": _to_datetimes(acknowledged.local, is_undated),
        "acknowledged_utc": _to_datetimes(acknowledged.utc, is_undated),
        "order_value": _read_number(findings, cells, schema, "order_value"),
        "number_of_items": _read_number(findings, cells, schema, "number_of_items"),
    }
    for name in CATEGORY_COLUMNS:
        columns[name] = pl.Series(_category_codes(cells, name, restaurant_index, restaurants))
    _check_places(findings, cells, schema, restaurant_index, restaurants)
    if "open_orders" in cells.columns:
        columns["open_orders"] = _read_number(findings, cells, schema, "open_orders", optional=True)
    columns |= read_custom_features(findings, orders, schema, restaurant_index, restaurants)
    passthrough = {name: cells[name] for name in ("order_id", ROW_COLUMN, FILE_COLUMN) if name in cells.columns}
    if need_label:
        labels = parse_labels(findings, cells, acknowledged, zone_codes, zone_names, schema=schema)
        columns[TARGET] = _null_where(pl.Series(labels.seconds), ~labels.is_known)
        columns["ready_local"] = _to_datetimes(labels.ready_local, ~labels.is_known | is_undated)
        columns["ready_utc"] = _to_datetimes(labels.ready_utc, ~labels.is_known | is_undated)
        if opening_times is None:
            opening_times = _infer_opening(findings, columns, restaurant_index, restaurants)
        is_early = is_before_opening(acknowledged.local, restaurant_index, opening_times) & ~is_undated
        findings.add(
            ValidationReason.BEFORE_OPENING, acknowledged_column.source, is_early, "a time when the restaurant is open"
        )
        _check_duplicates(findings, schema, passthrough | columns)
    frame = pl.DataFrame(passthrough | columns | {"reasons": pl.Series(findings.reason_masks)})
    return AuditedOrders(orders, frame, findings.sorted_findings(), schema)


def to_order_columns(frame: pl.DataFrame, restaurants: RestaurantIndex) -> OrderColumns:
    """Convert audited rows to the columns that features are computed from, without a copy where nothing is null.

    Rows that are excluded from scoring have nulls. They become zeros, or an unknown restaurant, and their predictions
    have no meaning. The codes of custom categories are those of `restaurants`. Times in UTC are optional.
    """
    numbers, categories = custom_columns(frame, restaurants)
    return OrderColumns(
        _seconds(frame["acknowledged_local"]).fill_null(0).to_numpy(),
        frame["restaurant_id"].fill_null(UNKNOWN_RESTAURANT_KEY).to_numpy(),
        frame["order_value"].fill_null(0.0).to_numpy(),
        frame["number_of_items"].fill_null(0).to_numpy(),
        frame["country"].to_numpy(),
        frame["city"].to_numpy(),
        frame["type_of_food"].to_numpy(),
        numbers,
        categories,
        _seconds(frame["acknowledged_utc"]).fill_null(0).to_numpy() if "acknowledged_utc" in frame.columns else None,
    )


def to_kitchen_events(audited: AuditedOrders) -> KitchenEvents:
    """Return the events of audited orders with labels, sorted, so that the order of the rows doesn't matter.

    An order without a readable ready time is never ready. Repeated orders count once.
    """
    is_repeated = (audited.reasons & np.uint32(ValidationReason.DUPLICATE.bit)) != 0
    frame = audited.frame.filter(
        pl.col("restaurant_id").is_not_null() & pl.col("acknowledged_local").is_not_null() & ~pl.Series(is_repeated)
    )
    columns = (
        frame["restaurant_id"].to_numpy(),
        _seconds(frame["acknowledged_utc"]).to_numpy(),
        _seconds(frame["ready_utc"]).fill_null(NEVER).to_numpy(),
        local_day(_seconds(frame["ready_local"]).fill_null(0).to_numpy()),
        frame[TARGET].cast(pl.Int64).fill_null(0).to_numpy(),
    )
    in_order = np.lexsort(columns[::-1])
    return KitchenEvents(*(column[in_order] for column in columns))


def _seconds(times: pl.Series) -> pl.Series:
    return times.to_physical() // MICROSECONDS


def trailing_undated(frame: pl.DataFrame, is_known: pl.Series) -> pl.Series:
    """Return [N] which rows without a valid time follow the last row where `is_known` is true. None do if no row is."""
    is_undated = frame["acknowledged_local"].is_null()
    known_rows = is_known.arg_true()
    last_known_row = len(is_known) if known_rows.is_empty() else known_rows[-1]
    return is_undated & (pl.Series(np.arange(len(frame))) > last_known_row)


def _require_order_columns(orders: pl.DataFrame, schema: Schema, *, need_label: bool) -> None:
    names = schema.required_columns("training" if need_label else "scoring")
    require_columns(orders.columns, names, "the orders", origin=assumed_origin(schema))
    label_columns = [schema.orders[name].column for name in LABEL_COLUMNS if schema.has(name)]
    if need_label and not label_columns:
        raise DataError(
            "The schema has no column with the label of an order.",
            "Add order_ready_at or prep_time to [orders] in schema.toml.",
        )
    if need_label and not {*label_columns} & {*orders.columns}:
        neither = f"neither {' nor '.join(label_columns)}" if len(label_columns) > 1 else f"no {label_columns[0]}"
        raise DataError(
            f"The orders have {neither}.",
            "Add one of them. Without it, the orders have no labels to train on.",
        )


def _canonical_columns(orders: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return the columns that the schema maps, under their canonical names, and the readers' columns."""
    mapped = {
        name: orders[mapping.column] for name, mapping in schema.orders.items() if mapping.column in orders.columns
    }
    return pl.DataFrame({name: orders[name] for name in READER_COLUMNS if name in orders.columns} | mapped)


def _read_number(
    findings: FindingCollector, cells: pl.DataFrame, schema: Schema, name: str, *, optional: bool = False
) -> pl.Series:
    """Return a number of each order, or zeros if the schema doesn't have the column."""
    parse = parse_floats if order_column(name).data_type == "number" else parse_integers
    if name not in cells.columns:
        return pl.Series([0] * len(cells), dtype=pl.Float64 if parse is parse_floats else pl.Int64)
    column = schema.column(name)
    parsed = parse(cells[name], column.number_format)
    check_column(findings, column, parsed, optional=optional)
    return _to_series(parsed)


def _check_line_length(findings: FindingCollector, orders: pl.DataFrame) -> None:
    line = "as many cells as the header has, and a closing mark for each quoted cell"
    for name, expected in ((SURPLUS_COLUMN, line), (REJECT_SURPLUS, "an empty cell, in a row that you have corrected")):
        findings.add(ValidationReason.MALFORMED_LINE, name, has_surplus(orders, name), expected)


def has_surplus(orders: pl.DataFrame, column: str) -> NDArray[np.bool_]:
    """Return [N] which rows have text in a column of surplus text, `SURPLUS_COLUMN` or `REJECT_SURPLUS`."""
    if column not in orders.columns:
        return np.zeros(len(orders), np.bool_)
    return ~is_empty_text(cells_as_text(orders[column]))


def _find_restaurants(
    findings: FindingCollector, restaurant_ids: ParsedRestaurantIds, restaurants: RestaurantIndex, schema: Schema
) -> NDArray[np.int64]:
    """Return [N] the index of each order's restaurant, or `UNKNOWN_CODE`."""
    is_valid = ~restaurant_ids.unusable
    restaurant_index = np.where(is_valid, restaurants.positions(restaurant_ids.keys), UNKNOWN_CODE)
    is_unknown = (restaurant_index == UNKNOWN_CODE) & is_valid
    findings.add(
        ValidationReason.UNKNOWN_RESTAURANT,
        schema.orders["restaurant_id"].column,
        is_unknown,
        "a restaurant from the restaurants file",
    )
    return restaurant_index


def _check_duplicates(findings: FindingCollector, schema: Schema, columns: dict[str, pl.Series]) -> None:
    name = "order_id" if "order_id" in columns else "order_acknowledged_at"
    is_duplicate = find_later_duplicates(identity_columns(pl.DataFrame(columns)))
    findings.add(ValidationReason.DUPLICATE, schema.orders[name].column, is_duplicate, "one row for each order")


def _category_codes(
    cells: pl.DataFrame, category: str, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> NDArray[np.int32]:
    """Return [N] the code of the order's own category where it's valid, otherwise its restaurant's."""
    restaurant_codes = _restaurant_codes(category, restaurant_index, restaurants)
    if category not in cells.columns:
        return restaurant_codes
    order_codes = parse_categories(cells[category], getattr(restaurants.vocabularies, category))
    return np.where(order_codes == UNKNOWN_CODE, restaurant_codes, order_codes)


def _check_places(
    findings: FindingCollector,
    cells: pl.DataFrame,
    schema: Schema,
    restaurant_index: NDArray[np.int64],
    restaurants: RestaurantIndex,
) -> None:
    """Flag orders that name another country or city than that of their restaurant."""
    for name in PLACE_COLUMNS:
        if name in cells.columns:
            differs = _differs_from_restaurant(cells[name], name, restaurant_index, restaurants)
            source = schema.orders[name].column
            findings.add(ValidationReason.RESTAURANT_DIFFERS, source, differs, f"the {name} of the restaurant")


def _restaurant_codes(
    category: str, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> NDArray[np.int32]:
    padded: NDArray[np.int32] = np.append(getattr(restaurants, category), np.int32(UNKNOWN_CODE))
    return padded[restaurant_index]


def _differs_from_restaurant(
    cells: pl.Series, category: str, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> NDArray[np.bool_]:
    """Return [N] which orders name another country or city than that of their restaurant.

    Their ID may be that of a restaurant of another company. Orders of London and of Sydney can have the same IDs.
    """
    restaurant_codes = _restaurant_codes(category, restaurant_index, restaurants)
    order_codes = parse_categories(cells, getattr(restaurants.vocabularies, category))
    has_own = ~is_empty_text(cells_as_text(cells))
    differs: NDArray[np.bool_] = has_own & (restaurant_codes != UNKNOWN_CODE) & (order_codes != restaurant_codes)
    return differs


def _infer_opening(
    findings: FindingCollector,
    columns: dict[str, pl.Series],
    restaurant_index: NDArray[np.int64],
    restaurants: RestaurantIndex,
) -> NDArray[np.float64]:
    # An order that was left open overnight carries no information about when its food was ready.
    is_trusted = is_usable(findings.reason_masks, Purpose.EVALUATION)
    ready_local = columns["ready_local"].to_physical().fill_null(0).to_numpy()
    label_seconds = columns[TARGET].fill_null(0).to_numpy()
    city_codes = columns["city"].to_numpy()
    return infer_opening_times(
        restaurants.city,
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
