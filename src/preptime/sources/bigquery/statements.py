"""All SQL statements for BigQuery. Values are passed as query parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Template

import polars as pl

from preptime.sources.bigquery.client import BigQueryAddress
from preptime.sources.database_schema import EXTRA, FEATURES, ORDER_SCHEMA, RESTAURANT_COLUMNS
from preptime.sources.predictions import STORED_SCHEMA as PREDICTIONS

_TABLE_NAMES = ("columns", "restaurants", "orders", "outcomes", "predictions")
SERVER_TIME = "SELECT CURRENT_TIMESTAMP() AS server_time"
LINE_NUMBER = "line"
"""The index of a row in its delivery. The last value of an order counts."""
RESTAURANT_SCHEMA = pl.Schema(RESTAURANT_COLUMNS | {FEATURES: pl.String(), EXTRA: pl.String()})
_UPGRADED_TABLES = {"restaurants": RESTAURANT_SCHEMA, "orders": ORDER_SCHEMA, "predictions": PREDICTIONS}
_PARTITIONS = {
    "restaurants": "",
    "orders": "PARTITION BY order_date CLUSTER BY order_key",
    "predictions": "PARTITION BY prediction_date CLUSTER BY prediction_bundle",
}
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
        "orders": "CREATE TABLE IF NOT EXISTS $orders ($columns_of_orders) " + _PARTITIONS["orders"],
        "outcomes": "CREATE OR REPLACE VIEW $outcomes AS SELECT order_key, order_date, acknowledged_at, ready_at, "
        "COALESCE(prep_time_seconds, TIMESTAMP_DIFF(ready_at, acknowledged_at, SECOND)) AS prep_time_seconds "
        "FROM $orders WHERE ready_at IS NOT NULL OR prep_time_seconds IS NOT NULL",
        "predictions": "CREATE TABLE IF NOT EXISTS $predictions ($columns_of_predictions) "
        + _PARTITIONS["predictions"],
    }
    columns = {
        "columns_of_restaurants": _column_definitions(RESTAURANT_SCHEMA),
        "columns_of_orders": _column_definitions(ORDER_SCHEMA),
        "columns_of_predictions": _column_definitions(PREDICTIONS),
    }
    return {name: _render(address, text, **columns) for name, text in texts.items()}


def rename_recorded_column(address: BigQueryAddress) -> str:
    """Rename the recorded column `@old` of orders to `@new`."""
    return _render(address, "UPDATE $columns SET column_name = @new WHERE table_name = 'orders' AND column_name = @old")


def upgrade_table(address: BigQueryAddress, table: str) -> str:
    """Rewrite a table whose restaurant identifiers are integers, in one atomic statement.

    Identifiers become text, and `order_value_gbp` becomes `order_value`. In `extra`, an undeclared column with the new
    name gets another one. The column `features` is new.
    """
    schema = _UPGRADED_TABLES[table]
    cells = {name: name for name in schema} | {"restaurant_id": "CAST(restaurant_id AS STRING) AS restaurant_id"}
    if FEATURES in schema:
        cells[FEATURES] = f"CAST(NULL AS JSON) AS {FEATURES}"
    if "order_value" in schema:
        cells["order_value"] = "order_value_gbp AS order_value"
        cells[EXTRA] = f"REPLACE({EXTRA}, '\"order_value\":', '\"order_value_other\":') AS {EXTRA}"
    text = "CREATE OR REPLACE TABLE $table ($definitions) $partitions AS SELECT $cells FROM $table"
    return _render(
        address,
        text,
        table=address.sql_name(table),
        definitions=_column_definitions(schema),
        partitions=_PARTITIONS[table],
        cells=", ".join(cells.values()),
    )


def select_column_names(address: BigQueryAddress) -> str:
    """Return the columns of the files that were loaded into `@table`, in the order in which they first appeared.

    Each name is returned once. Earlier releases recorded the names of two concurrent first loads twice.
    """
    text = (
        "SELECT column_name FROM $columns WHERE table_name = @table "
        "GROUP BY column_name ORDER BY MIN(position), column_name"
    )
    return _render(address, text)


def insert_column_names(address: BigQueryAddress, count: int) -> str:
    """Record `@name0` at `@position0` and so on for `@table`, unless a concurrent load has recorded them."""
    rows = ["SELECT @table AS table_name, @position0 AS position, @name0 AS column_name"]
    rows += [f"SELECT @table, @position{index}, @name{index}" for index in range(1, count)]
    text = (
        "MERGE INTO $columns AS T USING ($rows) AS S "
        "ON T.table_name = S.table_name AND T.column_name = S.column_name "
        "WHEN NOT MATCHED THEN INSERT (table_name, position, column_name) "
        "VALUES (S.table_name, S.position, S.column_name)"
    )
    return _render(address, text, rows=" UNION ALL ".join(rows))


def select_days(address: BigQueryAddress, table: str, column: str) -> str:
    """Return the days that a table has rows for."""
    text = "SELECT DISTINCT $column FROM $table ORDER BY $column"
    return _render(address, text, table=address.sql_name(table), column=column)


def select_restaurants(address: BigQueryAddress, names: Sequence[str]) -> str:
    """Return all restaurants, sorted by ID."""
    text = "SELECT $names FROM $restaurants ORDER BY restaurant_id"
    return _render(address, text, names=", ".join(map(_selected, names)))


def select_orders(address: BigQueryAddress, names: Sequence[str]) -> str:
    """Return the orders of `@day` as of `@as_of`. Only one partition is read, because the filter is on its column."""
    text = (
        "SELECT $names FROM $orders FOR SYSTEM_TIME AS OF @as_of "
        "WHERE order_date = @day ORDER BY acknowledged_at, order_key"
    )
    return _render(address, text, names=", ".join(map(_selected, names)))


def merge_orders(address: BigQueryAddress, staging: str, features: Sequence[str]) -> str:
    """Add or complete orders in one atomic statement.

    If an order has several rows, the last non-empty value of each column counts. An empty value doesn't change an
    existing one. `features` are the names of the custom features of the delivery.
    """
    values = {name: f"COALESCE(S.{name}, T.{name})" for name in ORDER_SCHEMA if name != "order_key"}
    if features:
        members = "COALESCE(JSON_QUERY($new, '$$.$name'), JSON_QUERY(T.features, '$$.$name'))"
        values[FEATURES] = _changed_features(features, members)
    else:
        values[FEATURES] = f"T.{FEATURES}"
    text = (
        "MERGE INTO $orders AS T USING (SELECT order_key, $last FROM $staging GROUP BY order_key) AS S "
        "ON T.order_key = S.order_key WHEN MATCHED AND ($changed) THEN UPDATE SET $known "
        "WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    last = "ARRAY_AGG($name IGNORE NULLS ORDER BY line DESC LIMIT 1)[SAFE_OFFSET(0)] AS $name"
    return _render(
        address,
        text,
        staging=address.sql_name(staging),
        last=_join_each(last, list(values)),
        changed=_differences(values),
        known=_assignments(values),
        names=", ".join(ORDER_SCHEMA),
        given=", ".join(map(_delivered, ORDER_SCHEMA)),
    )


def merge_restaurants(
    address: BigQueryAddress, staging: str, names: Sequence[str], features: Sequence[str], *, replace: bool
) -> str:
    """Add restaurants. With `replace`, existing ones get the columns `names` and the custom features `features`."""
    values = {name: f"S.{name}" for name in names if name != "restaurant_id"} if replace else {}
    if FEATURES in values:
        values[FEATURES] = _changed_features(features, "JSON_QUERY($new, '$$.$name')")
    text = (
        "MERGE INTO $restaurants AS T USING $staging AS S ON T.restaurant_id = S.restaurant_id ${update}"
        "WHEN NOT MATCHED THEN INSERT ($names) VALUES ($given)"
    )
    update = f"WHEN MATCHED AND ({_differences(values)}) THEN UPDATE SET {_assignments(values)} " if values else ""
    return _render(
        address,
        text,
        staging=address.sql_name(staging),
        update=update,
        names=", ".join(names),
        given=", ".join(map(_delivered, names)),
    )


_NEW_FEATURES = f"PARSE_JSON(S.{FEATURES}, wide_number_mode => 'round')"


def _delivered(name: str) -> str:
    """Return the value of a column in the staging table, in which JSON is text."""
    return _NEW_FEATURES if name == FEATURES else f"S.{name}"


def _selected(name: str) -> str:
    return f"TO_JSON_STRING({FEATURES}) AS {FEATURES}" if name == FEATURES else name


def _changed_features(features: Sequence[str], member: str) -> str:
    """Return the custom features after a merge. Those that aren't in `features`, the names of a schema, don't change.

    `member` is a template of the value of one of them.
    """
    members = ", ".join(f"'$.{name}', {Template(member).substitute(name=name, new=_NEW_FEATURES)}" for name in features)
    changed = f"JSON_STRIP_NULLS(JSON_SET(COALESCE(T.{FEATURES}, JSON '{{}}'), {members}))"
    return f"IF(TO_JSON_STRING({changed}) = '{{}}', NULL, {changed})"


def _differences(values: Mapping[str, str]) -> str:
    # JSON values can't be compared.
    pairs = {
        name: (f"TO_JSON_STRING({value})", f"TO_JSON_STRING(T.{name})") if name == FEATURES else (value, f"T.{name}")
        for name, value in values.items()
    }
    return " OR ".join(f"{new} IS DISTINCT FROM {old}" for new, old in pairs.values())


def _assignments(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


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


def select_log_entries(address: BigQueryAddress) -> str:
    """Return the prediction log of the UTC days from `@day0` to `@day1`, each entry once, in its order.

    A sink can deliver an entry twice. Other lines of standard output have no request.
    """
    text = (
        "SELECT jsonPayload.time AS time, jsonPayload.bundle AS bundle, jsonPayload.orders AS orders, "
        "jsonPayload.response AS response FROM $table "
        "WHERE DATE(timestamp) BETWEEN @day0 AND @day1 AND jsonPayload.request_id IS NOT NULL "
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY jsonPayload.request_id, jsonPayload.part ORDER BY timestamp) = 1 "
        "ORDER BY jsonPayload.time, jsonPayload.request_id, jsonPayload.part"
    )
    return _render(address, text, table=address.sql_name(address.table))


def _render(address: BigQueryAddress, template: str, **parts: str) -> str:
    """Insert names of tables and columns into a statement. User input never goes in here."""
    tables = {name: address.sql_name(name) for name in _TABLE_NAMES}
    return Template(template).substitute(tables | parts)


def _join_each(template: str, names: Sequence[str]) -> str:
    return ", ".join(Template(template).substitute(name=name) for name in names)


def _column_definitions(schema: pl.Schema) -> str:
    types = {name: "JSON" if name == FEATURES else bigquery_type(data_type) for name, data_type in schema.items()}
    return ", ".join(f"{name} {data_type}" for name, data_type in types.items())
