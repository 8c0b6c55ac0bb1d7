"""Errors of Spark as one sentence that names the file or the cause.

Spark reports an error as a text of many lines, with the stack of Java and of each attempt of a task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from preptime import errors
from preptime.errors import DataError, OperationError, PreptimeError, UsageError

_FILE = r"((?:file:/|[a-z][a-z0-9]*://).+?)"
_END = r"(?: does not exist|\. (?:Please|SQLSTATE)|\.?$)"
"""What follows a path, which can have spaces."""
_FILE_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"Encountered error while reading file {_FILE}\. Could not read footer",
        rf"(?m)Could not read footer for file: {_FILE}(?: is not a Parquet file|{_END})",
        rf"{_FILE} is not a Parquet file",
        rf"(?m)(?:FileNotFoundException|File does not exist|Path does not exist):? (?:File )?{_FILE}{_END}",
        rf"(?i)could not read footer for file .*?path={_FILE};",
    )
)
"""Texts with a path of Hadoop."""
_URL_PATTERN = re.compile(rf"Encountered error while reading file {_FILE}\.(?:\s|$)")
"""A text with an encoded path."""
_WORKER_ERROR = re.compile(r"^(?:.*: )?preptime\.errors\.(\w+): (.+)$", re.MULTILINE)
_CAUSES: dict[str, tuple[type[PreptimeError], str, str]] = {
    r"ExecutorLostFailure|Master removed our application|All masters are unresponsive": (
        OperationError,
        "{subject} failed, because Spark lost its executors.",
        "Increase spark.executor.memoryOverhead: each core needs about 600 MB for Python.",
    ),
    r"Illegal Parquet type: ([^.\n]+)": (
        DataError,
        "{subject} failed, because a column has a type that Spark can't read ({0}).",
        "Write times in microseconds, and other columns as numbers or text.",
    ),
    r"TABLE_OR_VIEW_NOT_FOUND\] The table or view (\S+)": (
        DataError,
        "{subject} failed, because Spark's catalog has no table {0}.",
        "Check the name, and the settings of the catalog (spark.sql.catalog).",
    ),
    r"ClassNotFoundException: bigquery|data source: bigquery": (
        UsageError,
        "{subject} failed, because this Spark has no connector for BigQuery.",
        "Add it: spark.jars.packages=com.google.cloud.spark:spark-bigquery-with-dependencies_2.13:VERSION.",
    ),
    r'No FileSystem for scheme "?(\w+)': (
        UsageError,
        "{subject} failed, because this Spark has no connector for {0}://.",
        "Add its package with spark.jars.packages, or copy the files to a folder.",
    ),
    r"Relative path in absolute URI: ([^\n]+)": (
        DataError,
        "{subject} failed, because Hadoop can't search a folder that has a name with a colon ({0}).",
        "Use the path of a folder instead of a pattern.",
    ),
}
"""Causes by pattern: the error, its facts, and its hint."""


@contextmanager
def spark_errors(subject: str) -> Iterator[None]:
    """Raise an error of preptime for an error of Spark. Errors of preptime and bugs in Python code are unchanged.

    Args:
        subject: What the block does, for the message, such as `Scoring gs://bucket/orders`.
    """
    from py4j.protocol import Py4JError  # type: ignore[import-not-found]
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        raise describe_failure(str(error), subject) from error


def describe_failure(text: str, subject: str) -> PreptimeError:
    """Return the error for a text of Spark: that of a worker, of a file, or of a lost executor, else its first line."""
    if (worker := _WORKER_ERROR.search(text)) is not None:
        kind = getattr(errors, worker[1], OperationError)
        return kind(worker[2]) if issubclass(kind, PreptimeError) else OperationError(worker[2])
    if (file := _find_file(text)) is not None:
        return _file_error(file, text)
    for pattern, (kind, facts, hint) in _CAUSES.items():
        if (found := re.search(pattern, text)) is not None:
            return kind(facts.format(*found.groups(), subject=subject), hint)
    return OperationError(f"{subject} failed: {_first_line(text)}.", "For the whole log, run it with spark-submit.")


def _find_file(text: str) -> str | None:
    for pattern in _FILE_PATTERNS:
        if (found := pattern.search(text)) is not None:
            return plain_path(found[1])
    found = _URL_PATTERN.search(text)
    return decoded_path(found[1]) if found else None


def plain_path(address: str) -> str:
    """Return the path of a local file, and any other address unchanged."""
    return re.sub(r"^file:(?://)?(?=/)", "", address)


def decoded_path(url: str) -> str:
    """Return the path of a local file, or another address, for a URL that Spark has encoded.

    The results of `inputFiles` and `_metadata.file_path` are encoded. Hadoop's paths aren't (`plain_path`).
    """
    return unquote(plain_path(url))


def _file_error(file: str, text: str) -> DataError:
    if re.search("FileNotFoundException|does not exist|FILE_NOT_EXIST", text):
        return DataError(f"There is no file {file}.", "Check the path. A file must not be deleted while it's read.")
    if "COLUMN_DATA_TYPE_MISMATCH" in text or "SchemaColumnConvertNotSupported" in text:
        return DataError(
            f"{file} has a column with another type than the other files.",
            "Write each column with the same type in every file.",
        )
    if not file.lower().endswith((".parquet", ".parq")):
        return DataError(f"{file} isn't a Parquet file, or it's damaged.", "Move other files to another folder.")
    return DataError(f"{file} is a damaged Parquet file.", "Export it again. It's possibly truncated.")


def _first_line(text: str) -> str:
    """Return the last cause of an error of Java, else the first line."""
    lines = [line.strip().removeprefix(": ") for line in text.splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    others = [line for line in lines if not line.startswith("An error occurred while calling")]
    return (causes[-1:] or others or ["unknown cause"])[0][:300].rstrip(".:")
