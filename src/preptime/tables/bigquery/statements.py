"""Every statement that BigQuery is given, as text. Values go in as parameters."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template

import polars as pl

from preptime.tables.bigquery.address import Address
from preptime.tables.predictions import STORED_SCHEMA as PREDICTIONS
from preptime.tables.stored import EXTRA, ORDER_SCHEMA, RESTAURANT_COLUMNS

_TABLES = ("columns", "restaurants", "orders", "outcomes", "predictions")
LINE = "line"
"""The row's place in what was delivered: the last one of an order counts."""
RESTAURANTS = pl.Schema(RESTAURANT_COLUMNS | {EXTRA: pl.String()})
DELIVERED = pl.Schema(dict(ORDER_SCHEMA) | {LINE: pl.Int64()})
TYPES: tuple[tuple[pl.DataType, str], ...] = (
    (pl.String(), "STRING"),
    (pl.Int64(), "INT64"),
    (pl.Int32(), "INT64"),
    (pl.Float64(), "FLOAT64"),
    (pl.Float32(), "FLOAT64"),
    (pl.Date(), "DATE"),
    (pl.Datetime("us", "UTC"), "TIMESTAMP"),
    (pl.Datetime("us"), "DATETIME"),
)


def type_name(kind: pl.DataType) -> str:
    """BigQuery's name of a type."""
    return next(name for one, name in TYPES if one == kind)


def definitions(address: Address) -> dict[str, str]:
    """The statement that makes each table or view, where it is not there yet."""
    texts = {
        "columns": "CREATE TABLE IF NOT EXISTS $columns "
        "(table_name STRING NOT NULL, position INT64 NOT NULL, column_name STRING NOT NULL)",
        "restaurants": "CREATE TABLE IF NOT EXISTS $restaurants ($of_restaurants)",
        "orders": "CREATE TABLE IF NOT EXISTS $orders ($of_orders) PARTITION BY order_date CLUSTER BY order_key",
        "outcomes": "CREATE OR REPLACE VIEW $outcomes AS SELECT order_key, order_date, acknowledged_at, ready_at, "
        "COALESCE(prep_time_seconds, TIMESTAMP_DIFF(ready_at, acknowledged_at, SECOND)) AS prep_time_seconds "
        "FROM $orders WHERE ready_at IS NOT NULL OR prep_time_seconds IS NOT NULL",
        "predictions": "CREATE TABLE IF NOT EXISTS $predictions ($of_predictions) "
        "PARTITION BY prediction_date CLUSTER BY prediction_bundle",
    }
    columns = {
        "of_restaurants": _columns(RESTAURANTS),
        "of_orders": _columns(ORDER_SCHEMA),
        "of_predictions": _columns(PREDICTIONS),
    }
    return {name: _filled(address, text, **columns) for name, text in texts.items()}


def columns_of(address: Address) -> str:
    """The columns that people have given `@table`, in the order in which they came."""
    return _filled(address, "SELECT column_name FROM $columns WHERE table_name = @table ORDER BY position")


def add_columns(address: Address, count: int) -> str:
    """Remember `@name0` at `@position0` and so on of `@table`."""
    values = ", ".join(f"(@table, @position{place}, @name{place})" for place in range(count))
    return _filled(address, "INSERT INTO $columns (table_name, position, column_name) VALUES $values", values=values)


def days_of(address: Address, table: str, column: str) -> str:
    """The days that a table has rows of."""
    text = "SELECT DISTINCT $column FROM $table ORDER BY $column"
    return _filled(address, text, table=address.path(table), column=column)


def restaurants(address: Address, names: Sequence[str]) -> str:
    """All restaurants, by their ids."""
    return _filled(address, "SELECT $names FROM $restaurants ORDER BY restaurant_id", names=", ".join(names))


def orders(address: Address, names: Sequence[str]) -> str:
    """The orders of `@day` as they were at `@as_of`. The filter is on the partitioning column: others cost nothing."""
    text = (
        "SELECT $names FROM $orders FOR SYSTEM_TIME AS OF @as_of "
        "WHERE order_date = @day ORDER BY acknowledged_at, order_key"
    )
    return _filled(address, text, names=", ".join(names))


def merge_orders(address: Address, staging: str) -> str:
    """Add or complete orders in one atomic statement. Of several rows of an order each cell's last one counts that is
    not empty, and an empty cell says nothing of an order that is there.
    """
    values = [name for name in ORDER_SCHEMA if name != "order_key"]
    text = (
        "MERGE INTO $orders AS T USING (SELECT order_key, $last FROM $staging GROUP BY order_key) AS S "
        "ON T.order_key = S.order_key WHEN MATCHED AND ($changed) THEN UPDATE SET $known "
        "WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    return _filled(
        address,
        text,
        staging=address.path(staging),
        last=_each("ARRAY_AGG($name IGNORE NULLS ORDER BY line DESC LIMIT 1)[SAFE_OFFSET(0)] AS $name", values),
        changed=_each("COALESCE(S.$name, T.$name) IS DISTINCT FROM T.$name", values, " OR "),
        known=_each("$name = COALESCE(S.$name, T.$name)", values),
        names=", ".join(ORDER_SCHEMA),
        given=_each("S.$name", ORDER_SCHEMA.names()),
    )


def merge_restaurants(address: Address, staging: str, names: Sequence[str]) -> str:
    """Add or replace restaurants; of one that is there only the columns `names` change."""
    values = [name for name in names if name != "restaurant_id"]
    text = (
        "MERGE INTO $restaurants AS T USING $staging AS S ON T.restaurant_id = S.restaurant_id "
        "WHEN MATCHED AND ($changed) THEN UPDATE SET $values WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    return _filled(
        address,
        text,
        staging=address.path(staging),
        changed=_each("S.$name IS DISTINCT FROM T.$name", values, " OR "),
        values=_each("$name = S.$name", values),
        names=", ".join(names),
        given=_each("S.$name", names),
    )


def count_repeated(address: Address, staging: str) -> str:
    """How many rows were delivered beyond the first of each order."""
    text = "SELECT COUNT(*) - COUNT(DISTINCT order_key) AS repeated FROM $staging"
    return _filled(address, text, staging=address.path(staging))


def replace_predictions(address: Address, staging: str) -> str:
    """Put what was delivered in the place of `@day` and `@bundle`, in one atomic statement."""
    text = (
        "MERGE INTO $predictions AS T USING $staging AS S ON FALSE WHEN NOT MATCHED BY SOURCE "
        "AND T.prediction_date = @day AND T.prediction_bundle = @bundle THEN DELETE "
        "WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    names = PREDICTIONS.names()
    return _filled(address, text, staging=address.path(staging), names=", ".join(names), given=_each("S.$name", names))


def predictions(address: Address, *, of_bundle: bool) -> str:
    """The predictions of `@day`, of all bundles or of `@bundle`."""
    bundle = " AND prediction_bundle = @bundle" if of_bundle else ""
    text = "SELECT $names FROM $predictions WHERE prediction_date = @day$bundle ORDER BY prediction_bundle, position"
    return _filled(address, text, names=", ".join(PREDICTIONS), bundle=bundle)


def _filled(address: Address, text: str, **parts: str) -> str:
    """A statement with its tables' and columns' names in it: nothing that came from outside."""
    tables = {name: address.path(name) for name in _TABLES}
    return Template(text).substitute(tables | parts)


def _each(text: str, names: Sequence[str], between: str = ", ") -> str:
    return between.join(Template(text).substitute(name=name) for name in names)


def _columns(schema: pl.Schema) -> str:
    return ", ".join(f"{name} {type_name(kind)}" for name, kind in schema.items())
