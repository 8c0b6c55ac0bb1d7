"""The custom features of one order in a request. Their rules are those of `preptime.validation.custom_features`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preptime.api.parsing import number_parser
from preptime.api.request_types import RequestTypes
from preptime.api.schema import FieldDescription, Order
from preptime.domain.cells import MAX_CATEGORY_CHARACTERS, category_codes, category_name
from preptime.domain.orders import UNKNOWN_CODE
from preptime.domain.timestamps import WHITESPACE
from preptime.domain.validation_reasons import ValidationReason
from preptime.features.feature_set import valid_range
from preptime.features.restaurant_index import RestaurantIndex

_MAX_TEXT_BITS = 4096
"""Python refuses to write an integer of thousands of digits as text. No vocabulary has such a category."""
_EXPONENT = re.compile(r"e([+-])0?([0-9]+)$")

FeatureError = tuple[ValidationReason, str, str, object]
"""The reason why an order is invalid, the field of the feature, the expected content, and the value."""


@dataclass(frozen=True, slots=True)
class _Number:
    """A custom number of orders."""

    attribute: str
    field: str
    is_required: bool
    parse: Callable[[object], float | ValidationReason]


@dataclass(frozen=True, slots=True)
class _Category:
    """A custom category, of orders or, without an attribute, of restaurants."""

    attribute: str
    field: str
    is_required: bool
    codes: dict[str, int]
    """By value (`category_name`). Other spellings aren't included."""
    restaurant_codes: NDArray[np.int32] | None
    """[R + 1] the code of every restaurant. The last entry is `UNKNOWN_CODE`."""


@dataclass(frozen=True, slots=True)
class CustomFeatureReader:
    """Reads the custom features of orders for one bundle."""

    numbers: tuple[_Number, ...]
    categories: tuple[_Category, ...]
    fields: dict[str, FieldDescription]
    """The custom features of orders by attribute, in the order of the schema."""

    @classmethod
    def from_restaurants(cls, restaurants: RestaurantIndex, types: RequestTypes) -> CustomFeatureReader:
        """Return the reader for a bundle with these restaurants and vocabularies."""
        features, schema = restaurants.feature_set, types.schema
        names = [feature.name for feature in schema.order_features]
        attributes = dict(zip(names, types.feature_attributes, strict=True))
        return cls(
            tuple(
                _Number(
                    attributes[feature.name],
                    feature.column,
                    feature.required,
                    number_parser(valid_range(feature)[:2], schema.number_format),
                )
                for feature in features.order_numbers
            ),
            _build_categories(restaurants, attributes),
            {name: field for name, field in types.described.items() if name in types.feature_attributes},
        )

    def read(self, order: Order, restaurant_index: int) -> tuple[list[float], list[int], list[str] | None]:
        """Return the numbers, the codes of the categories, and the fields of missing features, if there are some.

        Required features must be valid: see `find_errors`.
        """
        missing: list[str] | None = None
        numbers = []
        for number in self.numbers:
            value = number.parse(getattr(order, number.attribute))
            if type(value) is not float:
                value = math.nan
                missing = [*(missing or ()), number.field]
            numbers.append(value)
        codes = []
        for category in self.categories:
            if category.restaurant_codes is not None:
                codes.append(category.restaurant_codes.item(restaurant_index))
                continue
            cell = getattr(order, category.attribute)
            code = category.codes.get(cell, UNKNOWN_CODE) if type(cell) is str else UNKNOWN_CODE
            if code == UNKNOWN_CODE:
                text = category_text(cell)
                code = category.codes.get(text, UNKNOWN_CODE)
                if not text:
                    missing = [*(missing or ()), category.field]
            codes.append(code)
        return numbers, codes, missing

    def find_errors(self, order: Order) -> list[FeatureError]:
        """Return the required features without a valid value, in the order of the schema."""
        errors = {
            number.attribute: _required_reason(reason)
            for number in self.numbers
            if number.is_required and type(reason := number.parse(getattr(order, number.attribute))) is not float
        }
        errors |= {
            category.attribute: ValidationReason.MISSING_VALUE
            for category in self.categories
            if category.is_required and not category_text(getattr(order, category.attribute))
        }
        return [
            (errors[attribute], field.name, field.expected, getattr(order, attribute))
            for attribute, field in self.fields.items()
            if attribute in errors
        ]


def category_text(cell: object) -> str:
    """Return a JSON value as the text of a category, as a column has it. Null, a list, and an object are missing."""
    if type(cell) is str:
        return category_name(cell.strip(WHITESPACE)[:MAX_CATEGORY_CHARACTERS])
    if type(cell) is bool:
        return "true" if cell else "false"
    if type(cell) is int:
        return str(cell)[:MAX_CATEGORY_CHARACTERS] if cell.bit_length() <= _MAX_TEXT_BITS else "…"
    return category_name(_float_text(cell)) if type(cell) is float else ""


def _float_text(number: float) -> str:
    """Return a number as Polars writes it: `1e-7` and `0.00001`, where Python writes `1e-07` and `1e-05`."""
    text = repr(number)
    if text.endswith("e-05"):
        digits = text[: -len("e-05")].lstrip("-").replace(".", "")
        return f"{'-' if number < 0 else ''}0.0000{digits}"
    return _EXPONENT.sub(r"e\1\2", text)


def _required_reason(reason: float | ValidationReason) -> ValidationReason:
    if reason is ValidationReason.NEGATIVE_VALUE:
        return ValidationReason.OUT_OF_RANGE
    return reason if isinstance(reason, ValidationReason) else ValidationReason.UNPARSABLE_NUMBER


def _build_categories(restaurants: RestaurantIndex, attributes: dict[str, str]) -> tuple[_Category, ...]:
    features = restaurants.feature_set.categories
    owned = [feature for feature in features if feature.of == "restaurant"]
    return tuple(
        _Category(
            attributes.get(feature.name, ""),
            feature.column,
            feature.required and feature.of == "order",
            {name: code for name, code in category_codes(vocabulary).items() if name == category_name(name)},
            _restaurant_codes(restaurants, owned.index(feature)) if feature.of == "restaurant" else None,
        )
        for feature, vocabulary in zip(features, restaurants.vocabularies.custom, strict=True)
    )


def _restaurant_codes(restaurants: RestaurantIndex, position: int) -> NDArray[np.int32]:
    codes = np.full(len(restaurants) + 1, UNKNOWN_CODE, np.int32)
    if restaurants.categories is not None:
        codes[:-1] = restaurants.categories[:, position]
    return codes
