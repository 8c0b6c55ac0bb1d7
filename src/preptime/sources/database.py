"""The parts that all databases share: addresses, reading by local day, and loading with a merge.

Each database has a folder of its own with an address, a reader, and a staging table. The classes here use them, so that
every database reads and loads in the same way.
"""

from __future__ import annotations

import datetime as dt
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol, Self

import msgspec
import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN, ORDERS_DICTIONARY, RESTAURANTS_DICTIONARY, ROW_COLUMN
from preptime.errors import DataError, UsageError
from preptime.progress import ProgressCallback, no_progress
from preptime.schema.schema import CustomFeature, Schema
from preptime.sources.database_schema import (
    EXTRA,
    FEATURES,
    ORDER_SCHEMA,
    RESTAURANT_COLUMNS,
    encode_extra,
    encode_features,
    feature_types,
    without_nul,
)

ORDERS_TABLE = "orders"
RESTAURANTS_TABLE = "restaurants"
PREDICTIONS_TABLE = "predictions"
TABLE_NAMES = (ORDERS_TABLE, RESTAURANTS_TABLE, PREDICTIONS_TABLE)
"""The tables that an address can name. The first is the default."""


@dataclass(frozen=True)
class DateRange:
    """Local days, first and last included."""

    first: dt.date
    last: dt.date

    @classmethod
    def parse(cls, text: str) -> DateRange:
        """Parse `2015-06-24` or `2015-06-01..2015-06-07`. Raises `UsageError`."""
        first_text, separator, last_text = text.partition("..")
        try:
            return cls(dt.date.fromisoformat(first_text), dt.date.fromisoformat(last_text if separator else first_text))
        except ValueError as error:
            raise UsageError(
                f"day={text} isn't a date or a range of dates.", "Use day=2015-06-24 or day=2015-06-01..2015-06-07."
            ) from error

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"

    def __contains__(self, date: dt.date) -> bool:
        return self.first <= date <= self.last

    def intersection(self, other: DateRange | None) -> DateRange:
        """Return the days in both ranges, or this range without another one."""
        return self if other is None else DateRange(max(self.first, other.first), min(self.last, other.last))


def resolve_table_name(name: str | None) -> str:
    """Return the table that an address names, or the default. Raises `UsageError` for an unknown table."""
    table = name or TABLE_NAMES[0]
    if table not in TABLE_NAMES:
        raise UsageError(f"There is no table={table}.", f"The tables are {', '.join(TABLE_NAMES)}.")
    return table


@dataclass(frozen=True)
class DatabaseAddress(ABC):
    """The address of a table in a database."""

    table: str
    days: DateRange | None
    """The days that the address is limited to, or None for all."""

    @abstractmethod
    def table_url(self, table: str, days: DateRange | None = None) -> str:
        """Return the address of a table of this database, without secrets."""

    def table_url_with_password(self, table: str) -> str:
        """Return the address of a table of this database, with any secrets of the given address. Never show it."""
        return self.table_url(table)

    @property
    def name(self) -> str:
        """The address without secrets, to show and to open again."""
        return self.table_url(self.table, self.days)

    @property
    def database_url(self) -> str:
        """The address of the database without secrets, table, or days."""
        return self.table_url(TABLE_NAMES[0])

    @property
    def shell_quoted_url(self) -> str:
        """The address of the database, quoted for a shell, for commands in hints."""
        return shlex.quote(self.database_url)

    def for_days(self, days: DateRange) -> Self:
        """Return the address of the same table, limited to these days."""
        return replace(self, days=days)


def first_message_line(error: Exception) -> str:
    """Return the first line of an error message without its final period, for use in a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def readable_columns(table: str) -> tuple[str, ...]:
    """Return the columns of a table that is still empty. Raises `UsageError` for a table that isn't a data source."""
    if table == PREDICTIONS_TABLE:
        raise UsageError(
            "Predictions can't be read as orders or restaurants.", "Use table=orders or table=restaurants."
        )
    return tuple(column.name for column in (ORDERS_DICTIONARY if table == ORDERS_TABLE else RESTAURANTS_DICTIONARY))


ColumnNames = Mapping[str, Sequence[str]]
"""The recorded names by table. `orders.features` are the custom features of orders, and so on."""


def feature_names_table(table: str) -> str:
    """Return the name under which the custom features of a table are recorded."""
    return f"{table}.{FEATURES}"


DERIVED_RESTAURANTS = f"{RESTAURANTS_TABLE}.derived"
"""The name under which the columns of restaurants that were derived from orders are recorded."""


def source_columns(address: DatabaseAddress, schema: Schema, recorded: ColumnNames) -> tuple[str, ...]:
    """Return the columns of a table to read: those of the loaded files, and the custom features of the schema.

    A custom feature of orders that isn't required can be missing, as in a file. Raises `DataError` for another one.
    """
    columns, features = recorded[address.table], table_features(address.table, schema)
    if not columns:
        return (*readable_columns(address.table), *(feature.name for feature in features))
    stored_names = recorded[feature_names_table(address.table)]
    _require_features(address, [feature for feature in features if feature.name not in stored_names])
    names = [feature.name for feature in features if feature.name in stored_names]
    return (*(name for name in columns if name not in {feature.name for feature in features}), *names)


def table_features(table: str, schema: Schema) -> tuple[CustomFeature, ...]:
    """Return the custom features of the rows of a table."""
    return schema.order_features if table == ORDERS_TABLE else schema.restaurant_features


def _require_features(address: DatabaseAddress, missing: Sequence[CustomFeature]) -> None:
    required = [feature.name for feature in missing if feature.required or feature.of == "restaurant"]
    if required:
        files = "ORDERS" if address.table == ORDERS_TABLE else "--restaurants RESTAURANTS"
        raise DataError(
            f"{address.name} has no {'feature' if len(required) == 1 else 'features'} {', '.join(required)}, which the "
            "schema declares.",
            f"Load the rows again with the schema: preptime ingest {files} --schema FILE --to "
            f"{address.shell_quoted_url}",
        )


class DatabaseReader(Protocol):
    """One consistent view of a table, whatever is loaded meanwhile."""

    def days(self) -> list[dt.date]:
        """Return the local days that have orders, in order."""
        ...

    def iter_rows(self, day: dt.date | None, chunk_rows: int) -> Iterator[pl.DataFrame]:
        """Yield the orders of a day, or all restaurants without a day, in chunks of at most `chunk_rows`."""
        ...


@dataclass(frozen=True)
class DatabaseSource(ABC):
    """A table of a database as a `preptime.sources.source.DataSource`.

    Orders are sorted by local day, acknowledgement time, and key. Restaurants are sorted by ID.
    """

    default_chunk_rows: ClassVar[int]
    """Rows in a chunk when all rows are read into one frame."""

    address: DatabaseAddress
    columns: tuple[str, ...]
    schema: Schema
    """The schema of the rows. In a database, columns have their canonical names."""

    @property
    def feature_types(self) -> dict[str, pl.DataType]:
        """The type of each custom feature of the rows."""
        return feature_types(table_features(self.address.table, self.schema))

    @property
    def name(self) -> str:
        """The address without secrets."""
        return self.address.name

    def frame(self) -> pl.DataFrame:
        """Return all rows. Raises `DataError` if there are none."""
        return pl.concat(self.batches(self.default_chunk_rows))

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in chunks of at most `rows`, each with rows of one day, as of one point in time.

        Raises `DataError` if there are none.
        """
        is_empty = True
        for chunk in self._chunks(self.address.days, rows):
            is_empty = False
            yield chunk
        if is_empty:
            command_arguments = "ORDERS" if self.address.table == ORDERS_TABLE else "--restaurants RESTAURANTS"
            raise DataError(
                f"{self.name} has no rows.",
                f"To load rows, run: preptime ingest {command_arguments} --to {self.address.shell_quoted_url}",
            )

    def batches_for_dates(self, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the orders of these local days, in chunks, without reading other partitions. There can be no chunk."""
        return self._chunks(DateRange(first, last).intersection(self.address.days), rows)

    def partitions(self) -> tuple[Self, ...]:
        """Return one data source for each day."""
        if self.address.table != ORDERS_TABLE:
            return (self,)
        with self._open_reader() as reader:
            days = _select_days(reader, self.address.days)
        return tuple(replace(self, address=self.address.for_days(DateRange(day, day))) for day in days) or (self,)

    def _chunks(self, selected_days: DateRange | None, rows: int) -> Iterator[pl.DataFrame]:
        with self._open_reader() as reader:
            names: dict[dt.date | None, str] = {None: self.name}
            if self.address.table == ORDERS_TABLE:
                names = {
                    day: self.address.table_url(ORDERS_TABLE, DateRange(day, day))
                    for day in _select_days(reader, selected_days)
                }
            file_names = pl.Enum(list(names.values()))
            for day, name in names.items():
                yield from _number_rows(reader.iter_rows(day, rows), pl.lit(name, file_names).alias(FILE_COLUMN))

    @abstractmethod
    def _open_reader(self) -> AbstractContextManager[DatabaseReader]:
        """Open a connection, and translate its errors to `UsageError`, `DataError`, or `OperationError`."""


def _select_days(reader: DatabaseReader, selected_days: DateRange | None) -> list[dt.date]:
    return [day for day in reader.days() if selected_days is None or day in selected_days]


def _number_rows(chunks: Iterator[pl.DataFrame], file_expr: pl.Expr) -> Iterator[pl.DataFrame]:
    rows_before = 0
    for chunk in chunks:
        yield chunk.with_row_index(ROW_COLUMN, rows_before + 1).with_columns(file_expr)
        rows_before += len(chunk)


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a load. `rows` is the sum of the other counts."""

    rows: int
    """Rows that were delivered and could be stored."""
    inserted: int
    updated: int
    """Existing rows that got new or changed values."""
    unchanged: int
    duplicates: int
    """Rows beyond the first of an order within this delivery."""


class MergeCounts(NamedTuple):
    """The effect of merging a staging table into its table."""

    inserted: int
    updated: int
    duplicates: int = 0

    def to_result(self, rows: int) -> LoadResult:
        """Return the result of a load of `rows` rows."""
        return LoadResult(
            rows=rows,
            inserted=self.inserted,
            updated=self.updated,
            unchanged=rows - sum(self),
            duplicates=self.duplicates,
        )


class NoStorableRowsError(DataError):
    """No row of a delivery could be stored."""

    def __init__(self) -> None:
        super().__init__("No row could be stored.", "Repair the rejected rows and load them again.")


class StagingTable(Protocol):
    """A table that holds the rows of one load until they are merged."""

    def append(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        ...

    def merge_restaurants(self, columns: Sequence[str], names: ColumnNames, *, replace: bool) -> MergeCounts:
        """Insert new restaurants, and record names. With `replace`, replace `columns` of existing ones."""
        ...

    def merge_orders(self, names: ColumnNames, progress: ProgressCallback) -> MergeCounts:
        """Insert new orders, complete existing ones, and record names."""
        ...


@dataclass(frozen=True)
class Database(ABC):
    """A database that `preptime ingest` loads into."""

    address: DatabaseAddress

    @property
    def name(self) -> str:
        """The address without secrets."""
        return self.address.database_url

    @property
    def restaurants(self) -> str:
        """The address of the restaurants, to open as a data source. It can contain a password: never show it."""
        return self.address.table_url_with_password(RESTAURANTS_TABLE)

    @abstractmethod
    def prepare(self) -> tuple[str, ...]:
        """Create or upgrade the tables, and return the names of the applied changes."""

    @abstractmethod
    def recorded_names(self, table: str) -> tuple[str, ...]:
        """Return the recorded names of a table (`ColumnNames`)."""

    def load_restaurants(
        self, restaurants: pl.DataFrame, features: Sequence[str] = (), *, are_derived: bool = False
    ) -> LoadResult:
        """Add or replace these restaurants, all or nothing. Columns that aren't given keep their values.

        `features` are the columns with custom features. Restaurants that were derived from orders are only added.
        """
        declared_columns = [name for name in RESTAURANT_COLUMNS if name in restaurants.columns]
        columns = [name for name in restaurants.columns if name not in features]
        extra_columns = [name for name in columns if name not in declared_columns]
        rows = without_nul(restaurants.select(declared_columns)).with_columns(
            encode_features(restaurants, features), encode_extra(restaurants, extra_columns)
        )
        changed_columns = [*declared_columns, *([FEATURES] if features else []), *([EXTRA] if extra_columns else [])]
        names = {RESTAURANTS_TABLE: columns, feature_names_table(RESTAURANTS_TABLE): features}
        with self._open_staging(RESTAURANTS_TABLE, rows.schema) as staging:
            staging.append(rows)
            counts = staging.merge_restaurants(
                changed_columns,
                names | ({DERIVED_RESTAURANTS: columns} if are_derived else {}),
                replace=not are_derived,
            )
        return counts.to_result(len(rows))

    def load_orders(
        self,
        chunks: Iterable[pl.DataFrame],
        columns: Sequence[str],
        progress: ProgressCallback = no_progress,
        *,
        features: Sequence[str] = (),
    ) -> LoadResult:
        """Add or complete orders, all or nothing, also if `chunks` raises an error.

        Chunks have the columns of `preptime.sources.database_schema.ORDER_SCHEMA`. `columns` are the canonical names of
        the file's columns, and `features` the names of its custom features. Raises `NoStorableRowsError` if there are
        no rows.
        """
        rows = 0
        with self._open_staging(ORDERS_TABLE, ORDER_SCHEMA) as staging:
            for chunk in chunks:
                staging.append(chunk)
                rows += len(chunk)
            if not rows:
                raise NoStorableRowsError
            progress("Merging", 0.0)
            names = {ORDERS_TABLE: columns, feature_names_table(ORDERS_TABLE): features}
            counts = staging.merge_orders(names, progress)
        progress("Merging", 1.0)
        return counts.to_result(rows)

    @abstractmethod
    def _open_staging(self, table: str, schema: pl.Schema) -> AbstractContextManager[StagingTable]:
        """Open an empty staging table for `table`. An error in the block leaves the database unchanged."""
