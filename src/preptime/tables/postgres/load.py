"""Loading into PostgreSQL: by COPY into a table of this connection's own, then merged in one transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl
from psycopg import sql

from preptime.tables.database import Loaded, NothingToStoreError
from preptime.tables.postgres.address import Address
from preptime.tables.postgres.copying import add_columns, copy_in
from preptime.tables.postgres.migrate import LOCK, migrate, require_current
from preptime.tables.postgres.partitions import make_partitions
from preptime.tables.postgres.session import Connection, connected
from preptime.tables.stored import EXTRA, ORDER_SCHEMA, RESTAURANT_COLUMNS, as_extra

Progress = Callable[[str, float], None]

_MEMORY = (b"SET LOCAL work_mem = '128MB'", b"SET LOCAL temp_buffers = '64MB'")
"""For this transaction alone: the defaults, 4 and 8 MB, sort and join a million orders on disk (a quarter slower)."""
_COLUMNS = tuple(ORDER_SCHEMA)
_VALUES = tuple(name for name in _COLUMNS if name != "order_key")
_STAGING = sql.Identifier("pg_temp", "delivered")


@dataclass(frozen=True)
class PostgresDatabase:
    """The database of an address."""

    address: Address

    @property
    def name(self) -> str:
        """Its address without password."""
        return self.address.database

    @property
    def restaurants(self) -> str:
        """The address of its restaurants, password and all: it is opened, not shown."""
        return self.address.secret_of("restaurants")

    def prepare(self) -> tuple[str, ...]:
        """Apply the migrations that are missing; their names."""
        return migrate(self.address)

    def load_restaurants(self, restaurants: pl.DataFrame) -> Loaded:
        """Add or replace these restaurants; of one that is there only the columns that are given change."""
        given = [name for name in RESTAURANT_COLUMNS if name in restaurants.columns]
        others = [name for name in restaurants.columns if name not in given]
        rows = restaurants.select(given).with_columns(as_extra(restaurants, others))
        with connected(self.address, write=True) as connection:
            _wait_for_others(connection, None)
            connection.execute("CREATE TEMP TABLE delivered (LIKE preptime.restaurants) ON COMMIT DROP")
            copy_in(connection, _STAGING, rows)
            columns = [*given, EXTRA] if others else given
            new, updated = _merge_restaurants(connection, columns)
            add_columns(connection, "restaurants", restaurants.columns)
        return Loaded(rows=len(rows), new=new, updated=updated, unchanged=len(rows) - new - updated, repeated=0)

    def load_orders(self, chunks: Iterable[pl.DataFrame], columns: Sequence[str], progress: Progress | None) -> Loaded:
        """Add or complete orders: everything that `chunks` gives, or nothing."""
        with connected(self.address, write=True) as connection:
            require_current(connection, self.address)
            for setting in _MEMORY:
                connection.execute(setting)
            connection.execute(
                "CREATE TEMP TABLE delivered (LIKE preptime.orders, line bigint GENERATED ALWAYS AS IDENTITY) "
                "ON COMMIT DROP"
            )
            rows = 0
            for chunk in chunks:
                copy_in(connection, _STAGING, chunk)
                rows += len(chunk)
            if not rows:
                raise NothingToStoreError
            if progress:
                progress("Merging", 0.0)
            repeated = _fold_repeated(connection)
            _wait_for_others(connection, progress)
            new, updated = _merge_orders(connection)
            add_columns(connection, "orders", columns)
        if progress:
            progress("Merging", 1.0)
        unchanged = rows - repeated - new - updated
        return Loaded(rows=rows, new=new, updated=updated, unchanged=unchanged, repeated=repeated)


def open_postgres_database(url: str) -> PostgresDatabase:
    """The database of an address; nothing is asked of it yet."""
    return PostgresDatabase(Address.parse(url))


def _wait_for_others(connection: Connection, progress: Progress | None) -> None:
    """One load at a time: two that bring the same order must not both find that it is new."""
    got = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]).fetchall()[0][0]
    if got:
        return
    if progress:
        progress("Waiting for another load", 0.0)
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _fold_repeated(connection: Connection) -> int:
    """Make one row of several of the same order, each cell the last that is not empty; how many rows went."""
    connection.execute("ANALYZE pg_temp.delivered")
    last = sql.SQL(", ").join(
        sql.SQL("(array_agg({name} ORDER BY line DESC) FILTER (WHERE {name} IS NOT NULL))[1] AS {name}").format(
            name=sql.Identifier(name)
        )
        for name in _VALUES
    )
    connection.execute(
        sql.SQL(
            "CREATE TEMP TABLE repeated ON COMMIT DROP AS SELECT order_key, count(*) AS times, {last} "
            "FROM pg_temp.delivered WHERE order_key IN "
            "(SELECT order_key FROM pg_temp.delivered GROUP BY order_key HAVING count(*) > 1) GROUP BY order_key"
        ).format(last=last)
    )
    folded = connection.execute("SELECT coalesce(sum(times - 1), 0) FROM pg_temp.repeated").fetchall()[0][0]
    repeated = int(str(folded))
    if repeated:
        connection.execute(
            "DELETE FROM pg_temp.delivered USING pg_temp.repeated WHERE repeated.order_key = delivered.order_key"
        )
        names = _listed(_COLUMNS)
        connection.execute(
            sql.SQL("INSERT INTO pg_temp.delivered ({names}) SELECT {names} FROM pg_temp.repeated").format(names=names)
        )
    return repeated


def _merge_orders(connection: Connection) -> tuple[int, int]:
    """(new, updated)."""
    connection.execute(
        "CREATE TEMP TABLE known ON COMMIT DROP AS SELECT order_key, order_days.order_date AS old_date "
        "FROM pg_temp.delivered JOIN preptime.order_days USING (order_key)"
    )
    connection.execute("ANALYZE pg_temp.known")
    old = _days(connection, "SELECT DISTINCT old_date FROM pg_temp.known")
    # A partition may have been dropped, to keep fewer days: its orders are new when they come again.
    connection.execute(
        "DELETE FROM pg_temp.known WHERE NOT EXISTS (SELECT FROM preptime.orders WHERE orders.order_key = "
        "known.order_key AND orders.order_date = known.old_date AND orders.order_date = ANY(%s))",
        [old],
    )
    make_partitions(connection, "orders", _days(connection, "SELECT DISTINCT order_date FROM pg_temp.delivered"))
    updated = _complete(connection, old)
    new = connection.execute(
        sql.SQL(
            "INSERT INTO preptime.orders ({names}) SELECT {names} FROM pg_temp.delivered "
            "WHERE NOT EXISTS (SELECT FROM pg_temp.known WHERE known.order_key = delivered.order_key) "
            "ORDER BY order_date, order_key"
        ).format(names=_listed(_COLUMNS))
    ).rowcount
    connection.execute(
        "INSERT INTO preptime.order_days AS days (order_key, order_date) "
        "SELECT order_key, order_date FROM pg_temp.delivered "
        "LEFT JOIN pg_temp.known USING (order_key) WHERE known.old_date IS DISTINCT FROM delivered.order_date "
        "ORDER BY order_key ON CONFLICT (order_key) DO UPDATE SET order_date = EXCLUDED.order_date"
    )
    return new, updated


def _complete(connection: Connection, old: list[dt.date]) -> int:
    """Give the orders that are there, on the days `old`, what is new of them; the rows that changed."""
    pairs = [(sql.Identifier(name), _known_of(name)) for name in _VALUES]
    return connection.execute(
        sql.SQL(
            "UPDATE preptime.orders SET {values} FROM pg_temp.delivered JOIN pg_temp.known USING (order_key) "
            "WHERE orders.order_key = delivered.order_key AND orders.order_date = known.old_date "
            "AND orders.order_date = ANY(%s) AND ({before}) IS DISTINCT FROM ({after})"
        ).format(
            values=sql.SQL(", ").join(sql.SQL("{} = {}").format(name, value) for name, value in pairs),
            before=sql.SQL(", ").join(sql.SQL("orders.{}").format(name) for name, _ in pairs),
            after=sql.SQL(", ").join(value for _, value in pairs),
        ),
        [old],
    ).rowcount


def _known_of(name: str) -> sql.Composable:
    """An empty cell says nothing: what is known stays."""
    both = sql.SQL("coalesce(delivered.{name}, orders.{name})")
    if name == EXTRA:
        both = sql.SQL(
            "coalesce(orders.{name} || jsonb_strip_nulls(delivered.{name}), delivered.{name}, orders.{name})"
        )
    return both.format(name=sql.Identifier(name))


def _merge_restaurants(connection: Connection, columns: Sequence[str]) -> tuple[int, int]:
    """(new, updated)."""
    values = [name for name in columns if name != "restaurant_id"]
    updated = connection.execute(
        sql.SQL(
            "UPDATE preptime.restaurants SET {values} FROM pg_temp.delivered "
            "WHERE restaurants.restaurant_id = delivered.restaurant_id AND ({before}) IS DISTINCT FROM ({after})"
        ).format(
            values=sql.SQL(", ").join(
                sql.SQL("{name} = delivered.{name}").format(name=sql.Identifier(n)) for n in values
            ),
            before=sql.SQL(", ").join(sql.SQL("restaurants.{}").format(sql.Identifier(name)) for name in values),
            after=sql.SQL(", ").join(sql.SQL("delivered.{}").format(sql.Identifier(name)) for name in values),
        )
    ).rowcount
    new = connection.execute(
        sql.SQL(
            "INSERT INTO preptime.restaurants ({names}) SELECT {names} FROM pg_temp.delivered "
            "ON CONFLICT (restaurant_id) DO NOTHING"
        ).format(names=_listed(columns))
    ).rowcount
    return new, updated


def _days(connection: Connection, query: str) -> list[dt.date]:
    return [day for (day,) in connection.execute(query.encode()).fetchall() if isinstance(day, dt.date)]


def _listed(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
