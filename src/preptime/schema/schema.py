"""The schema of a company's orders and restaurants: columns, formats, units, custom features, and the target.

`preptime.schema.toml_file` reads it from `schema.toml`. `TAKE_HOME_SCHEMA` is the default. The keys of a schema are
documented in docs/schema.md, which is generated from `preptime.schema.keys`. In a manifest, defaults are omitted, so
that a new key doesn't change the schema of older bundles.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from preptime.domain.cells import NumberFormat
from preptime.domain.data_dictionary import (
    ORDERS_DICTIONARY,
    RESTAURANTS_DICTIONARY,
    TARGET,
    Column,
    UseCase,
    order_column,
    required_columns,
)
from preptime.domain.time_units import TIME_UNITS, TimeUnit
from preptime.domain.timestamps import TimestampFormat

PREP_TIME = "prep_time"
"""The key of a duration in a schema. Its canonical column is `prep_time_seconds`."""
OPTIONAL_MODEL_COLUMNS = ("order_value", "number_of_items")
"""Columns without which models are trained without their features."""
MAX_RANGE = 1e12
"""The largest absolute value of a custom number, and of the bounds of a range. It fits in a float32."""
FeatureType = Literal["number", "category"]
FeatureOwner = Literal["order", "restaurant"]

DURATION_UNITS = {"ms": (1, 1000), "s": (1, 1), "min": (60, 1), "h": (3600, 1)}
"""Multiplier and divisor to seconds."""
MONEY_UNITS = {"units": (1, 1), "cents": (1, 100), "mills": (1, 1000)}
"""Multiplier and divisor to the currency's unit, such as pounds."""


class SourceDialect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The format of CSV files. `preptime.sources` detects what isn't declared."""

    delimiter: str = ""
    """The character between cells. Empty: detected."""
    decimal: str = "."
    thousands: str = ""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What the models predict, in words for people."""

    name: str = "preparation"
    """Identifies the target. Bundles with different targets are never compared."""
    title: str = "preparation time"
    """A noun for charts and tables, such as `delivery time`."""
    event: str = "ready"
    """What happens at the end, after "the order is", such as `delivered`."""
    unit: str = "min"
    """The unit in which people see it: `s`, `min`, or `h`."""

    @property
    def time_unit(self) -> TimeUnit:
        """The unit with its names."""
        return TIME_UNITS[self.unit]

    @property
    def has_dispatch(self) -> bool:
        """Whether it's the ready time, after which a courier can leave. Only then are there dispatch decisions."""
        return self.event == Target().event


class OrderColumn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The company's column for one canonical column of orders."""

    column: str
    format: str = ""
    """For a timestamp: `strptime` directives."""
    time_zone: str = ""
    """For a timestamp: the time zone of times without an offset."""
    unit: str = ""
    """For a duration, a key of `DURATION_UNITS`. For the order value, a key of `MONEY_UNITS`."""
    currency: str = ""
    """For the order value: its ISO 4217 code."""
    range: tuple[float, float] | None = None
    """The smallest and the largest valid value, in the canonical unit."""


class RestaurantColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The restaurants: columns of their file, and values that apply to all of them."""

    columns: dict[str, str] = {}
    """The company's column for each canonical column that has another name."""
    country: str = ""
    """The country of all restaurants without one of their own."""
    time_zone: str = ""
    """The IANA time zone of all restaurants without one of their own."""


class CustomFeature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An additional column that is known when an order is acknowledged."""

    name: str
    column: str
    type: FeatureType
    of: FeatureOwner = "order"
    unit: str = ""
    range: tuple[float, float] | None = None
    """For a number: the smallest and the largest valid value. A value outside counts as missing."""
    required: bool = False
    """Whether an order without a valid value is rejected, instead of predicted with a missing value."""
    title: str = ""
    """Name for people. Empty: the name with spaces."""

    @property
    def display_name(self) -> str:
        """The name for people."""
        return self.title or self.name.replace("_", " ")


class Ratio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A feature that is one number of an order divided by another.

    Trees compare one feature with a constant, so they need many splits for a ratio such as open orders per courier.
    """

    name: str
    dividend: str
    """A custom number of orders, `order_value`, or `number_of_items`."""
    divisor: str

    @property
    def display_name(self) -> str:
        """The name for people."""
        return self.name.replace("_", " ")


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A custom model, or hyperparameters of a model. Training reads them. They are never part of a bundle's schema."""

    source: str = ""
    """File and class of a custom model, such as `my_models.py:Median3`, relative to the schema file."""
    parameters: dict[str, int | float | str | bool] = {}
    """Hyperparameters that differ from their defaults, by the name of the model's field."""
    origin: str = ""
    """The schema file, for messages and for the folder of `source`. Empty: the working directory."""


class Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A company's schema. Canonical columns are those of `preptime.domain.data_dictionary`.

    Example:
        >>> TAKE_HOME_SCHEMA.column("order_value").source
        'order_value_gbp'
    """

    orders: dict[str, OrderColumn]
    """By canonical name."""
    restaurants: RestaurantColumns = RestaurantColumns()
    features: tuple[CustomFeature, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    source: SourceDialect = SourceDialect()
    target: Target = Target()
    models: dict[str, ModelSettings] = {}
    """Custom models and hyperparameters by model, for training. They don't describe data: schemas that differ only in
    them are equal, and a bundle's schema has none."""

    def __eq__(self, other: object) -> bool:
        """Return whether both describe the same data."""
        if not isinstance(other, Schema):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__struct_fields__ if name != "models")

    def __hash__(self) -> int:
        """Raise `TypeError`. Without a method, dataclasses don't accept a schema as a default value."""
        raise TypeError("A schema can't be hashed: its fields are dictionaries.")

    def without_models(self) -> Schema:
        """Return the schema of a bundle: without `models`."""
        return msgspec.structs.replace(self, models={}) if self.models else self

    def has(self, name: str) -> bool:
        """Return whether orders have a canonical column."""
        return name in self.orders

    def column(self, name: str) -> SchemaColumn:
        """Return a canonical column of orders. Raises `KeyError` if the schema doesn't have it."""
        return schema_column(name, self.orders[name], self.source)

    def required_columns(self, use_case: UseCase) -> dict[str, str]:
        """Return the company's column for each canonical column and order feature that `use_case` requires."""
        required = required_columns(ORDERS_DICTIONARY, use_case)
        columns = {name: self.orders[name].column for name in required if self.has(name)}
        return columns | {feature.name: feature.column for feature in self.order_features if feature.required}

    @property
    def has_take_home_orders(self) -> bool:
        """Whether orders have the columns of the take-home files, by their own names or by their canonical names."""
        return self.orders in (TAKE_HOME_SCHEMA.orders, TAKE_HOME_SCHEMA.canonical().orders)

    @property
    def currency(self) -> str:
        """The ISO code of the currency of order values, or an empty string."""
        return self.orders["order_value"].currency if "order_value" in self.orders else ""

    @property
    def order_features(self) -> tuple[CustomFeature, ...]:
        """The custom features that each order has."""
        return tuple(feature for feature in self.features if feature.of == "order")

    @property
    def restaurant_features(self) -> tuple[CustomFeature, ...]:
        """The custom features of restaurants."""
        return tuple(feature for feature in self.features if feature.of == "restaurant")

    @property
    def number_format(self) -> NumberFormat:
        """How the numbers of custom features are written. Their unit isn't converted."""
        return NumberFormat(decimal=self.source.decimal, thousands=self.source.thousands)

    def restaurant_column(self, name: str) -> str:
        """Return the company's name of a canonical column of the restaurants file."""
        return self.restaurants.columns.get(name, name)

    def canonical(self) -> Schema:
        """Return the schema of the same orders after conversion: in a database, columns have their canonical names.

        Numbers are in canonical units, times are in the grammar of `preptime.domain.timestamps`, and custom features
        have their own names.
        """
        return Schema(
            orders={
                name: OrderColumn(column=name, currency=column.currency, range=column.range)
                for name, column in self.orders.items()
            },
            restaurants=RestaurantColumns(country=self.restaurants.country, time_zone=self.restaurants.time_zone),
            features=tuple(msgspec.structs.replace(feature, column=feature.name) for feature in self.features),
            ratios=self.ratios,
            target=self.target,
        )

    def request_fields(self) -> dict[str, str]:
        """Return the fields of a request: the company's name for each canonical column, and for each order feature.

        The outcome isn't included. Features come last, in the order of the schema.
        """
        fields = {
            column.name: self.orders[column.name].column
            for column in ORDERS_DICTIONARY
            if column.name in self.orders and column.name not in {TARGET, "order_ready_at"}
        }
        return fields | {feature.name: feature.column for feature in self.order_features}


class SchemaColumn(msgspec.Struct, frozen=True):
    """A canonical column of orders as the company writes it."""

    name: str
    """The canonical name."""
    source: str
    """The company's name."""
    declaration: Column
    """Type, range, and meaning in canonical units, with the schema's range."""
    number_format: NumberFormat
    timestamp_format: TimestampFormat
    unit: str
    """The company's unit for people, such as `cents`; empty for the canonical unit."""

    @property
    def minimum(self) -> float | None:
        """The smallest valid value, in the canonical unit."""
        return self.declaration.minimum

    @property
    def maximum(self) -> float | None:
        """The largest valid value, in the canonical unit."""
        return self.declaration.maximum

    @property
    def expected_text(self) -> str:
        """The expected content of a cell, for messages: in the company's format and unit."""
        if self.declaration.data_type == "timestamp":
            return _expected_time(self.declaration, self.timestamp_format)
        if not self.unit or self.minimum is None or self.maximum is None:
            return self.declaration.expected_text
        factor = self.number_format.multiplier / self.number_format.divisor
        return f"a number of {self.unit} from {self.minimum / factor:,.10g} to {self.maximum / factor:,.10g}"


def schema_column(name: str, mapping: OrderColumn, dialect: SourceDialect) -> SchemaColumn:
    """Return a canonical column with the formats and units of a mapping."""
    declaration = order_column(name)
    if mapping.range is not None:
        declaration = declaration.with_range(*mapping.range)
    multiplier, divisor = (DURATION_UNITS if name == TARGET else MONEY_UNITS).get(mapping.unit, (1, 1))
    return SchemaColumn(
        name,
        mapping.column,
        declaration,
        NumberFormat(dialect.decimal, dialect.thousands, mapping.currency, multiplier, divisor),
        TimestampFormat(mapping.format, mapping.time_zone),
        "" if multiplier == divisor else mapping.unit,
    )


def _expected_time(declaration: Column, timestamp_format: TimestampFormat) -> str:
    if not timestamp_format.pattern:
        return declaration.expected_text
    return f"a time between 2000 and 2099 in the format {timestamp_format.pattern}"


TAKE_HOME_SCHEMA = Schema(
    orders={
        column.name: OrderColumn(column=column.built_in_name, currency="GBP" if column.name == "order_value" else "")
        for column in ORDERS_DICTIONARY
    },
)
"""The schema of the take-home exercise's files, and of the demo. It's used if no other schema is given."""

ORDER_NAMES = tuple(column.name for column in ORDERS_DICTIONARY)
RESTAURANT_NAMES = tuple(column.name for column in RESTAURANTS_DICTIONARY)
