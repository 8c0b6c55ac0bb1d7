"""Read the schema, the orders, and the restaurants of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preptime.cli.output import print_message
from preptime.python_api.datasets import Dataset

if TYPE_CHECKING:
    import datetime as dt

    from preptime.cli.output import Output
    from preptime.features.restaurant_index import RestaurantIndex
    from preptime.sources.source import DataSource
    from preptime.training.training_data import EarlierOrders, TrainingData
    from preptime.validation.audit import AuditedOrders

__all__ = [
    "Dataset",
    "read_completed_orders",
    "read_restaurants",
    "read_training_data",
    "read_training_rows",
]


def read_restaurants(dataset: Dataset, orders: DataSource | None = None) -> RestaurantIndex:
    """Return the usable restaurants, and print what was found in the others."""
    audit = dataset.audit_restaurants(orders)
    print_message(*audit.messages)
    return audit.index


def read_completed_orders(output: Output, dataset: Dataset) -> tuple[AuditedOrders, RestaurantIndex]:
    """Return completed orders with their validation results, and the usable restaurants.

    Prints what was found in the other restaurants.
    """
    audited_orders, restaurants = dataset.audit(need_label=True, progress=output.progress)
    print_message(*restaurants.messages)
    return audited_orders, restaurants.index


def read_training_rows(
    output: Output, dataset: Dataset, corpus: str | None, date: dt.date
) -> tuple[AuditedOrders, RestaurantIndex, EarlierOrders | None]:
    """Return completed orders with their validation results, the restaurants, and the orders before them.

    With `corpus`, all of them are those of a corpus, and the dataset only has the schema.
    """
    from preptime.training.corpus import read_corpus
    from preptime.validation.audit import audit_orders

    if corpus is None:
        return *read_completed_orders(output, dataset), None
    output.progress("Reading the corpus", 0.0)
    found = read_corpus(corpus, date, dataset.schema)
    audited = audit_orders(found.orders, found.restaurants, need_label=True, schema=found.schema)
    output.progress("Reading the corpus", 1.0)
    return audited, found.restaurants, found.earlier


def read_training_data(output: Output, dataset: Dataset) -> TrainingData:
    """Return the completed orders that can be used for fitting, history, or evaluation."""
    from preptime.training.training_data import TrainingData

    return TrainingData.from_orders(*read_completed_orders(output, dataset))
