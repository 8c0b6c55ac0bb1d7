"""Read the schema, the orders, and the restaurants of a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from preptime.cli.output import print_message

if TYPE_CHECKING:
    from preptime.bundle.store import Store
    from preptime.cli.output import Output
    from preptime.features.restaurant_index import RestaurantIndex
    from preptime.schema.schema import Schema
    from preptime.sources.source import DataSource
    from preptime.training.training_data import TrainingData
    from preptime.validation.audit import AuditedOrders
    from preptime.validation.restaurants import RestaurantAudit


@dataclass(frozen=True)
class Dataset:
    """Where the orders and restaurants of a command are, and how they are described."""

    orders: str
    restaurants: str | None
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
    def of_champion(cls, orders: str, restaurants: str | None, store: Store) -> Dataset:
        """Return the dataset with the schema of the store's champion, or the default one if there is no champion."""
        from preptime.bundle.champion_log import ChampionLog
        from preptime.schema.toml_file import find_schema

        entry = ChampionLog(store).current()
        restaurants = _restaurants_location(orders, restaurants)
        if entry is None:
            return cls(orders, restaurants, *find_schema())
        return cls(orders, restaurants, store.read_manifest(entry.bundle).schema, f"the schema of {entry.bundle}")

    def open_orders(self) -> DataSource:
        """Open the orders. Raises `DataError` if they lack a column that every use needs."""
        from preptime.scoring.score_file import require_scoring_columns
        from preptime.sources.registry import open_source

        source = open_source(self.orders, self.schema)
        require_scoring_columns(source, self.origin)
        return source

    def audit_restaurants(self, orders: DataSource | None = None) -> RestaurantAudit:
        """Return the restaurants and what was found in them.

        Without a location, they are derived from `orders`, which are opened if they aren't given.
        """
        from preptime.sources.registry import open_source
        from preptime.validation.derived_restaurants import derive_restaurants
        from preptime.validation.restaurants import audit_restaurants

        if self.restaurants:
            source = open_source(self.restaurants, self.schema)
            return audit_restaurants(source.frame(), source.schema)
        source = orders or self.open_orders()
        return derive_restaurants(source.frame(), source.schema)

    def read_restaurants(self, orders: DataSource | None = None) -> RestaurantIndex:
        """Return the usable restaurants, and print what was found in the others."""
        audit = self.audit_restaurants(orders)
        print_message(*audit.messages)
        return audit.index


def _restaurants_location(orders: str, restaurants: str | None) -> str | None:
    """Return where the restaurants are. By default, those of orders in a database are in the same database."""
    from preptime.sources.registry import default_restaurants

    return restaurants or default_restaurants(orders) or None


def read_audited_orders(
    output: Output, dataset: Dataset, *, need_label: bool | None = True
) -> tuple[AuditedOrders, RestaurantAudit]:
    """Return orders and restaurants with their validation results.

    With `need_label`, the orders are completed orders. With None, they are if any of them has a label.
    """
    from preptime.validation.audit import audit_orders, has_labels
    from preptime.validation.derived_restaurants import derive_restaurants

    output.progress("Reading the orders", 0.0)
    source = dataset.open_orders()
    frame = source.frame()
    restaurants = dataset.audit_restaurants() if dataset.restaurants else derive_restaurants(frame, source.schema)
    audited_orders = audit_orders(
        frame,
        restaurants.index,
        need_label=has_labels(frame, source.schema) if need_label is None else need_label,
        schema=source.schema,
    )
    output.progress("Reading the orders", 1.0)
    return audited_orders, restaurants


def read_completed_orders(output: Output, dataset: Dataset) -> tuple[AuditedOrders, RestaurantIndex]:
    """Return completed orders with their validation results, and the usable restaurants.

    Prints what was found in the other restaurants.
    """
    audited_orders, restaurants = read_audited_orders(output, dataset)
    print_message(*restaurants.messages)
    return audited_orders, restaurants.index


def read_training_data(output: Output, dataset: Dataset) -> TrainingData:
    """Return the completed orders that can be used for fitting, history, or evaluation."""
    from preptime.training.training_data import TrainingData

    return TrainingData.from_orders(*read_completed_orders(output, dataset))
