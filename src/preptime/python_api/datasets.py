"""Orders and restaurants of a command or a function, and the schema that describes them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from preptime.errors import UsageError
from preptime.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    import polars as pl

    from preptime.bundle.store import Store
    from preptime.python_api.dataframes import FrameKind
    from preptime.schema.schema import Schema
    from preptime.sources.source import DataSource
    from preptime.validation.audit import AuditedOrders
    from preptime.validation.restaurants import RestaurantAudit

RowsInput = Any
"""A path, a URL, or a data frame of pandas or Polars. Both libraries are optional, so there is no exact type."""


class SupportsSchema(Protocol):
    """An object with a schema, such as a bundle, or the result of `preptime.infer_schema`."""

    @property
    def schema(self) -> Schema:
        """The schema."""
        ...


SchemaInput: TypeAlias = "Schema | SupportsSchema | str | os.PathLike[str] | None"


@dataclass(frozen=True)
class Dataset:
    """Where the orders and restaurants are, and how they are described."""

    orders: str | pl.DataFrame
    """A location, or rows in memory."""
    restaurants: str | pl.DataFrame | None
    """None, or an empty text: the restaurants are derived from the orders."""
    schema: Schema
    origin: str
    """Where the schema comes from, for messages."""

    @classmethod
    def from_options(cls, orders: str, restaurants: str | None, schema: str | None) -> Dataset:
        """Return the dataset with the schema in the file `schema`, or the default one."""
        from preptime.schema.toml_file import find_schema

        return cls(orders, _restaurants_location(orders, restaurants), *find_schema(schema or ""))

    @classmethod
    def from_inputs(cls, orders: RowsInput, restaurants: RowsInput | None, schema: SchemaInput) -> Dataset:
        """Return the dataset of locations or data frames.

        Raises:
            UsageError: An argument has another type, or the schema is invalid.
        """
        found, origin = find_schema_of(schema)
        location = rows_of(orders, "the orders")
        places = None if restaurants is None else rows_of(restaurants, "the restaurants")
        if places is None and isinstance(location, str):
            places = _restaurants_location(location, None)
        return cls(location, places, found, origin)

    @classmethod
    def of_champion(cls, orders: str, restaurants: str | None, store: Store) -> Dataset:
        """Return the dataset with the schema of the store's champion, or the default one if there is no champion."""
        from preptime.bundle.champion_log import ChampionLog
        from preptime.schema.toml_file import find_schema

        entry = ChampionLog(store).current()
        restaurants = _restaurants_location(orders, restaurants)
        if entry is None:
            return cls(orders, restaurants, *find_schema())
        return cls(orders, restaurants, store.read_manifest(entry.bundle).schema, f"the schema of {entry.bundle}")

    @property
    def orders_location(self) -> str:
        """Where the orders are, or an empty text for rows in memory."""
        return self.orders if isinstance(self.orders, str) else ""

    @property
    def restaurants_location(self) -> str:
        """Where the restaurants are, or an empty text for rows in memory and for derived restaurants."""
        return self.restaurants if isinstance(self.restaurants, str) else ""

    def open_orders(self) -> DataSource:
        """Open the orders. Raises `DataError` if they lack a column that every use needs."""
        from preptime.schema.toml_file import assumed_origin
        from preptime.scoring.score_file import require_scoring_columns

        source = _open(self.orders, self.schema, "the data frame of orders")
        # A schema file without [orders] has the built-in columns, so it has no line to change.
        is_file = self.origin.endswith(".toml")
        origin = assumed_origin(self.schema) if is_file and self.schema.has_take_home_orders else self.origin
        require_scoring_columns(source, origin)
        return source

    def audit_restaurants(self, orders: DataSource | None = None) -> RestaurantAudit:
        """Return the restaurants and what was found in them.

        Without a location, they are derived from `orders`, which are opened if they aren't given.
        """
        from preptime.validation.derived_restaurants import derive_restaurants
        from preptime.validation.restaurants import audit_restaurants

        if self.has_restaurants:
            source = self.open_restaurants()
            return audit_restaurants(source.frame(), source.schema)
        source = orders or self.open_orders()
        return derive_restaurants(source.frame(), source.schema)

    @property
    def has_restaurants(self) -> bool:
        """Whether the restaurants have rows of their own."""
        return bool(self.restaurants) if isinstance(self.restaurants, str) else self.restaurants is not None

    def open_restaurants(self) -> DataSource:
        """Open the restaurants, which the dataset must have. Raises `DataError` if they can't be read."""
        return _open("" if self.restaurants is None else self.restaurants, self.schema, "the data frame of restaurants")

    def audit(
        self, *, need_label: bool | None = True, progress: ProgressCallback = no_progress
    ) -> tuple[AuditedOrders, RestaurantAudit]:
        """Return orders and restaurants with their validation results.

        With `need_label`, the orders are completed orders. With None, they are if any of them has a label.
        """
        from preptime.validation.audit import audit_orders, has_labels
        from preptime.validation.derived_restaurants import derive_restaurants

        progress("Reading the orders", 0.0)
        source = self.open_orders()
        frame = source.frame()
        restaurants = self.audit_restaurants() if self.has_restaurants else derive_restaurants(frame, source.schema)
        audited_orders = audit_orders(
            frame,
            restaurants.index,
            need_label=has_labels(frame, source.schema) if need_label is None else need_label,
            schema=source.schema,
        )
        progress("Reading the orders", 1.0)
        return audited_orders, restaurants


def _open(rows: str | pl.DataFrame, schema: Schema, name: str) -> DataSource:
    if isinstance(rows, str):
        from preptime.sources.registry import open_source

        return open_source(rows, schema)
    from preptime.sources.frames import FrameSource

    return FrameSource(rows, _schema_of_rows(rows, schema), name)


def _schema_of_rows(rows: pl.DataFrame, schema: Schema) -> Schema:
    """Return the schema of rows in memory: the canonical one if only that one fits, as for rows of a database."""
    columns = {*rows.columns}
    for candidate in (schema, schema.canonical()):
        required = candidate.required_columns("scoring").values()
        if columns.issuperset(required):
            return candidate
    return schema


def _restaurants_location(orders: str, restaurants: str | None) -> str | None:
    """Return where the restaurants are. By default, those of orders in a database are in the same database."""
    from preptime.sources.registry import default_restaurants

    return restaurants or default_restaurants(orders) or None


def find_schema_of(schema: SchemaInput) -> tuple[Schema, str]:
    """Return a schema and where it comes from, in words. None: the default one, as for the commands.

    Raises `UsageError` if a file can't be used.
    """
    from preptime.python_api.defaults import default_setting
    from preptime.schema.schema import Schema
    from preptime.schema.toml_file import find_schema

    if schema is None:
        return find_schema(default_setting("schema"))
    if isinstance(schema, str | os.PathLike):
        return find_schema(os.fspath(schema))
    passed = schema if isinstance(schema, Schema) else getattr(schema, "schema", None)
    if not isinstance(passed, Schema):
        raise UsageError(
            f"schema is of type {type(schema).__name__}.",
            "Use a path, a bundle, or the result of preptime.read_schema or preptime.infer_schema.",
        )
    return passed, "the schema that was passed"


def rows_of(rows: RowsInput, subject: str) -> str | pl.DataFrame:
    """Return a location as text, and a data frame as a Polars frame. Raises `UsageError` for another type."""
    from preptime.python_api.dataframes import to_polars

    return os.fspath(rows) if is_location(rows) else to_polars(rows, subject=subject)


def is_location(rows: RowsInput) -> bool:
    """Return whether rows are a path or a URL, and not a data frame."""
    return isinstance(rows, str | Path | os.PathLike)


def kind_of(rows: RowsInput) -> FrameKind:
    """Return the library of the results for an input: that of a data frame, and Polars for a location."""
    from preptime.python_api.dataframes import require_kind

    return "polars" if is_location(rows) else require_kind(rows, "the rows")
