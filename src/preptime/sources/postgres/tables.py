"""Reading and loading of orders and restaurants in PostgreSQL.

Rows are read by local day with `COPY`, in bounded memory. A load copies its rows to a temporary table and merges them
in one transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import Schema
from preptime.sources.database import (
    ORDERS_TABLE,
    RESTAURANTS_TABLE,
    ColumnNames,
    Database,
    DatabaseSource,
    MergeCounts,
    feature_names_table,
    readable_columns,
    source_columns,
)
from preptime.sources.database_schema import (
    EXTRA,
    FEATURES,
    ORDER_DATE,
    ORDER_SCHEMA,
    RESTAURANT_ID,
    is_declared,
    stored_type,
)
from preptime.sources.postgres.connection import (
    Connection,
    PostgresAddress,
    copy_in,
    copy_out,
    open_transaction,
    read_column_names,
    record_column_names,
)
from preptime.sources.postgres.migrate import (
    SCHEMA_LOCK_KEY,
    create_partitions,
    migrate,
    partition_dates,
    require_current_schema,
)

_MEMORY_SETTINGS = (b"SET LOCAL work_mem = '128MB'", b"SET LOCAL temp_buffers = '64MB'")
"""For one transaction. The defaults, 4 and 8 MB, sort and join a million orders on disk, which takes 25% longer."""
_ORDER_COLUMNS = tuple(ORDER_SCHEMA)
_VALUE_COLUMNS = tuple(name for name in _ORDER_COLUMNS if name != "order_key")
_STAGING_TABLE = sql.Identifier("pg_temp", "staging")


@dataclass(frozen=True)
class PostgresReader:
    """A transaction that reads a table (`preptime.sources.database.DatabaseReader`)."""

    connection: Connection
    table: str
    columns: tuple[str, ...]
    feature_types: Mapping[str, pl.DataType]

    def days(self) -> list[dt.date]:
        """Return the local days that have a partition, in order."""
        return partition_dates(self.connection, ORDERS_TABLE)

    def iter_rows(self, day: dt.date | None, chunk_rows: int) -> Iterator[pl.DataFrame]:
        """Yield the orders of a day, or all restaurants without a day, in chunks of at most `chunk_rows`."""
        schema = {column: stored_type(self.table, column, self.feature_types) for column in self.columns}
        return copy_out(self.connection, self._query(day), schema, chunk_rows)

    def _query(self, day: dt.date | None) -> sql.Composed:
        table = self.table
        query = sql.SQL("SELECT {cells} FROM {table}").format(
            cells=sql.SQL(", ").join(map(self._cell, self.columns)), table=sql.Identifier("preptime", table)
        )
        if day is None:
            return query + sql.SQL(" ORDER BY restaurant_id")
        day_filter = sql.SQL(" WHERE {column} = {day} ORDER BY acknowledged_at, order_key")
        return query + day_filter.format(column=sql.Identifier(ORDER_DATE), day=sql.Literal(day))

    def _cell(self, name: str) -> sql.Composable:
        if is_declared(self.table, name):
            return sql.Identifier(name)
        expression = "extra ->> {name}"
        if name in self.feature_types:  # another schema can have had a feature of another type with this name
            kind, cast = ("number", "::double precision") if self.feature_types[name].is_numeric() else ("string", "")
            is_kind = f"jsonb_typeof(features -> {{name}}) = '{kind}'"
            expression = f"CASE WHEN {is_kind} THEN (features ->> {{name}}){cast} END"
        return sql.SQL(expression).format(name=sql.Literal(name))


@dataclass(frozen=True)
class PostgresSource(DatabaseSource):
    """A table of a PostgreSQL database as a data source."""

    default_chunk_rows = 250_000

    address: PostgresAddress

    @contextmanager
    def _open_reader(self) -> Iterator[PostgresReader]:
        with open_transaction(self.address) as connection:
            yield PostgresReader(connection, self.address.table, self.columns, self.feature_types)


def open_postgres_source(url: str, schema: Schema) -> PostgresSource:
    """Open the table at a URL. Its rows have `schema.canonical()`.

    Raises `UsageError`, `DataError`, or `OperationError` if it can't be read.
    """
    address = PostgresAddress.parse(url)
    readable_columns(address.table)
    with open_transaction(address) as connection:
        require_current_schema(connection, address)
        recorded = {
            table: read_column_names(connection, table) for table in (address.table, feature_names_table(address.table))
        }
    return PostgresSource(address, source_columns(address, schema, recorded), schema.canonical())


@dataclass(frozen=True)
class PostgresStaging:
    """A temporary table of one transaction (`preptime.sources.database.StagingTable`)."""

    connection: Connection

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        copy_in(self.connection, _STAGING_TABLE, rows)

    def merge_restaurants(self, columns: Sequence[str], names: ColumnNames, *, replace: bool) -> MergeCounts:
        """Insert new restaurants, and record names. With `replace`, replace `columns` of existing ones."""
        _acquire_load_lock(self.connection, no_progress)
        features = names[feature_names_table(RESTAURANTS_TABLE)]
        updated = _replace_restaurants(self.connection, columns, features) if replace else 0
        inserted = _insert_restaurants(self.connection, columns)
        self._record(names)
        return MergeCounts(inserted, updated)

    def merge_orders(self, names: ColumnNames, progress: ProgressCallback) -> MergeCounts:
        """Insert new orders, complete existing ones, and record names."""
        duplicates = _merge_duplicate_rows(self.connection)
        _acquire_load_lock(self.connection, progress)
        inserted, updated = _merge_orders(self.connection)
        self._record(names)
        return MergeCounts(inserted, updated, duplicates)

    def _record(self, names: ColumnNames) -> None:
        for table, columns in names.items():
            record_column_names(self.connection, table, columns)


@dataclass(frozen=True)
class PostgresDatabase(Database):
    """A PostgreSQL database to load into."""

    address: PostgresAddress

    def prepare(self) -> tuple[str, ...]:
        """Apply the missing migrations and return their names."""
        return migrate(self.address)

    def recorded_names(self, table: str) -> tuple[str, ...]:
        """Return the recorded names of a table."""
        with open_transaction(self.address) as connection:
            return read_column_names(connection, table)

    @contextmanager
    def _open_staging(self, table: str, schema: pl.Schema) -> Iterator[PostgresStaging]:
        del schema  # the staging table copies the columns of the table
        with open_transaction(self.address, write=True) as connection:
            require_current_schema(connection, self.address)
            for setting in _MEMORY_SETTINGS:
                connection.execute(setting)
            connection.execute(
                sql.SQL(
                    "CREATE TEMP TABLE staging (LIKE {table}, line bigint GENERATED ALWAYS AS IDENTITY) ON COMMIT DROP"
                ).format(table=sql.Identifier("preptime", table))
            )
            yield PostgresStaging(connection)


def open_postgres_database(url: str) -> PostgresDatabase:
    """Return the database at a URL, without connecting to it."""
    return PostgresDatabase(PostgresAddress.parse(url))


def _acquire_load_lock(connection: Connection, progress: ProgressCallback) -> None:
    """Wait for other loads: two loads of the same order must not both find that it's new."""
    acquired = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY]).fetchall()[0][0]
    if not acquired:
        progress("Waiting for another load", 0.0)
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])


def _merge_duplicate_rows(connection: Connection) -> int:
    """Merge rows of the same order, keeping each column's last non-empty value. Returns how many rows were removed."""
    connection.execute("ANALYZE pg_temp.staging")
    last_values = sql.SQL(", ").join(
        sql.SQL("(array_agg({name} ORDER BY line DESC) FILTER (WHERE {name} IS NOT NULL))[1] AS {name}").format(
            name=sql.Identifier(name)
        )
        for name in _VALUE_COLUMNS
    )
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE duplicates ON COMMIT DROP AS SELECT order_key, count(*) AS times, {last} "
            "FROM pg_temp.staging WHERE order_key IN "
            "(SELECT order_key FROM pg_temp.staging GROUP BY order_key HAVING count(*) > 1) GROUP BY order_key"
        ).format(last=last_values)
    )
    removed_rows = connection.execute("SELECT coalesce(sum(times - 1), 0) FROM pg_temp.duplicates").fetchall()[0][0]
    duplicate_rows = int(str(removed_rows))
    if duplicate_rows:
        for name in (FEATURES, EXTRA):
            _merge_duplicate_objects(connection, name)
        connection.execute(
            "DELETE FROM pg_temp.staging USING pg_temp.duplicates WHERE duplicates.order_key = staging.order_key"
        )
        names = _identifier_list(_ORDER_COLUMNS)
        connection.execute(
            sql.SQL("INSERT INTO pg_temp.staging ({names}) SELECT {names} FROM pg_temp.duplicates").format(names=names)
        )
    return duplicate_rows


def _merge_duplicate_objects(connection: Connection, column: str) -> None:
    """In `duplicates`, keep the last non-empty value of each member of a JSON object."""
    connection.execute(
        sql.SQL(
            "UPDATE pg_temp.duplicates SET {column} = merged.object FROM "
            "(SELECT order_key, jsonb_object_agg(key, value ORDER BY line) AS object FROM pg_temp.staging "
            "JOIN pg_temp.duplicates USING (order_key) CROSS JOIN LATERAL jsonb_each(staging.{column}) "
            "WHERE value <> 'null' GROUP BY order_key) AS merged WHERE merged.order_key = duplicates.order_key"
        ).format(column=sql.Identifier(column))
    )


def _merge_orders(connection: Connection) -> tuple[int, int]:
    """Return (inserted, updated)."""
    connection.execute(
        "CREATE TEMP TABLE known ON COMMIT DROP AS SELECT order_key, order_days.order_date AS old_date "
        "FROM pg_temp.staging JOIN preptime.order_days USING (order_key)"
    )
    connection.execute("ANALYZE pg_temp.known")
    old_dates = _query_dates(connection, "SELECT DISTINCT old_date FROM pg_temp.known")
    # A partition can have been dropped to keep fewer days. Its orders are new if they are delivered again.
    connection.execute(
        "DELETE FROM pg_temp.known WHERE NOT EXISTS (SELECT FROM preptime.orders WHERE orders.order_key = "
        "known.order_key AND orders.order_date = known.old_date AND orders.order_date = ANY(%s))",
        [old_dates],
    )
    create_partitions(connection, "orders", _query_dates(connection, "SELECT DISTINCT order_date FROM pg_temp.staging"))
    updated = _update_existing_orders(connection, old_dates)
    inserted = connection.execute(
        sql.SQL(
            "INSERT INTO preptime.orders ({names}) SELECT {names} FROM pg_temp.staging "
            "WHERE NOT EXISTS (SELECT FROM pg_temp.known WHERE known.order_key = staging.order_key) "
            "ORDER BY order_date, order_key"
        ).format(names=_identifier_list(_ORDER_COLUMNS))
    ).rowcount
    connection.execute(
        "INSERT INTO preptime.order_days AS days (order_key, order_date) "
        "SELECT order_key, order_date FROM pg_temp.staging "
        "LEFT JOIN pg_temp.known USING (order_key) WHERE known.old_date IS DISTINCT FROM staging.order_date "
        "ORDER BY order_key ON CONFLICT (order_key) DO UPDATE SET order_date = EXCLUDED.order_date"
    )
    return inserted, updated


def _update_existing_orders(connection: Connection, old_dates: list[dt.date]) -> int:
    """Update existing orders, which are on the days `old_dates`. Returns the number of changed rows."""
    assignments = [(sql.Identifier(name), _coalesced_value(name)) for name in _VALUE_COLUMNS]
    return connection.execute(
        sql.SQL(
            "UPDATE preptime.orders SET {values} FROM pg_temp.staging JOIN pg_temp.known USING (order_key) "
            "WHERE orders.order_key = staging.order_key AND orders.order_date = known.old_date "
            "AND orders.order_date = ANY(%s) AND ({before}) IS DISTINCT FROM ({after})"
        ).format(
            values=sql.SQL(", ").join(sql.SQL("{} = {}").format(name, value) for name, value in assignments),
            before=sql.SQL(", ").join(sql.SQL("orders.{}").format(name) for name, _ in assignments),
            after=sql.SQL(", ").join(value for _, value in assignments),
        ),
        [old_dates],
    ).rowcount


def _coalesced_value(name: str) -> sql.Composable:
    """Return the new value, or the existing one if the new one is empty."""
    expression = "coalesce(staging.{name}, orders.{name})"
    if name in {FEATURES, EXTRA}:
        expression = "coalesce(orders.{name} || jsonb_strip_nulls(staging.{name}), staging.{name}, orders.{name})"
    return sql.SQL(expression).format(name=sql.Identifier(name))


def _replace_restaurants(connection: Connection, columns: Sequence[str], features: Sequence[str]) -> int:
    """Replace values of existing restaurants. Of their custom features, only `features` change."""
    values = {name: sql.SQL("staging.{}").format(sql.Identifier(name)) for name in columns if name != RESTAURANT_ID}
    if not values:
        return 0
    if FEATURES in values:
        expression = (
            "nullif((coalesce(restaurants.features, '{{}}') - {names}::text[]) || coalesce(staging.features, '{{}}'), "
            "'{{}}')"
        )
        values[FEATURES] = sql.SQL(expression).format(names=sql.Literal(list(features)))
    return connection.execute(
        sql.SQL(
            "UPDATE preptime.restaurants SET {values} FROM pg_temp.staging "
            "WHERE restaurants.restaurant_id = staging.restaurant_id AND ({before}) IS DISTINCT FROM ({after})"
        ).format(
            values=sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), value) for name, value in values.items()
            ),
            before=sql.SQL(", ").join(sql.SQL("restaurants.{}").format(sql.Identifier(name)) for name in values),
            after=sql.SQL(", ").join(values.values()),
        )
    ).rowcount


def _insert_restaurants(connection: Connection, columns: Sequence[str]) -> int:
    return connection.execute(
        sql.SQL(
            "INSERT INTO preptime.restaurants ({names}) SELECT {names} FROM pg_temp.staging "
            "ON CONFLICT (restaurant_id) DO NOTHING"
        ).format(names=_identifier_list(columns))
    ).rowcount


def _query_dates(connection: Connection, query: str) -> list[dt.date]:
    return [day for (day,) in connection.execute(query.encode()).fetchall() if isinstance(day, dt.date)]


def _identifier_list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
