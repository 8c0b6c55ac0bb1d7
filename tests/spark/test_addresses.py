"""Addresses: what Spark commands read, and that all files have the same columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.errors import DataError, UsageError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.sources.files import open_files
from preptime.spark import session
from preptime.spark.addresses import Address, parse_address, read_rows
from preptime.spark.failures import describe_failure
from tests.spark.comparison import collected

ROWS = pl.DataFrame({"n": [1, 2, 3], "list": [["a"], [], None]})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("gs://bucket/orders", Address("parquet", "gs://bucket/orders")),
        ("table:shop.orders", Address("table", "shop.orders")),
        ("bigquery:my-project.shop.orders", Address("bigquery", "my-project.shop.orders")),
    ],
)
def test_addresses_have_a_kind(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert address.text == text
    assert address.has_row_order == (address.kind == "parquet")


def test_local_path_becomes_absolute() -> None:
    assert parse_address("orders") == Address("parquet", str(Path.cwd() / "orders"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("orders.csv", "Spark commands don't read orders.csv. Write the rows as Parquet files first."),
        ("postgresql://me:s3cret@db/food", "The address postgresql://me@db/food isn't supported."),
        ("postgresql://db/food", "Spark commands don't read postgresql://db/food. Export it to Parquet files."),
        ("bigquery://p.d?table=orders", "Use bigquery:PROJECT.DATASET.TABLE."),
        ("bigquery:dataset.table", "bigquery:dataset.table doesn't name a table"),
        ("table:a b", "table:a b doesn't name a table; expected table:CATALOG.NAME."),
        ("orders/**/*.parquet", "Spark doesn't support ** in orders/**/*.parquet."),
        ("", "The address is empty."),
    ],
)
def test_other_addresses_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_address(text)
    assert sentence in str(error.value)
    assert "s3cret" not in str(error.value)


def read(spark: Any, path: Path) -> Any:
    return read_rows(spark, parse_address(str(path)))


def test_files_in_all_folders_are_read(spark: Any, tmp_path: Path) -> None:
    """With the values in the names of partition folders as text. Lists keep their values."""
    for name in ("plain/2015/06", "partitioned/date=2015-06-01"):
        (tmp_path / name).mkdir(parents=True)
        ROWS.write_parquet(tmp_path / name / "orders.parquet")
    ROWS.write_parquet(tmp_path / "plain" / "orders.parquet")
    (tmp_path / "plain" / "_SUCCESS").touch()
    assert collected(read(spark, tmp_path / "plain")).equals(pl.concat([ROWS, ROWS]))
    partitioned = collected(read(spark, tmp_path / "partitioned"))
    assert partitioned.equals(ROWS.with_columns(date=pl.lit("2015-06-01")))
    ROWS.write_parquet(tmp_path / "partitioned" / "orders.parquet")
    with pytest.raises(DataError, match="have different partitions in their names"):
        read(spark, tmp_path / "partitioned")


def test_files_are_split_by_rows(spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Spark's default of 128 MB, each of the two cores gets one task."""
    monkeypatch.setattr(session, "TASK_ROWS", 150_000)
    values = np.random.default_rng(3).random(600_000)
    pl.DataFrame({"x": values}).write_parquet(tmp_path / "orders.parquet", row_group_size=50_000)
    assert read(spark, tmp_path / "orders.parquet").rdd.getNumPartitions() >= 4


def write(path: Path, rows: pl.DataFrame = ROWS) -> Path:
    """Write rows to a file in a new folder, and return the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["d[1]", "{1,2}", "a?*", "back\\slash", "h=12%3A00", "é +#"])
def test_existing_path_is_no_pattern(spark: Any, tmp_path: Path, name: str) -> None:
    """As on one machine. Read as a pattern, the first three names match the other folders."""
    for other in ("d1", "1", "2", "a12"):
        write(tmp_path / other / "a.parquet")
    path = write(tmp_path / name / "in [x]" / "[a].parquet", ROWS[:1])
    for location in (tmp_path / name, path):
        assert collected(read(spark, location)).equals(ROWS[:1])
    assert len(collected(read(spark, tmp_path / "*" / "a.parquet"))) == 12


def test_pattern_next_to_a_colon_is_refused(spark: Any, tmp_path: Path) -> None:
    """A folder with such a name can be read."""
    write(tmp_path / "in 10:00" / "a.parquet")
    assert collected(read(spark, tmp_path / "in 10:00")).equals(ROWS)
    message = r"can't search a folder that has a name with a colon \(in 10:00\)\. Use the path of a folder"
    with pytest.raises(DataError, match=message):
        read(spark, tmp_path / "*" / "a.parquet")


def test_files_without_rows_and_other_files(spark: Any, tmp_path: Path) -> None:
    """One machine skips both. Spark skips files of 0 bytes, and names the others."""
    write(tmp_path / "a.parquet")
    (tmp_path / "0.parquet").touch()
    assert collected(read(spark, tmp_path)).equals(ROWS)
    (tmp_path / "READ me.txt").write_text("x")
    with pytest.raises(DataError, match=r"READ me\.txt isn't a Parquet file, or it's damaged\. Move other files"):
        read(spark, tmp_path)


FOLDERS = {
    "non-ASCII characters": ("city=K%C3%B6ln", "city=Köln", "city=S%c3%a3o Paulo", "city=東京"),
    "escapes": ("x=12%3A00", "x=100%25", "x=a+b", "x=%2525", "x=", "x=__HIVE_DEFAULT_PARTITION__", "x=007"),
    "a column of the files": ("n=7", "n=8"),
    "other names": ("a.b=1/c%20d=2/e f=3/(g)=a=b", "a.b=2/c%20d=2/e f=3/(g)=a=c"),
    "a repeated name": ("x=1/y=2/x=3", "x=1/y=2/x=4"),
}


@pytest.mark.parametrize("folders", FOLDERS.values(), ids=FOLDERS)
def test_columns_in_names_equal_one_machine(spark: Any, tmp_path: Path, folders: tuple[str, ...]) -> None:
    """Also with a pattern, and below a folder that has a column in its own name."""
    base = tmp_path / "x=0" / "orders"
    for number, folder in enumerate(folders):
        write(base / folder / "a.parquet", ROWS.with_columns(row=number * 10 + pl.col("n")))
    pattern = base / "*=*" / "a.parquet"
    for location in (base, pattern) if any(base.glob("*=*/a.parquet")) else (base,):
        expected = open_files(str(location), TAKE_HOME_SCHEMA).frame().drop(FILE_COLUMN, ROW_COLUMN)
        assert collected(read(spark, location)).sort("row").equals(expected.sort("row"))
        assert len(expected) == 3 * len(folders)


@pytest.mark.parametrize("folder", ["x=100%", "x=%zz", "x=%E9"])
def test_values_with_invalid_escapes_are_refused(spark: Any, tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder / "a.parquet")
    with pytest.raises(DataError, match=f"The value of x in the folder name {folder} isn't encoded correctly"):
        read(spark, tmp_path)


def test_file_that_only_spark_would_read_is_refused(spark: Any, tmp_path: Path) -> None:
    for name in ("a.parquet", "_day=1/a.parquet"):
        write(tmp_path / name)
    with pytest.raises(DataError, match=r"Only one of Spark and preptime score reads the file .*/_day=1/a\.parquet\."):
        read(spark, tmp_path)


@pytest.mark.parametrize("value", [pl.lit("2015-06-01").str.to_datetime(), pl.lit([dt.datetime(2015, 6, 1)])])
def test_times_of_type_int96_are_refused(spark: Any, tmp_path: Path, value: pl.Expr) -> None:
    """The type that Spark writes by default. One machine takes such times as local ones."""
    path = tmp_path / "a.parquet"
    options = {"use_deprecated_int96_timestamps": True}
    ROWS.with_columns(t=value).write_parquet(path, use_pyarrow=True, pyarrow_options=options)
    message = r"INT96 in the column t, .* with spark\.sql\.parquet\.outputTimestampType=TIMESTAMP_MICROS\.$"
    with pytest.raises(DataError, match=message):
        read(spark, path)


REFUSED: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "nanoseconds": (
        lambda rows: rows.with_columns(t=pl.lit(0).cast(pl.Datetime("ns", "UTC"))),
        r"refused\.parquet has times in nanoseconds in the column t, which Spark can't read\. Write them in microse",
    ),
    "time of day": (
        lambda rows: rows.with_columns(t=pl.lit(0).cast(pl.Time)),
        r"refused\.parquet has times in nanoseconds in the column t",
    ),
    "reserved": (lambda rows: rows.with_columns(_file=1), r"refused\.parquet has the column _file, which is reserved"),
}


def test_refused_columns_are_named(spark: Any, tmp_path: Path) -> None:
    path = tmp_path / "refused.parquet"
    for change, message in REFUSED.values():
        change(ROWS).write_parquet(path)
        with pytest.raises(DataError, match=message):
            read(spark, path)


def test_missing_tables_and_connectors_are_named(spark: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    sentences = {
        "table:shop.orders": r"Spark's catalog has no table `shop`\.`orders`",
        "bigquery:p.d.orders": "this Spark has no connector for BigQuery",
        "s3://bucket/orders": r"Listing s3://bucket/orders failed, because this Spark has no connector for s3://",
        str(tmp_path / "empty"): "empty has no Parquet file",
        str(tmp_path / "none"): r"There is no file .*none\. Check the path",
    }
    for text, sentence in sentences.items():
        with pytest.raises((DataError, UsageError), match=sentence):
            read_rows(spark, parse_address(text))


LOG = """\
Job aborted: Task 3 failed 4 times, most recent failure: ExecutorLostFailure (executor 2 exited)
	at x
---
An exception was thrown from the Python worker:
Traceback (most recent call last):
preptime.errors.StoreError: gs://b/models: timeout. Check the network.
---
An error occurred while calling o5.parquet.
: java.lang.X: aborted
	at y
Caused by: java.io.IOException: No space left on device
---
X: [FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:///data/or%20ders/p.parquet. File does \
not exist. It is possible the underlying files have been updated.
Caused by: java.io.FileNotFoundException: File file:/data/or ders/p.parquet does not exist
---
[FAILED_READ_FILE.NO_HINT] Encountered error while reading file file:///data/or%20ders/h=12%253A00/p.parquet. \
 SQLSTATE: 1
---
X: [FAILED_READ_FILE.CANNOT_READ_FILE_FOOTER] Encountered error while reading file gs://b/or [1] 5%25/p.parquet. Could \
not read footer. Please ensure that the file is in either ORC or Parquet format.
---
java.lang.RuntimeException: file:/data/or ders/h=12%3A00/p.parquet is not a Parquet file. Expected magic number at tail
---
[PATH_NOT_FOUND] Path does not exist: file:/data/out [x]. 1/run-1/staged. SQLSTATE: 42K03
"""
"""Texts of Spark."""
SENTENCES = """\
Scoring a failed, because Spark lost its executors. Increase spark.executor.memoryOverhead: each core needs about \
600 MB for Python.
gs://b/models: timeout. Check the network.
Scoring a failed: java.io.IOException: No space left on device. For the whole log, run it with spark-submit.
There is no file /data/or ders/p.parquet. Check the path. A file must not be deleted while it's read.
/data/or ders/h=12%3A00/p.parquet is a damaged Parquet file. Export it again. It's possibly truncated.
gs://b/or [1] 5%25/p.parquet is a damaged Parquet file. Export it again. It's possibly truncated.
/data/or ders/h=12%3A00/p.parquet is a damaged Parquet file. Export it again. It's possibly truncated.
There is no file /data/out [x]. 1/run-1/staged. Check the path. A file must not be deleted while it's read.
"""


def test_errors_of_spark_are_one_sentence() -> None:
    assert [str(describe_failure(text, "Scoring a")) for text in LOG.split("---\n")] == SENTENCES.splitlines()
