"""Read the restaurants into a restaurant index, and find the time zone of each order.

A restaurant with an error, such as an unknown time zone, is left out, counted, and named. The others aren't affected.
The time zone of an order is its restaurant's. For an unknown restaurant, it's the zone of the order's own country, or
else the most common zone of all restaurants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.cells import WHOLE_FLOAT_PATTERN
from preptime.domain.data_dictionary import (
    RESTAURANTS_DICTIONARY,
    ROW_COLUMN,
    find_similar_column,
    require_columns,
    required_columns,
)
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.restaurant_ids import EXPECTED_ID
from preptime.domain.time_zones import resolve_time_zone
from preptime.domain.timestamps import WHITESPACE
from preptime.errors import DataError
from preptime.features.feature_set import FeatureSet, valid_range
from preptime.features.restaurant_index import RestaurantIndex, Vocabularies
from preptime.features.restaurant_names import RestaurantNames
from preptime.formatting import format_count
from preptime.schema.schema import TAKE_HOME_SCHEMA, CustomFeature, Schema
from preptime.schema.toml_file import assumed_origin
from preptime.validation.cell_text import cells_as_text
from preptime.validation.custom_features import category_values
from preptime.validation.parsing import is_empty_text, parse_categories, parse_floats
from preptime.validation.restaurant_ids import ParsedRestaurantIds, parse_restaurant_ids, restaurant_id_texts

RESTAURANT_ATTRIBUTES = ("country", "city", "type_of_food", "time_zone")
"""The canonical columns of restaurants in addition to the identifier."""
EXAMPLE_ZONE_LINES = 'Add two lines to schema.toml: [restaurants] and time_zone = "America/Los_Angeles".'
_MAX_LISTED = 5
_MAX_FINDINGS = 100


class RestaurantFinding(msgspec.Struct, frozen=True):
    """A restaurant that is left out."""

    row: int | None
    """Counted from 1, without the header. None if restaurants are derived from orders."""
    restaurant: str | None
    """Its identifier as text, or None if it has none."""
    problem: str

    @property
    def text(self) -> str:
        """The finding as a part of a sentence, such as `row 7: restaurant_id is empty`."""
        place = [] if self.row is None else [f"row {self.row:,}"]
        if self.restaurant is not None:
            place.append(f"restaurant {self.restaurant!r}")
        return f"{', '.join(place)}: {self.problem}"


@dataclass(frozen=True, slots=True)
class RestaurantAudit:
    """The usable restaurants, and what was found in the others."""

    index: RestaurantIndex
    usable_rows: NDArray[np.intp]
    """The indexes of the usable rows of the input."""
    left_out: int
    """The number of restaurants that are left out."""
    findings: tuple[RestaurantFinding, ...] = ()
    """The first of the restaurants that are left out."""
    notes: tuple[str, ...] = ()
    """Sentences about values that were replaced, or that are missing."""

    @property
    def messages(self) -> tuple[str, ...]:
        """The findings and notes as sentences, for people."""
        return describe_restaurants(self.left_out, self.findings, self.notes)


def describe_restaurants(left_out: int, findings: Sequence[RestaurantFinding], notes: Sequence[str]) -> tuple[str, ...]:
    """Return the findings and notes of an audit as sentences."""
    if not left_out:
        return tuple(notes)
    texts = "; ".join(finding.text for finding in findings[:_MAX_LISTED])
    more = "; …" if left_out > _MAX_LISTED else ""
    return (f"{format_count(left_out, 'restaurant')} left out: {texts}{more}.", *notes)


def read_restaurants(frame: pl.DataFrame, schema: Schema = TAKE_HOME_SCHEMA) -> RestaurantIndex:
    """Return the index of the usable restaurants in a frame. Raises the same errors as `audit_restaurants`."""
    return audit_restaurants(frame, schema).index


def audit_restaurants(frame: pl.DataFrame, schema: Schema = TAKE_HOME_SCHEMA) -> RestaurantAudit:
    """Return the usable restaurants in a frame, and the findings about the others.

    Raises `DataError` for a missing column, for an identifier that appears twice, and if no restaurant is usable.
    """
    _require_restaurant_columns(frame.columns, schema)
    columns = {name: text_column(frame, schema.restaurant_column(name)) for name in RESTAURANT_ATTRIBUTES}
    features = {feature.name: frame[feature.column] for feature in schema.restaurant_features}
    ids = frame[schema.restaurant_column("restaurant_id")]
    return index_restaurants(ids, columns, features, schema, row_numbers=_row_numbers(frame))


def index_restaurants(
    ids: pl.Series,
    attributes: Mapping[str, pl.Series],
    features: Mapping[str, pl.Series],
    schema: Schema,
    *,
    row_numbers: NDArray[np.int64] | None = None,
    notes: Sequence[str] = (),
) -> RestaurantAudit:
    """Return the usable restaurants, from one row for each.

    `attributes` are texts by canonical name (`RESTAURANT_ATTRIBUTES`), null if they are missing. `features` are the
    cells of the schema's custom features of restaurants, by feature name. Raises the errors of `audit_restaurants`.
    """
    parsed, names = parse_restaurant_ids(ids), restaurant_id_texts(ids)
    _require_distinct_ids(parsed, names, row_numbers)
    country = _fill_missing(attributes["country"], schema.restaurants.country)
    zones = _time_zones(country, _fill_missing(attributes["time_zone"], schema.restaurants.time_zone))
    problems = _id_problems(parsed, ids.name).zip_with(
        pl.Series(parsed.unusable, dtype=pl.Boolean), zones.struct.field("problem")
    )
    is_usable = problems.is_null().to_numpy()
    findings = _list_findings(problems, names, row_numbers)
    if not is_usable.any():
        raise _unusable_error(len(ids), findings)
    rows = np.flatnonzero(is_usable)
    rows = rows[np.argsort(parsed.keys[rows])]
    texts = {name: attributes[name].gather(rows) for name in ("city", "type_of_food")} | {
        "country": country.gather(rows),
        "time_zone": zones.struct.field("zone").gather(rows),
    }
    vocabularies = {name: tuple(sorted(texts[name].drop_nulls().unique())) for name in RESTAURANT_ATTRIBUTES}
    codes = {name: _category_codes(texts[name], vocabularies[name]) for name in RESTAURANT_ATTRIBUTES}
    keys = np.ascontiguousarray(parsed.keys[rows])
    cells = {name: values.gather(rows) for name, values in features.items()}
    numbers, number_notes = _read_numbers(cells, schema)
    category_codes, custom_vocabularies = _read_categories(cells, schema)
    index = RestaurantIndex(
        Vocabularies(**vocabularies, custom=custom_vocabularies),
        keys,
        **codes,
        feature_set=FeatureSet.from_schema(schema),
        numbers=numbers,
        categories=category_codes,
        names=RestaurantNames.from_texts(names.gather(rows[keys < 0])),
    )
    left_out = len(ids) - len(rows)
    return RestaurantAudit(index, np.flatnonzero(is_usable), left_out, findings, (*notes, *number_notes))


def text_column(frame: pl.DataFrame, name: str) -> pl.Series:
    """Return a column of names as text, or nulls if it doesn't exist. Only empty text is missing.

    Spaces at both ends are removed, and so is the `.0` of a whole number: the name of market `1.0` is `1`.
    """
    if name not in frame.columns:
        return pl.Series(name, [None] * len(frame), pl.String)
    cells = cells_as_text(frame[name]).str.strip_chars(WHITESPACE)
    cells = cells.set(pl.Series(is_empty_text(cells)), None) if len(cells) else cells
    is_whole = cells.str.contains(WHOLE_FLOAT_PATTERN)
    return cells.zip_with(~is_whole, cells.str.head(-2)) if is_whole.any() else cells


def _fill_missing(cells: pl.Series, value: str) -> pl.Series:
    return cells.fill_null(value) if value else cells


def _require_restaurant_columns(columns: Sequence[str], schema: Schema) -> None:
    """Check the columns of the restaurants file.

    The files of the default schema have all of them. Other schemas need the identifier, mapped columns, and custom
    features. A column that almost has the name of an optional one is an error.
    """
    names: list[str] = ["restaurant_id", *schema.restaurants.columns]
    has_place = bool(schema.restaurants.country or schema.restaurants.time_zone)
    if schema.has_take_home_orders:
        names += [name for name in required_columns(RESTAURANTS_DICTIONARY, "training") if name != "country"]
        names += [] if has_place else ["country"]
    names += [name for name in RESTAURANT_ATTRIBUTES if name not in columns and find_similar_column(name, columns)]
    sources = [schema.restaurant_column(name) for name in names]
    sources += [feature.column for feature in schema.restaurant_features]
    require_columns(columns, [*dict.fromkeys(sources)], "the restaurants file", origin=assumed_origin(schema))
    if not has_place and not {schema.restaurant_column(name) for name in ("country", "time_zone")} & {*columns}:
        raise DataError("The restaurants file has neither a country nor a time zone.", EXAMPLE_ZONE_LINES)


def _require_distinct_ids(parsed: ParsedRestaurantIds, names: pl.Series, row_numbers: NDArray[np.int64] | None) -> None:
    ids, counts = np.unique(parsed.keys[~parsed.unusable], return_counts=True)
    duplicated = ids[counts > 1]
    if not len(duplicated):
        return
    rows = np.flatnonzero(parsed.keys == duplicated[0])
    shown_rows = rows + 1 if row_numbers is None else row_numbers[rows]
    row_list = ", ".join(str(row) for row in shown_rows[:_MAX_LISTED])
    raise DataError(
        f"The restaurants file lists {format_count(len(duplicated), 'restaurant')} more than once "
        f"(restaurant_id {names[int(rows[0])]} in rows {row_list}).",
        "Keep one row for each restaurant.",
    )


def _row_numbers(frame: pl.DataFrame) -> NDArray[np.int64]:
    if ROW_COLUMN in frame.columns:
        return frame[ROW_COLUMN].cast(pl.Int64).to_numpy()
    return np.arange(1, len(frame) + 1)


def _id_problems(parsed: ParsedRestaurantIds, column: str) -> pl.Series:
    """Return [N] what is wrong with each identifier, or null."""
    problems = np.select(
        [parsed.missing, parsed.unusable], [f"{column} is empty", f"{column} isn't {EXPECTED_ID}"], default=""
    )
    texts = pl.Series(problems.tolist(), dtype=pl.String)
    return texts.set(texts == "", None)


def _time_zones(country: pl.Series, time_zone: pl.Series) -> pl.Series:
    """Return [N] `zone`, the IANA name of each restaurant's time zone, and `problem`, why it has none.

    Each distinct pair is resolved once.
    """
    pairs = pl.DataFrame({"country": country, "time_zone": time_zone})
    distinct = pairs.unique(maintain_order=True)
    resolved = [_resolve(pair["country"], pair["time_zone"]) for pair in distinct.iter_rows(named=True)]
    zones = pl.DataFrame(resolved, {"zone": pl.String, "problem": pl.String}, orient="row")
    joined = pairs.join(
        distinct.hstack(zones), on=["country", "time_zone"], how="left", nulls_equal=True, maintain_order="left"
    )
    return joined.select(pl.struct("zone", "problem").alias("zones")).to_series()


def _resolve(country: str | None, time_zone: str | None) -> tuple[str | None, str | None]:
    try:
        return resolve_time_zone(country, time_zone), None
    except DataError as error:
        facts = error.facts.rstrip(".")
        return None, facts[0].lower() + facts[1:]


def _list_findings(
    problems: pl.Series, names: pl.Series, row_numbers: NDArray[np.int64] | None
) -> tuple[RestaurantFinding, ...]:
    return tuple(
        RestaurantFinding(None if row_numbers is None else int(row_numbers[row]), names[row], problems[row])
        for row in problems.is_not_null().arg_true().head(_MAX_FINDINGS).to_list()
    )


def _unusable_error(count: int, findings: Sequence[RestaurantFinding]) -> DataError:
    if not count:
        return DataError("There are no restaurants.", "Add one row for each restaurant.")
    shown = "; ".join(finding.text for finding in findings[:_MAX_LISTED])
    return DataError(
        f"None of {format_count(count, 'restaurant')} can be used: {shown}.",
        f"Give every restaurant {EXPECTED_ID}, and a country with one time zone or a time_zone. {EXAMPLE_ZONE_LINES}",
    )


def _category_codes(texts: pl.Series, vocabulary: tuple[str, ...]) -> NDArray[np.int32]:
    codes = texts.replace_strict(
        list(vocabulary), list(range(len(vocabulary))), default=UNKNOWN_CODE, return_dtype=pl.Int32
    )
    return cast(NDArray[np.int32], codes.to_numpy())


def _read_numbers(cells: Mapping[str, pl.Series], schema: Schema) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the custom numbers of restaurants [R, K], NaN where they are missing, and sentences about them."""
    features = [feature for feature in schema.restaurant_features if feature.type == "number"]
    columns = [_read_number(cells[feature.name], schema, feature) for feature in features]
    notes = []
    for feature, column in zip(features, columns, strict=True):
        missing = int(np.count_nonzero(np.isnan(column)))
        if missing:
            notes.append(
                f"{feature.column}: {missing:,} of {format_count(len(column), 'restaurant')} have no valid number."
            )
    return np.column_stack(columns) if columns else None, tuple(notes)


def _read_number(cells: pl.Series, schema: Schema, feature: CustomFeature) -> NDArray[np.float64]:
    minimum, maximum, _ = valid_range(feature)
    parsed = parse_floats(cells, schema.number_format)
    is_valid = ~parsed.missing & ~parsed.invalid & (parsed.values >= minimum) & (parsed.values <= maximum)
    return np.where(is_valid, parsed.values, np.nan)


def _read_categories(
    cells: Mapping[str, pl.Series], schema: Schema
) -> tuple[NDArray[np.int32] | None, tuple[tuple[str, ...], ...]]:
    """Return the codes of the restaurants' custom categories [R, C], and the vocabularies of all custom categories.

    The vocabularies of orders' categories are empty until a training reads the orders.
    """
    features = FeatureSet.from_schema(schema).categories
    values = {feature.name: category_values(cells[feature.name]) for feature in features if feature.of == "restaurant"}
    vocabularies = {name: tuple(sorted({*texts} - {""})) for name, texts in values.items()}
    codes = [_category_codes(texts, vocabularies[name]) for name, texts in values.items()]
    custom = tuple(vocabularies.get(feature.name, ()) for feature in features)
    return np.column_stack(codes) if codes else None, custom


def order_time_zones(
    orders: pl.DataFrame, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return ([N] indexes, the IANA names that they refer to).

    `restaurant_index` is the index of each order's restaurant, or `UNKNOWN_CODE`.
    """
    zone_names = list(restaurants.vocabularies.time_zone) or ["UTC"]
    zone_codes: NDArray[np.int32] = np.append(restaurants.time_zone, np.int32(restaurants.most_common_time_zone))[
        restaurant_index
    ]
    unknown_rows = np.flatnonzero(restaurant_index == UNKNOWN_CODE)
    if len(unknown_rows) and "country" in orders.columns:
        cells = orders["country"].gather(unknown_rows)
        country_names = restaurants.vocabularies.country
        codes = parse_categories(cells, country_names)
        countries = cells_as_text(cells).str.strip_chars(WHITESPACE)
        for country in countries.drop_nulls().unique():
            rows = np.flatnonzero((countries == country).fill_null(value=False).to_numpy())
            code = codes[rows[0]]
            country_zone = _country_zone(country if code == UNKNOWN_CODE else country_names[code])
            if country_zone is None:
                continue
            if country_zone not in zone_names:
                zone_names.append(country_zone)
            zone_codes[unknown_rows[rows]] = zone_names.index(country_zone)
    return zone_codes, tuple(zone_names)


def _country_zone(country: str) -> str | None:
    try:
        return resolve_time_zone(country, None)
    except DataError:
        return None  # the order's own country is optional: the most common zone is used instead
