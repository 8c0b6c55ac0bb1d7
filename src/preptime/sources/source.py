"""The interface of data sources, the combination of their files, and an estimate of their size for progress reports.

`tests/sources/test_conformance.py` checks every kind of data source.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl

from preptime.domain.data_dictionary import FILE_COLUMN, order_column
from preptime.errors import DataError
from preptime.formatting import shorten
from preptime.schema.schema import Schema
from preptime.sources.file_format import READ_ERRORS, decompressed_size, read_head, scan_parquet
from preptime.validation.duplicates import order_id_texts
from preptime.validation.restaurant_ids import restaurant_id_texts

_NUMBER_KINDS = frozenset({"integer", "decimal", "float"})


class DataSource(Protocol):
    """Rows to read, in a fixed order.

    Frames have the source's own columns and the reader columns of `preptime.domain.data_dictionary`.
    """

    @property
    def name(self) -> str:
        """The path, or the URL without secrets."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The source's own columns, in order."""
        ...

    @property
    def schema(self) -> Schema:
        """The schema of the rows: a company's own for its files, and the canonical one for databases."""
        ...

    def frame(self) -> pl.DataFrame:
        """Return all rows. Raises `DataError` if there are none."""
        ...

    def batches(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in chunks of at most `rows`, in bounded memory. Raises `DataError` if there are none."""
        ...

    def partitions(self) -> tuple[DataSource, ...]:
        """Return one source for each partition, such as a file, in order. An unpartitioned source returns itself."""
        ...


@runtime_checkable
class SupportsDateRange(Protocol):
    """A source of orders that can read some days without reading the others."""

    def batches_for_dates(self, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
        """Yield the orders of these local days, in chunks of at most `rows`. There can be no chunk."""
        ...


@runtime_checkable
class SupportsPaths(Protocol):
    """A source that reads local files."""

    @property
    def location(self) -> Path:
        """A file, a folder, or a glob."""
        ...

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        ...


def batches_for_dates(source: DataSource, first: dt.date, last: dt.date, rows: int) -> Iterator[pl.DataFrame]:
    """Yield at least the orders of these local days, in chunks of at most `rows`.

    A source that is partitioned by day reads only these days, and can yield no chunk. Any other source yields all its
    rows, and raises `DataError` if it has none. The caller filters the rows by day.
    """
    if isinstance(source, SupportsDateRange):
        return source.batches_for_dates(first, last, rows)
    return source.batches(rows)


def concat_files(source: DataSource, chunks: Iterable[tuple[str, pl.DataFrame]]) -> pl.DataFrame:
    """Return the rows of `source` from chunks, each with the name of its file. Cells keep their meaning.

    Types of one kind get the larger width, and integers with floats become floats. Identifiers of both become text,
    because a float has only 15 digits. Raises `DataError` if a column has other types of different kinds, such as times
    and numbers.
    """
    parts = [*chunks]
    parts = [part for part in parts if len(part[1])] or parts[:1]
    frames = [rows for _, rows in parts]
    schemas = [(file, rows.schema) for file, rows in parts]
    identifiers = _identifier_texts(source.schema)
    for name in dict.fromkeys(name for _, columns in schemas for name in columns):
        types = _types_by_kind(name, schemas)
        if len(types) < 2 or (types.keys() <= _NUMBER_KINDS and name not in identifiers):
            continue
        if not types.keys() <= {*_NUMBER_KINDS, "text"} or name in _measured_columns(source.schema):
            places = [f"{dtype}{f' in {file}' if file else ''}" for file, dtype in types.values()][:2]
            raise _incompatible_types_error(source.name, f"{shorten(name)} is {' and '.join(places)}")
        if name in identifiers:
            frames = [rows.with_columns(identifiers[name](rows[name])) for rows in frames]
    try:
        return pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise _incompatible_types_error(source.name, str(error).splitlines()[0]) from error


def file_of(rows: pl.DataFrame) -> str:
    """Return the file of a chunk of `DataSource.batches`, or an empty text."""
    return str(rows[FILE_COLUMN][0]) if FILE_COLUMN in rows.columns and len(rows) else ""


def _types_by_kind(name: str, schemas: Iterable[tuple[str, pl.Schema]]) -> dict[str, tuple[str, pl.DataType]]:
    """Return the first file with each kind of type of a column, and the type."""
    types: dict[str, tuple[str, pl.DataType]] = {}
    for file, columns in schemas:
        dtype = columns.get(name, pl.Null())
        if dtype != pl.Null:
            types.setdefault(_kind(dtype), (file, dtype))
    return types


def _kind(dtype: pl.DataType) -> str:
    """Return what the cells of a type mean. Types of the same kind differ only in their width."""
    if dtype.is_integer():
        return "integer"
    if dtype.is_float():
        return "float"
    if dtype.is_decimal():
        return "decimal"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "text"
    return f"time {dtype.time_zone}" if isinstance(dtype, pl.Datetime) else str(dtype.base_type())


def _identifier_texts(schema: Schema) -> dict[str, Callable[[pl.Series], pl.Series]]:
    """Return the columns of identifiers, and how each of them becomes text."""
    texts: dict[str, Callable[[pl.Series], pl.Series]] = {
        schema.restaurant_column("restaurant_id"): restaurant_id_texts
    }
    for name, convert in (("order_id", order_id_texts), ("restaurant_id", restaurant_id_texts)):
        if schema.has(name):
            texts[schema.orders[name].column] = convert
    return texts


def _measured_columns(schema: Schema) -> set[str]:
    """Return the columns of numbers and times. As text, they have the format of the schema, so the type matters."""
    numbers = {feature.column for feature in schema.features if feature.type == "number"}
    measured = ("timestamp", "integer", "number")
    return numbers | {
        mapping.column for name, mapping in schema.orders.items() if order_column(name).data_type in measured
    }


def _incompatible_types_error(name: str, types: str) -> DataError:
    """Return an error for partitions whose columns have different types."""
    return DataError(
        f"The partitions of {name} have incompatible column types ({types}).",
        "Write each column with the same type in every partition.",
    )


def estimate_rows(source: DataSource) -> int:
    """Return the number of rows: exact for Parquet, estimated from the first lines for CSV, and 0 for databases."""
    paths = source.paths if isinstance(source, SupportsPaths) else ()
    return sum(_estimate_file_rows(path) for path in paths)


def _estimate_file_rows(path: Path) -> int:
    """Return an estimate, or 0 for a file that can't be read, because reading its rows reports the error."""
    try:
        head = read_head(path)
        if head.startswith(b"PAR1"):
            return int(scan_parquet(path).select(pl.len()).collect().item())
        lines = head.count(b"\n")
        return decompressed_size(path) * lines // len(head) if lines else 1
    except DataError:
        return 0
    except READ_ERRORS:
        return 0
