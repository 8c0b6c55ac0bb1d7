"""All SQL statements for BigQuery. Values are passed as query parameters."""

from __future__ import annotations

from collections.abc import Sequence
from string import Template

import polars as pl

from preptime.sources.bigquery.client import BigQueryAddress
from preptime.sources.database_schema import EXTRA, ORDER_SCHEMA, RESTAURANT_COLUMNS
from preptime.sources.predictions import STORED_SCHEMA as PREDICTIONS

_TABLE_NAMES = ("columns", "restaurants", "orders", "outcomes", "predictions")
LINE_NUMBER = "line"
"""The index of a row in its delivery. The last value of an order counts."""
RESTAURANT_SCHEMA = pl.Schema(RESTAURANT_COLUMNS | {EXTRA: pl.String()})
BIGQUERY_TYPES: tuple[tuple[pl.DataType, str], ...] = (
    (pl.String(), "STRING"),
    (pl.Int64(), "INT64"),
    (pl.Int32(), "INT64"),
    (pl.Float64(), "FLOAT64"),
    (pl.Float32(), "FLOAT64"),
    (pl.Date(), "DATE"),
    (pl.Datetime("us", "UTC"), "TIMESTAMP"),
    (pl.Datetime("us"), "DATETIME"),
)


def bigquery_type(data_type: pl.DataType) -> str:
    """Return the name of a type in BigQuery."""
    return next(name for polars_type, name in BIGQUERY_TYPES if polars_type == data_type)


def table_definitions(address: BigQueryAddress) -> dict[str, str]:
    """Return the statement that creates each table or view, by name."""
    texts = {
        "columns": "CREATE TABLE IF NOT EXISTS $columns "
        "(table_name STRING NOT NULL, position INT64 NOT NULL, column_name STRING NOT NULL)",
        "restaurants": "CREATE TABLE IF NOT EXISTS $restaurants ($columns_of_restaurants)",
        "orders": "CREATE TABLE IF NOT EXISTS $orders ($columns_of_orders) "
        "PARTITION BY order_date CLUSTER BY order_key",
        "outcomes": "CREATE OR REPLACE VIEW $outcomes AS SELECT order_key, order_date, acknowledged_at, ready_at, "
        "COALESCE(prep_time_seconds, TIMESTAMP_DIFF(ready_at, acknowledged_at, SECOND)) AS prep_time_seconds "
        "FROM $orders WHERE ready_at IS NOT NULL OR prep_time_seconds IS NOT NULL",
        "predictions": "CREATE TABLE IF NOT EXISTS $predictions ($columns_of_predictions) "
        "PARTITION BY prediction_date CLUSTER BY prediction_bundle",
    }
    columns = {
        "columns_of_restaurants": _column_definitions(RESTAURANT_SCHEMA),
        "columns_of_orders": _column_definitions(ORDER_SCHEMA),
        "columns_of_predictions": _column_definitions(PREDICTIONS),
    }
    return {name: _render(address, text, **columns) for name, text in texts.items()}


def select_column_names(address: BigQueryAddress) -> str:
    """Return the columns of the files that were loaded into `@table`, in the order in which they first appeared."""
    return _render(address, "SELECT column_name FROM $columns WHERE table_name = @table ORDER BY position")


def insert_column_names(address: BigQueryAddress, count: int) -> str:
    """Record `@name0` at `@position0` and so on for `@table`."""
    values = ", ".join(f"(@table, @position{index}, @name{index})" for index in range(count))
    return _render(address, "INSERT INTO $columns (table_name, position, column_name) VALUES $values", values=values)


def select_days(address: BigQueryAddress, table: str, column: str) -> str:
    """Return the days that a table has rows for."""
    text = "SELECT DISTINCT $column FROM $table ORDER BY $column"
    return _render(address, text, table=address.sql_name(table), column=column)


def select_restaurants(address: BigQueryAddress, names: Sequence[str]) -> str:
    """Return all restaurants, sorted by ID."""
    return _render(address, "SELECT $names FROM $restaurants ORDER BY restaurant_id", names=", ".join(names))


def select_orders(address: BigQueryAddress, names: Sequence[str]) -> str:
    """Return the orders of `@day` as of `@as_of`. Only one partition is read, because the filter is on its column."""
    text = (
        "SELECT $names FROM $orders FOR SYSTEM_TIME AS OF @as_of "
        "WHERE order_date = @day ORDER BY acknowledged_at, order_key"
    )
    return _render(address, text, names=", ".join(names))


def merge_orders(address: BigQueryAddress, staging: str) -> str:
    """Add or complete orders in one atomic statement.

    If an order has several rows, the last non-empty value of each column counts. An empty value doesn't change an
    existing one.
    """
    values = [name for name in ORDER_SCHEMA if name != "order_key"]
    text = (
        "MERGE INTO $orders AS T USING (SELECT order_key, $last FROM $staging GROUP BY order_key) AS S "
        "ON T.order_key = S.order_key WHEN MATCHED AND ($changed) THEN UPDATE SET $known "
        "WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    return _render(
        address,
        text,
        staging=address.sql_name(staging),
        last=_join_each("ARRAY_AGG($name IGNORE NULLS ORDER BY line DESC LIMIT 1)[SAFE_OFFSET(0)] AS $name", values),
        changed=_join_each("COALESCE(S.$name, T.$name) IS DISTINCT FROM T.$name", values, " OR "),
        known=_join_each("$name = COALESCE(S.$name, T.$name)", values),
        names=", ".join(ORDER_SCHEMA),
        given=_join_each("S.$name", ORDER_SCHEMA.names()),
    )


def merge_restaurants(address: BigQueryAddress, staging: str, names: Sequence[str]) -> str:
    """Add or replace restaurants. Only the columns `names` of existing ones change."""
    values = [name for name in names if name != "restaurant_id"]
    text = (
        "MERGE INTO $restaurants AS T USING $staging AS S ON T.restaurant_id = S.restaurant_id "
        "WHEN MATCHED AND ($changed) THEN UPDATE SET $values WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    return _render(
        address,
        text,
        staging=address.sql_name(staging),
        changed=_join_each("S.$name IS DISTINCT FROM T.$name", values, " OR "),
        values=_join_each("$name = S.$name", values),
        names=", ".join(names),
        given=_join_each("S.$name", names),
    )


def count_duplicates(address: BigQueryAddress, staging: str) -> str:
    """Count the rows beyond the first of each order."""
    text = "SELECT COUNT(*) - COUNT(DISTINCT order_key) AS duplicates FROM $staging"
    return _render(address, text, staging=address.sql_name(staging))


def replace_predictions(address: BigQueryAddress, staging: str) -> str:
    """Replace the predictions of `@day` and `@bundle` in one atomic statement."""
    text = (
        "MERGE INTO $predictions AS T USING $staging AS S ON FALSE WHEN NOT MATCHED BY SOURCE "
        "AND T.prediction_date = @day AND T.prediction_bundle = @bundle THEN DELETE "
        "WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    names = PREDICTIONS.names()
    return _render(
        address, text, staging=address.sql_name(staging), names=", ".join(names), given=_join_each("S.$name", names)
    )


def select_predictions(address: BigQueryAddress, *, for_bundle: bool) -> str:
    """Return the predictions of `@day`, of all bundles or of `@bundle`."""
    bundle = " AND prediction_bundle = @bundle" if for_bundle else ""
    text = "SELECT $names FROM $predictions WHERE prediction_date = @day$bundle ORDER BY prediction_bundle, position"
    return _render(address, text, names=", ".join(PREDICTIONS), bundle=bundle)


def _render(address: BigQueryAddress, template: str, **parts: str) -> str:
    """Insert names of tables and columns into a statement. User input never goes in here."""
    tables = {name: address.sql_name(name) for name in _TABLE_NAMES}
    return Template(template).substitute(tables | parts)


def _join_each(template: str, names: Sequence[str], separator: str = ", ") -> str:
    return separator.join(Template(template).substitute(name=name) for name in names)


def _column_definitions(schema: pl.Schema) -> str:
    return ", ".join(f"{name} {bigquery_type(data_type)}" for name, data_type in schema.items())
