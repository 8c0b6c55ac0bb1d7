"""Reading orders and restaurants from PostgreSQL, day by day, in bounded memory.

Loading into PostgreSQL: by COPY into a table of this connection's own, then merged in one transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.sources.database import (
    ORDERS_TABLE,
    DatabaseSource,
    DateRange,
    LoadResult,
    NoStorableRowsError,
    readable_columns,
)
from preptime.sources.database_schema import (
    EXTRA,
    ORDER_DATE,
    ORDER_SCHEMA,
    RESTAURANT_COLUMNS,
    encode_extra,
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


class PostgresSource(DatabaseSource[PostgresAddress]):
    """The rows of an address."""

    default_chunk_rows = 250_000

    def _days(self) -> list[dt.date]:
        with open_transaction(self.address) as connection:
            return _list_days(connection, self.address.days)

    def _chunks(self, selected_days: DateRange | None, rows: int) -> Iterator[pl.DataFrame]:
        with open_transaction(self.address) as connection:
            if self.address.table != ORDERS_TABLE:
                yield from self._iter_partition(connection, None, self.name, pl.Enum([self.name]), rows)
                return
            days = {
                day: self.address.table_url(ORDERS_TABLE, DateRange(day, day))
                for day in _list_days(connection, selected_days)
            }
            names = pl.Enum(list(days.values()))
            for day, name in days.items():
                yield from self._iter_partition(connection, day, name, names, rows)

    def _iter_partition(
        self, connection: Connection, day: dt.date | None, file_name: str, file_names: pl.Enum, rows: int
    ) -> Iterator[pl.DataFrame]:
        schema = {column: stored_type(self.address.table, column) for column in self.columns}
        rows_before = 0
        for chunk in copy_out(connection, self._query(day), schema, rows):
            yield chunk.with_row_index(ROW_COLUMN, rows_before + 1).with_columns(
                pl.lit(file_name, file_names).alias(FILE_COLUMN)
            )
            rows_before += len(chunk)

    def _query(self, day: dt.date | None) -> sql.Composed:
        table = self.address.table
        cells = [
            sql.Identifier(name) if is_declared(table, name) else sql.SQL("extra ->> {}").format(sql.Literal(name))
            for name in self.columns
        ]
        query = sql.SQL("SELECT {cells} FROM {table}").format(
            cells=sql.SQL(", ").join(cells), table=sql.Identifier("preptime", table)
        )
        if day is None:
            return query + sql.SQL(" ORDER BY restaurant_id")
        day_filter = sql.SQL(" WHERE {column} = {day} ORDER BY acknowledged_at, order_key")
        return query + day_filter.format(column=sql.Identifier(ORDER_DATE), day=sql.Literal(day))


def _list_days(connection: Connection, selected_days: DateRange | None) -> list[dt.date]:
    return [day for day in partition_dates(connection, ORDERS_TABLE) if selected_days is None or day in selected_days]


def open_postgres_source(url: str) -> PostgresSource:
    """The table at an address. Raises `UsageError`, `DataError` or `OperationError` when it is not there to be read."""
    address = PostgresAddress.parse(url)
    declared = readable_columns(address.table)
    with open_transaction(address) as connection:
        require_current_schema(connection, address)
        columns = read_column_names(connection, address.table)
    return PostgresSource(address, columns or declared)


ProgressCallback = Callable[[str, float], None]

_MEMORY_SETTINGS = (b"SET LOCAL work_mem = '128MB'", b"SET LOCAL temp_buffers = '64MB'")
"""For this transaction alone: the defaults, 4 and 8 MB, sort and join a million orders on disk (a quarter slower)."""
_ORDER_COLUMNS = tuple(ORDER_SCHEMA)
_VALUE_COLUMNS = tuple(name for name in _ORDER_COLUMNS if name != "order_key")
_STAGING_TABLE = sql.Identifier("pg_temp", "staging")


@dataclass(frozen=True)
class PostgresDatabase:
    """The database of an address."""

    address: PostgresAddress

    @property
    def name(self) -> str:
        """Its address without password."""
        return self.address.database_url

    @property
    def restaurants(self) -> str:
        """The address of its restaurants, password and all: it is opened, not shown."""
        return self.address.table_url_with_password("restaurants")

    def prepare(self) -> tuple[str, ...]:
        """Apply the migrations that are missing; their names."""
        return migrate(self.address)

    def load_restaurants(self, restaurants: pl.DataFrame) -> LoadResult:
        """Add or replace these restaurants; of one that is there only the columns that are given change."""
        declared_columns = [name for name in RESTAURANT_COLUMNS if name in restaurants.columns]
        extra_columns = [name for name in restaurants.columns if name not in declared_columns]
        rows = restaurants.select(declared_columns).with_columns(encode_extra(restaurants, extra_columns))
        with open_transaction(self.address, write=True) as connection:
            _acquire_load_lock(connection, None)
            connection.execute("CREATE TEMP TABLE staging (LIKE preptime.restaurants) ON COMMIT DROP")
            copy_in(connection, _STAGING_TABLE, rows)
            columns = [*declared_columns, EXTRA] if extra_columns else declared_columns
            new, updated = _merge_restaurants(connection, columns)
            record_column_names(connection, "restaurants", restaurants.columns)
        return LoadResult(
            rows=len(rows), inserted=new, updated=updated, unchanged=len(rows) - new - updated, duplicates=0
        )

    def load_orders(
        self, chunks: Iterable[pl.DataFrame], columns: Sequence[str], progress: ProgressCallback | None
    ) -> LoadResult:
        """Add or complete orders: everything that `chunks` gives, or nothing."""
        with open_transaction(self.address, write=True) as connection:
            require_current_schema(connection, self.address)
            for setting in _MEMORY_SETTINGS:
                connection.execute(setting)
            connection.execute(
                "CREATE TEMP TABLE staging (LIKE preptime.orders, line bigint GENERATED ALWAYS AS IDENTITY) "
                "ON COMMIT DROP"
            )
            rows = 0
            for chunk in chunks:
                copy_in(connection, _STAGING_TABLE, chunk)
                rows += len(chunk)
            if not rows:
                raise NoStorableRowsError
            if progress:
                progress("Merging", 0.0)
            repeated = _merge_duplicate_rows(connection)
            _acquire_load_lock(connection, progress)
            new, updated = _merge_orders(connection)
            record_column_names(connection, "orders", columns)
        if progress:
            progress("Merging", 1.0)
        unchanged = rows - repeated - new - updated
        return LoadResult(rows=rows, inserted=new, updated=updated, unchanged=unchanged, duplicates=repeated)


def open_postgres_database(url: str) -> PostgresDatabase:
    """The database of an address; nothing is asked of it yet."""
    return PostgresDatabase(PostgresAddress.parse(url))


def _acquire_load_lock(connection: Connection, progress: ProgressCallback | None) -> None:
    """One load at a time: two that bring the same order must not both find that it is new."""
    acquired = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY]).fetchall()[0][0]
    if acquired:
        return
    if progress:
        progress("Waiting for another load", 0.0)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])


def _merge_duplicate_rows(connection: Connection) -> int:
    """Make one row of several of the same order, each cell the last that is not empty; how many rows went."""
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
        connection.execute(
            "DELETE FROM pg_temp.staging USING pg_temp.duplicates WHERE duplicates.order_key = staging.order_key"
        )
        names = _identifier_list(_ORDER_COLUMNS)
        connection.execute(
            sql.SQL("INSERT INTO pg_temp.staging ({names}) SELECT {names} FROM pg_temp.duplicates").format(names=names)
        )
    return duplicate_rows


def _merge_orders(connection: Connection) -> tuple[int, int]:
    """(new, updated)."""
    connection.execute(
        "CREATE TEMP TABLE known ON COMMIT DROP AS SELECT order_key, order_days.order_date AS old_date "
        "FROM pg_temp.staging JOIN preptime.order_days USING (order_key)"
    )
    connection.execute("ANALYZE pg_temp.known")
    old_dates = _query_dates(connection, "SELECT DISTINCT old_date FROM pg_temp.known")
    # A partition may have been dropped, to keep fewer days: its orders are new when they come again.
    connection.execute(
        "DELETE FROM pg_temp.known WHERE NOT EXISTS (SELECT FROM preptime.orders WHERE orders.order_key = "
        "known.order_key AND orders.order_date = known.old_date AND orders.order_date = ANY(%s))",
        [old_dates],
    )
    create_partitions(connection, "orders", _query_dates(connection, "SELECT DISTINCT order_date FROM pg_temp.staging"))
    updated = _update_existing_orders(connection, old_dates)
    new = connection.execute(
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
    return new, updated


def _update_existing_orders(connection: Connection, old_dates: list[dt.date]) -> int:
    """Give the orders that are there, on the days `old`, what is new of them; the rows that changed."""
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
    """An empty cell says nothing: what is known stays."""
    expression = sql.SQL("coalesce(staging.{name}, orders.{name})")
    if name == EXTRA:
        expression = sql.SQL(
            "coalesce(orders.{name} || jsonb_strip_nulls(staging.{name}), staging.{name}, orders.{name})"
        )
    return expression.format(name=sql.Identifier(name))


def _merge_restaurants(connection: Connection, columns: Sequence[str]) -> tuple[int, int]:
    """(new, updated)."""
    values = [name for name in columns if name != "restaurant_id"]
    updated = connection.execute(
        sql.SQL(
            "UPDATE preptime.restaurants SET {values} FROM pg_temp.staging "
            "WHERE restaurants.restaurant_id = staging.restaurant_id AND ({before}) IS DISTINCT FROM ({after})"
        ).format(
            values=sql.SQL(", ").join(
                sql.SQL("{name} = staging.{name}").format(name=sql.Identifier(column)) for column in values
            ),
            before=sql.SQL(", ").join(sql.SQL("restaurants.{}").format(sql.Identifier(name)) for name in values),
            after=sql.SQL(", ").join(sql.SQL("staging.{}").format(sql.Identifier(name)) for name in values),
        )
    ).rowcount
    new = connection.execute(
        sql.SQL(
            "INSERT INTO preptime.restaurants ({names}) SELECT {names} FROM pg_temp.staging "
            "ON CONFLICT (restaurant_id) DO NOTHING"
        ).format(names=_identifier_list(columns))
    ).rowcount
    return new, updated


def _query_dates(connection: Connection, query: str) -> list[dt.date]:
    return [day for (day,) in connection.execute(query.encode()).fetchall() if isinstance(day, dt.date)]


def _identifier_list(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
