"""The custom features of orders: reading them from the company's columns, and their codes.

In audited rows, a custom number is a column of floats in which null means missing. A custom category is a column of
text, in which the empty text means missing.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from preptime.domain.cells import MAX_CATEGORY_CHARACTERS, OTHER_SPELLING_PATTERN, category_codes, category_name
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.timestamps import WHITESPACE
from preptime.domain.validation_reasons import ValidationReason
from preptime.features.feature_set import valid_range
from preptime.features.restaurant_index import RestaurantIndex
from preptime.schema.schema import CustomFeature, Schema
from preptime.validation.cell_text import cells_as_text
from preptime.validation.parsing import parse_floats
from preptime.validation.row_checks import FindingCollector


def feature_column(feature: CustomFeature) -> str:
    """Return the name of a custom feature's column in audited rows."""
    return f"feature.{feature.name}"


def read_custom_features(
    findings: FindingCollector,
    orders: pl.DataFrame,
    schema: Schema,
    restaurant_index: NDArray[np.int64],
    restaurants: RestaurantIndex,
) -> dict[str, pl.Series]:
    """Return the columns of the custom features, by name, without the numbers of restaurants.

    The numbers of restaurants are a part of the history. `restaurant_index` [N] is the position of each restaurant.
    """
    columns = {}
    for feature in schema.order_features:
        columns[feature_column(feature)] = (
            _read_number(findings, orders, schema, feature)
            if feature.type == "number"
            else _read_category(findings, orders, feature)
        )
    owned = [feature for feature in restaurants.feature_set.categories if feature.of == "restaurant"]
    for position, feature in enumerate(owned):
        columns[feature_column(feature)] = _restaurant_values(feature, position, restaurant_index, restaurants)
    return columns


def custom_columns(
    frame: pl.DataFrame, restaurants: RestaurantIndex
) -> tuple[NDArray[np.float64] | None, NDArray[np.int32] | None]:
    """Return the custom numbers [N, K] and the codes of the custom categories [N, C] of audited rows.

    Without custom numbers or categories, they are None. A feature that the rows don't have is missing.
    """
    features = restaurants.feature_set
    numbers = [_numbers(frame, feature) for feature in features.order_numbers]
    codes = [
        _codes(frame, feature, restaurants.vocabularies.custom[position])
        for position, feature in enumerate(features.categories)
    ]
    return np.column_stack(numbers) if numbers else None, np.column_stack(codes) if codes else None


def category_values(cells: pl.Series) -> pl.Series:
    """Return the cells of a category as text, as `category_name` spells it. A missing cell is an empty text."""
    texts = cells_as_text(cells).str.strip_chars(WHITESPACE).str.head(MAX_CATEGORY_CHARACTERS).fill_null("")
    is_other = texts.str.contains(OTHER_SPELLING_PATTERN)
    if not is_other.any():
        return texts
    spellings = texts.filter(is_other).unique()
    return texts.replace(spellings, [category_name(spelling) for spelling in spellings])


def _read_number(findings: FindingCollector, orders: pl.DataFrame, schema: Schema, feature: CustomFeature) -> pl.Series:
    minimum, maximum, expected = valid_range(feature)
    if feature.column not in orders.columns:
        is_missing = np.ones(len(orders), np.bool_)
        values, is_invalid, is_outside = np.zeros(len(orders)), ~is_missing, ~is_missing
    else:
        parsed = parse_floats(orders[feature.column], schema.number_format)
        values, is_missing, is_invalid = parsed.values, parsed.missing, parsed.invalid
        is_outside = ~is_missing & ~is_invalid & ~((values >= minimum) & (values <= maximum))
    required = ValidationReason.MISSING_VALUE, ValidationReason.UNPARSABLE_NUMBER, ValidationReason.OUT_OF_RANGE
    optional = ValidationReason.MISSING_FEATURE, ValidationReason.INVALID_FEATURE, ValidationReason.INVALID_FEATURE
    reasons = required if feature.required else optional
    for reason, is_affected in zip(reasons, (is_missing, is_invalid, is_outside), strict=True):
        findings.add(reason, feature.column, is_affected, expected)
    return pl.Series(values).set(pl.Series(is_missing | is_invalid | is_outside), None)


def _read_category(findings: FindingCollector, orders: pl.DataFrame, feature: CustomFeature) -> pl.Series:
    if feature.column not in orders.columns:
        values = pl.Series([""] * len(orders), dtype=pl.String)
    else:
        values = category_values(orders[feature.column])
    is_missing = (values == "").to_numpy()
    reason = ValidationReason.MISSING_VALUE if feature.required else ValidationReason.MISSING_FEATURE
    findings.add(reason, feature.column, is_missing, "a text")
    return values


def _restaurant_values(
    feature: CustomFeature, position: int, restaurant_index: NDArray[np.int64], restaurants: RestaurantIndex
) -> pl.Series:
    """Return the category of each order's restaurant as text, or an empty text for an unknown restaurant."""
    vocabulary = restaurants.vocabularies.custom[restaurants.feature_set.categories.index(feature)]
    codes = np.full(len(restaurants) + 1, UNKNOWN_CODE, np.int32)
    if restaurants.categories is not None:
        codes[:-1] = restaurants.categories[:, position]
    names = pl.Series([*vocabulary, ""], dtype=pl.String)
    return names.gather(np.where(codes < 0, len(vocabulary), codes)[restaurant_index])


def _numbers(frame: pl.DataFrame, feature: CustomFeature) -> NDArray[np.float64]:
    name = feature_column(feature)
    if name not in frame.columns:
        return np.full(len(frame), np.nan)
    return frame[name].fill_null(np.nan).to_numpy()


def _codes(frame: pl.DataFrame, feature: CustomFeature, vocabulary: tuple[str, ...]) -> NDArray[np.int32]:
    name = feature_column(feature)
    if name not in frame.columns or not vocabulary:
        return np.full(len(frame), UNKNOWN_CODE, np.int32)
    codes = category_codes(vocabulary)
    return frame[name].replace_strict(codes, default=UNKNOWN_CODE, return_dtype=pl.Int32).to_numpy()
