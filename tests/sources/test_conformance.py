"""Tests that every kind of data source must pass. To add a kind, add it to `KINDS` or `DATABASE_FIXTURES`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from preptime.domain.data_dictionary import FILE_COLUMN, READER_COLUMNS, ROW_COLUMN
from preptime.errors import DataError
from preptime.sources.registry import open_source
from preptime.sources.source import DataSource
from preptime.validation.audit import audit_orders
from tests.sources.loading import load_rows, prepare_database
from tests.validation.factories import make_month, make_restaurant_index


def _sort_as_database(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort by day and time, as a database does."""
    return rows[audit_orders(rows, make_restaurant_index(), need_label=False).frame["acknowledged_utc"].arg_sort()]


ROWS = _sort_as_database(make_month(days=5, per_day=50)).with_columns(
    note=pl.lit("kept, unchanged"), order_id=pl.int_range(pl.len()) + 1
)


def _write_csv(folder: Path, rows: pl.DataFrame) -> str:
    rows.write_csv(folder / "orders.csv")
    return str(folder / "orders.csv")


def _write_parquet(folder: Path, rows: pl.DataFrame) -> str:
    rows.write_parquet(folder / "orders.parquet", row_group_size=40)
    return str(folder / "orders.parquet")


def _write_partitions(folder: Path, rows: pl.DataFrame, suffix: str) -> list[Path]:
    cuts = (0, len(rows) // 3, len(rows) // 2, len(rows))
    paths = []
    for index, (start, end) in enumerate(itertools.pairwise(cuts)):
        path = folder / f"day={index}" / f"part.{suffix}"
        path.parent.mkdir()
        part = rows[start:end]
        part.write_csv(path) if suffix == "csv" else part.write_parquet(path)
        paths.append(path)
    return paths


def _csv_glob(folder: Path, rows: pl.DataFrame) -> str:
    _write_partitions(folder, rows, "csv")
    return str(folder / "day=*" / "*.csv")


def _parquet_glob(folder: Path, rows: pl.DataFrame) -> str:
    _write_partitions(folder, rows, "parquet")
    return str(folder / "**" / "*.parquet")


def _parquet_folder(folder: Path, rows: pl.DataFrame) -> str:
    _write_partitions(folder, rows, "parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".part.parquet.tmp").touch()
    return str(folder)


def _file_url(folder: Path, rows: pl.DataFrame) -> str:
    return f"file://{_write_csv(folder, rows)}"


def _load_database(url: str, folder: Path, rows: pl.DataFrame) -> str:
    prepare_database(url)
    if len(rows):
        load_rows(url, rows, "parquet")
    return url


Kind = Callable[[Path, pl.DataFrame], str]
KINDS: dict[str, Kind] = {
    "csv": _write_csv,
    "parquet": _write_parquet,
    "glob of csv": _csv_glob,
    "glob of parquet": _parquet_glob,
    "folder of parquet": _parquet_folder,
    "file url": _file_url,
}
DATABASE_FIXTURES = {"postgres": "database", "fake bigquery": "dataset"}
"""Databases, each with the fixture that returns the address of an empty one."""


@pytest.fixture(params=[*KINDS, *DATABASE_FIXTURES])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param in KINDS:
        return KINDS[request.param]
    return partial(_load_database, request.getfixturevalue(DATABASE_FIXTURES[request.param]))


@pytest.fixture
def source(kind: Kind, tmp_path: Path) -> DataSource:
    return open_source(kind(tmp_path, ROWS))


def _texts(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    """Return the rows as text, without reader columns."""
    data = rows.select(name for name in rows.columns if name not in READER_COLUMNS)
    return data.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")).cast(pl.String).rows()


def test_frame_has_all_rows_and_columns_in_order(source: DataSource) -> None:
    frame = source.frame()
    assert source.columns == tuple(ROWS.columns)
    assert _texts(frame) == _texts(ROWS)


def test_frame_has_file_and_row_of_each_row(source: DataSource) -> None:
    frame = source.frame()
    for (file,), rows in frame.group_by([FILE_COLUMN], maintain_order=True):
        assert rows[ROW_COLUMN].to_list() == list(range(1, len(rows) + 1))
        assert open_source(str(file)).frame().height == len(rows)


@pytest.mark.parametrize("rows", [1_000_000, 97, 7])
def test_batches_are_bounded_and_equal_the_frame(source: DataSource, rows: int) -> None:
    batches = list(source.batches(rows))
    assert all(0 < len(batch) <= rows for batch in batches)
    assert pl.concat(batches).equals(source.frame())


def test_partitions_together_equal_the_source(source: DataSource) -> None:
    frames = [partition.frame() for partition in source.partitions()]
    assert [row for frame in frames for row in _texts(frame)] == _texts(ROWS)
    assert all(partition.columns == source.columns for partition in source.partitions())


def test_frame_twice_returns_the_same(source: DataSource) -> None:
    assert source.frame().equals(source.frame())


def test_audit_of_every_kind_is_equal(source: DataSource) -> None:
    expected = audit_orders(ROWS, make_restaurant_index(), need_label=True).frame.drop("order_id")
    assert (
        audit_orders(source.frame(), make_restaurant_index(), need_label=True)
        .frame.drop("order_id", ROW_COLUMN, FILE_COLUMN)
        .equals(expected)
    )


def test_source_without_rows_raises(kind: Kind, tmp_path: Path) -> None:
    source = open_source(kind(tmp_path, ROWS[:0]))
    with pytest.raises(DataError, match="no rows"):
        source.frame()
    with pytest.raises(DataError, match="no rows"):
        list(source.batches(10))
