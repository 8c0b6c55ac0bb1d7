"""The rule for duplicates in Spark: of the orders with an equal identity, the first by file and row counts."""

from __future__ import annotations

from typing import Any

from preptime.domain.data_dictionary import FILE_COLUMN, ROW_COLUMN
from preptime.spark.parquet_files import parquet_reader
from preptime.training.history_rows import IDENTITY_PREFIX

_PLACE = (FILE_COLUMN, ROW_COLUMN)


def without_duplicates(session: Any, rows: Any, folder: str, *, by_file: bool) -> Any:
    """Return staged rows (`preptime.training.history_rows.history_rows`) without duplicates.

    A key of 8 bytes is counted for each order. Orders whose key occurs more than once are compared in full, so a
    collision of keys drops no order.

    Args:
        session: The Spark session.
        rows: The staged rows.
        folder: Where the places of duplicates are written, with `is_usable` and `is_open`.
        by_file: Whether the first row is the one with the first file and row. Tables have no order of rows. There, the
            first row is the one with the smallest values, in the order of the columns.
    """
    from pyspark.sql import Window, functions

    identity = [name for name in rows.columns if name.startswith(IDENTITY_PREFIX)]
    identified = rows.na.drop(subset=identity).withColumn("key", functions.xxhash64(*identity))
    suspects = identified.groupBy("key").count().where("count > 1").select("key")
    values = [] if by_file else ["acknowledged_at", *(name for name in rows.columns if name not in _PLACE)]
    first = Window.partitionBy(*identity).orderBy(*values, *_PLACE)
    ranked = identified.join(suspects, "key", "left_semi").withColumn("rank", functions.row_number().over(first))
    ranked.where("rank > 1").select(*_PLACE, "is_usable", "is_open").write.parquet(folder)
    # Spark knows the size of written rows, so it sends few of them to all workers instead of sorting all orders.
    return rows.join(parquet_reader(session).parquet(folder).select(*_PLACE), list(_PLACE), "left_anti")
