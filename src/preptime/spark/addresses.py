"""Where the rows of a Spark command are: Parquet files, a table of the catalog, or a table of BigQuery.

    orders/                                      Parquet files: a file, a folder, or a glob, here or at gs://…
    table:shop.orders                            a table of Spark's catalog, such as Hive or Iceberg
    bigquery:my-project.shop.orders              a table of BigQuery, through Spark's connector

Spark reads the schema of one Parquet file and fills columns that another file lacks with nulls. `read_rows` therefore
compares the columns of all files first, and refuses what `preptime score` refuses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from preptime.domain.data_dictionary import READER_COLUMNS
from preptime.errors import DataError, UsageError
from preptime.formatting import join_names, shorten
from preptime.redaction import has_secret, redact_address, remember_secrets
from preptime.sources.files import NULL_PARTITION, partition_values
from preptime.spark.failures import decoded_path, spark_errors
from preptime.spark.parquet_files import ParquetFile, is_pattern, list_parquet_files, parquet_reader, read_footers
from preptime.spark.session import split_by_rows

AddressKind = Literal["parquet", "table", "bigquery"]

_PREFIXES: dict[str, AddressKind] = {"table": "table", "bigquery": "bigquery"}
_BIGQUERY_TABLE = re.compile(r"[\w:.-]+\.\w+\.[\w$-]+")
_CATALOG_TABLE = re.compile(r"[^.\s]+(\.[^.\s]+){0,3}")
_DATABASE_SCHEMES = {"postgresql", "postgres", "bigquery", "mysql", "jdbc", "logging"}
_INT96 = re.compile(r"^int96\b|(?:required|optional|repeated) int96\b")
_INVALID_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PLAIN_FOLDER = re.compile(r"[\w.:=-]*", re.ASCII)
"""Names without escapes, also in a URL."""
_HINT = "Use a path of Parquet files, table:CATALOG.NAME, or bigquery:PROJECT.DATASET.TABLE."


@dataclass(frozen=True, slots=True)
class Address:
    """The location of a table for Spark."""

    kind: AddressKind
    location: str
    """A path or URL, the name of a table, or `PROJECT.DATASET.TABLE`. It contains no secret."""

    @property
    def text(self) -> str:
        """The address as it was given."""
        return self.location if self.kind == "parquet" else f"{self.kind}:{self.location}"

    @property
    def has_row_order(self) -> bool:
        """Whether its rows have an order, by file and row. Tables have none."""
        return self.kind == "parquet"


def parse_address(text: str) -> Address:
    """Return the address in a text. A local path becomes absolute, because workers run in other folders.

    Raises `UsageError` for an address that Spark commands don't read.

    Example:
        >>> parse_address("table:shop.orders")
        Address(kind='table', location='shop.orders')
    """
    remember_secrets(text)
    if has_secret(text):
        raise UsageError(f"The address {redact_address(text)} isn't supported.", _HINT)
    prefix, separator, rest = text.partition(":")
    if separator and not rest.startswith("//") and prefix in _PREFIXES:
        return _parse_table(_PREFIXES[prefix], rest)
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in _DATABASE_SCHEMES:
        hint = "Use bigquery:PROJECT.DATASET.TABLE." if scheme.lower() == "bigquery" else "Export it to Parquet files."
        raise UsageError(f"Spark commands don't read {redact_address(text)}.", hint)
    if text.lower().endswith((".csv", ".csv.gz", ".tsv", ".txt", ".json", ".xlsx")):
        raise UsageError(f"Spark commands don't read {text}.", "Write the rows as Parquet files first.")
    if "**" in text:
        raise UsageError(f"Spark doesn't support ** in {text}.", "Use a folder: all Parquet files below it are read.")
    if not text.strip():
        raise UsageError("The address is empty.", _HINT)
    return Address("parquet", text if separator else str(Path(text).absolute()))


def is_spark_only(text: str) -> bool:
    """Return whether only Spark reads the rows at an address: tables, and URLs of files.

    Example:
        >>> is_spark_only("gs://bucket/restaurants"), is_spark_only("restaurants.csv")
        (True, False)
    """
    scheme, separator, _ = text.partition("://")
    if separator:
        return scheme.lower() not in {*_DATABASE_SCHEMES, "file"}
    return text.partition(":")[0] in _PREFIXES


def _parse_table(kind: AddressKind, name: str) -> Address:
    pattern = _BIGQUERY_TABLE if kind == "bigquery" else _CATALOG_TABLE
    if not pattern.fullmatch(name):
        expected = "PROJECT.DATASET.TABLE" if kind == "bigquery" else "CATALOG.NAME"
        raise UsageError(f"{kind}:{name} doesn't name a table; expected {kind}:{expected}.", _HINT)
    return Address(kind, name)


def read_rows(session: Any, address: Address) -> Any:
    """Return the rows at an address as a DataFrame of Spark. Nothing but the footers of Parquet files is read yet.

    For Parquet, `_metadata.file_path` and `_metadata.row_index` identify each row. Splits have about `TASK_ROWS` rows.

    Raises:
        DataError: There is no file or table, a file is damaged or can't be read by Spark, or a file has other columns
            or other types than the first one.
    """
    with spark_errors(f"Reading {address.text}"):
        if address.kind == "table":
            frame = session.table(address.location)
        elif address.kind == "bigquery":
            frame = session.read.format("bigquery").load(address.location)
        else:
            frame = _read_parquet(session, address.location)
        check_names(frame.columns, address.text)
        return frame


def check_names(names: list[str], subject: str) -> None:
    """Raise `DataError` if columns have the same name, or a name that is reserved for reader columns."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{subject} has the column {join_names(repeated)} more than once.", "Give each column a unique name."
        )
    reserved = [name for name in names if name in READER_COLUMNS]
    if reserved:
        raise DataError(f"{subject} has the column {join_names(reserved)}, which is reserved.", "Rename the column.")


def _read_parquet(session: Any, location: str) -> Any:
    listed = list_parquet_files(session, location)
    # A file of 0 bytes has no rows, as on one machine.
    files = read_footers(session, [file for file in listed if file.size_bytes] or listed)
    _check_types(files[0])
    for file in files[1:]:
        _check_same_columns(files[0], file)
    _check_folders(files)
    split_by_rows(session, sum(file.size_bytes for file in files), sum(file.rows for file in files))
    schema = parquet_reader(session).parquet(files[0].status.getPath().toString()).schema
    reader = parquet_reader(session, is_pattern=is_pattern(session, location)).schema(schema)
    frame = reader.parquet(location)
    _check_same_files(frame, listed)
    return _with_partitions(frame, files)


def _with_partitions(frame: Any, files: list[ParquetFile]) -> Any:
    """Return the rows with the columns in the names of folders, as `partition_values` of one machine reads them.

    Spark's own columns differ: they replace columns of the files, and non-ASCII characters are wrong.
    """
    from pyspark.sql import functions

    path, columns = functions.col("_metadata.file_path"), []
    for name, place in files[0].partitions.items():
        folder = functions.substring_index(functions.substring_index(path, "/", -place - 1), "/", 1)
        value = functions.substr(folder, functions.instr(folder, "=") + 1)
        value = functions.nullif(value, functions.lit(NULL_PARTITION))
        if not all(_PLAIN_FOLDER.fullmatch(file.folders[-place]) for file in files):
            for _ in ("the URL", "the name of the folder"):  # `url_decode` also decodes + as a space
                value = functions.url_decode(functions.replace(value, functions.lit("+"), functions.lit("%2B")))
        columns.append(value.alias(name))
    return frame.select("*", *columns) if columns else frame


def _check_types(file: ParquetFile) -> None:
    """Raise `DataError` for a column of times that Spark doesn't read, or not as one machine does."""
    for name, kind in file.columns.items():
        if "NANOS" in kind:
            raise DataError(
                f"{file.path} has times in nanoseconds in the column {shorten(name)}, which Spark can't read.",
                "Write them in microseconds.",
            )
        if _INT96.search(kind):
            raise DataError(
                f"{file.path} has times of the type INT96 in the column {shorten(name)}, which Spark reads in UTC, and "
                "preptime score as local times.",
                "Write them in Spark with spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS.",
            )


def _check_folders(files: list[ParquetFile]) -> None:
    """Raise `DataError` for the name of a folder that Spark decodes in another way than one machine does."""
    for folder in {folder for file in files for folder in file.folders}:
        for name, value in partition_values((folder,)):
            if _INVALID_ESCAPE.search(folder.partition("=")[2]) or "\ufffd" in (value or ""):
                raise DataError(
                    f"The value of {shorten(name)} in the folder name {shorten(folder)} isn't encoded correctly.",
                    "Write % as %25, and other characters in UTF-8.",
                )


def _check_same_columns(first: ParquetFile, file: ParquetFile) -> None:
    """Raise `DataError` if two files differ in the names or types of their columns."""
    missing, added = first.columns.keys() - file.columns.keys(), file.columns.keys() - first.columns.keys()
    if missing or added:
        difference = f"lacks {join_names(sorted(missing))}" if missing else f"adds {join_names(sorted(added))}"
        raise DataError(
            f"The file {file.path} {difference}, compared with {first.path}.", "Use files with the same columns."
        )
    if file.partitions != first.partitions:
        raise DataError(
            f"The folders of {file.path} and {first.path} have different partitions in their names.",
            "Use either only folders such as date=2015-06-01, in the same order, or none.",
        )
    other = next((name for name, kind in first.columns.items() if file.columns[name] != kind), None)
    if other is not None:
        raise DataError(
            f"The file {file.path} has the column {shorten(other)} with the type {file.columns[other]}, and "
            f"{first.path} has {first.columns[other]}.",
            "Write each column with the same type in every file.",
        )


def _check_same_files(frame: Any, files: list[ParquetFile]) -> None:
    """Raise `DataError` if Spark reads other files, for example one in the folder `_day=1`."""
    read = set(map(decoded_path, frame.inputFiles()))
    other = sorted(read.symmetric_difference(file.path for file in files))
    if other:
        raise DataError(
            f"Only one of Spark and preptime score reads the file {other[0]}.",
            "Move it. Names that start with a dot or an underscore are for temporary files.",
        )
