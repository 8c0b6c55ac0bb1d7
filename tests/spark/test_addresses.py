"""Addresses: what Spark commands read, and that all files have the same columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from preptime.errors import DataError, UsageError
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
Caused by: java.io.FileNotFoundException: File file:/data/or%20ders/p.parquet does not exist
"""
"""Texts of Spark."""
SENTENCES = """\
Scoring a failed, because Spark lost its executors. Increase spark.executor.memoryOverhead: each core needs about \
600 MB for Python.
gs://b/models: timeout. Check the network.
Scoring a failed: java.io.IOException: No space left on device. For the whole log, run it with spark-submit.
There is no file /data/or ders/p.parquet. Check the path. A file must not be deleted while it's read.
"""


def test_errors_of_spark_are_one_sentence() -> None:
    assert [str(describe_failure(text, "Scoring a")) for text in LOG.split("---\n")] == SENTENCES.splitlines()
