"""The Parquet files of an address, and their footers, through the file systems of Spark's driver.

The driver's Java has the connectors of the cluster, for example for `gs://`. It reads the footers in parallel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from preptime.errors import DataError
from preptime.sources.files import partition_values
from preptime.spark.failures import plain_path, spark_errors
from preptime.spark.session import hadoop_configuration, java

_FOOTERS_AT_ONCE = 16
_WILDCARDS = re.compile(r"[\\*?\[\]{}]")


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file. Its columns and rows are known after `read_footers`."""

    path: str
    """The path of a local file, else its URL."""
    size_bytes: int
    folders: tuple[str, ...]
    """The names of the folders between the address, or its part without wildcards, and the file."""
    status: Any = field(repr=False, compare=False)
    """Hadoop's description of the file."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The types of its columns as text, by name."""
    rows: int = 0

    @property
    def partitions(self) -> dict[str, int]:
        """The columns in the names of its folders, such as `date=2015-06-01`, that the file itself doesn't have.

        The values are the places of the folders, counted from the file. Of the same names, the last one counts.
        """
        places = ((len(self.folders) - place, folder) for place, folder in enumerate(self.folders))
        named = ((name, place) for place, folder in places for name, _ in partition_values((folder,)))
        return {name: place for name, place in named if name not in self.columns}


def file_system(session: Any, location: str) -> tuple[Any, Any]:
    """Return Hadoop's file system of a location, and the location as its path."""
    path = java(session).org.apache.hadoop.fs.Path(location)
    system = path.getFileSystem(hadoop_configuration(session))
    return system, system.makeQualified(path)


def parquet_reader(session: Any, *, is_pattern: bool = False) -> Any:
    """Return Spark's reader of all Parquet files below a path. It doesn't add columns in the names of folders.

    By default, Spark takes every path as a glob, so it would read `d1` instead of `d[1]`. Not all file systems know
    escapes. The option is that of Spark's own catalog.
    """
    reader = session.read.option("__globPaths__", str(is_pattern).lower())
    return reader.option("recursiveFileLookup", "true")


def is_pattern(session: Any, location: str) -> bool:
    """Return whether a location is a glob. An existing file or folder isn't, whatever its name is."""
    system, path = file_system(session, location)
    return not system.exists(path)


def list_parquet_files(session: Any, location: str) -> list[ParquetFile]:
    """Return the files of a file, a folder, or a glob, in the order of their paths. Raises `DataError` without one.

    By convention, names that start with a dot or an underscore are markers and temporary files.
    """
    with spark_errors(f"Listing {location}"):
        system, path = file_system(session, location)
        roots, base = [path], path.toString()
        if not system.exists(path):
            roots = [status.getPath() for status in system.globStatus(path) or ()]
            base = "/".join(takewhile(lambda part: not _WILDCARDS.search(part), base.split("/")))
        files = [file for root in roots for file in _iter_files(system, root, base)]
    if not roots:
        raise DataError(f"There is no file {location}.", "Check the path.")
    if not files:
        raise DataError(f"{location} has no Parquet file.", "Use a path of Parquet files.")
    return sorted(files, key=lambda file: file.path)


def _iter_files(system: Any, root: Any, base: str) -> Iterator[ParquetFile]:
    found, root_text = system.listFiles(root, True), root.toString()
    while found.hasNext():
        status = found.next()
        address = status.getPath().toString()
        if not any(part[:1] in {".", "_"} for part in _parts_below(root_text, address)):
            yield ParquetFile(plain_path(address), status.getLen(), _parts_below(base, address)[:-1], status)


def _parts_below(folder: str, address: str) -> tuple[str, ...]:
    return tuple(address.removeprefix(folder.rstrip("/")).strip("/").split("/"))


def read_footers(session: Any, files: list[ParquetFile]) -> list[ParquetFile]:
    """Return the files with their columns and rows. Raises `DataError` that names a damaged file."""
    packages = java(session)
    reader = packages.org.apache.parquet.hadoop.ParquetFileReader
    configuration = packages.org.apache.hadoop.conf.Configuration(hadoop_configuration(session))
    configuration.set("parquet.metadata.read.parallelism", str(_FOOTERS_AT_ONCE))
    statuses = packages.java.util.ArrayList()
    for file in files:
        statuses.add(file.status)
    with spark_errors("Reading the footers of Parquet files"):
        footers = reader.readAllFootersInParallel(configuration, statuses, False)
        by_path = {plain_path(footer.getFile().toString()): footer.getParquetMetadata() for footer in footers}
        return [_with_footer(file, by_path[file.path]) for file in files]


def _with_footer(file: ParquetFile, footer: Any) -> ParquetFile:
    fields = footer.getFileMetaData().getSchema().getFields()
    columns = {column.getName(): _type_text(column) for column in fields}
    return replace(file, columns=columns, rows=sum(block.getRowCount() for block in footer.getBlocks()))


def _type_text(column: Any) -> str:
    """Return the type of a column in words that don't depend on whether it has nulls."""
    if not column.isPrimitive():
        return " ".join(column.toString().split()[1:])
    annotation = column.getLogicalTypeAnnotation()
    return f"{column.getPrimitiveTypeName().toString().lower()}{f' ({annotation.toString()})' if annotation else ''}"
