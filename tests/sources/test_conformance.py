"""What every kind of table must do. A new kind joins by adding itself to `KINDS`."""

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
from tests.sources.loading import load, prepared
from tests.validation.factories import directory, month


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """By day and moment: the order in which a database gives them."""
    return rows[audit_orders(rows, directory(), need_label=False).frame["acknowledged_utc"].arg_sort()]


ROWS = _in_order(month(days=5, per_day=50)).with_columns(
    note=pl.lit("kept, as it is"), order_id=pl.int_range(pl.len()) + 1
)


def _one_csv(folder: Path, rows: pl.DataFrame) -> str:
    rows.write_csv(folder / "orders.csv")
    return str(folder / "orders.csv")


def _one_parquet(folder: Path, rows: pl.DataFrame) -> str:
    rows.write_parquet(folder / "orders.parquet", row_group_size=40)
    return str(folder / "orders.parquet")


def _parts(folder: Path, rows: pl.DataFrame, suffix: str) -> list[Path]:
    cuts = (0, len(rows) // 3, len(rows) // 2, len(rows))
    paths = []
    for index, (start, end) in enumerate(itertools.pairwise(cuts)):
        path = folder / f"day={index}" / f"part.{suffix}"
        path.parent.mkdir()
        part = rows[start:end]
        part.write_csv(path) if suffix == "csv" else part.write_parquet(path)
        paths.append(path)
    return paths


def _glob_of_csv(folder: Path, rows: pl.DataFrame) -> str:
    _parts(folder, rows, "csv")
    return str(folder / "day=*" / "*.csv")


def _glob_of_parquet(folder: Path, rows: pl.DataFrame) -> str:
    _parts(folder, rows, "parquet")
    return str(folder / "**" / "*.parquet")


def _folder_of_parquet(folder: Path, rows: pl.DataFrame) -> str:
    _parts(folder, rows, "parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".part.parquet.tmp").touch()
    return str(folder)


def _file_url(folder: Path, rows: pl.DataFrame) -> str:
    return f"file://{_one_csv(folder, rows)}"


def _database(url: str, folder: Path, rows: pl.DataFrame) -> str:
    prepared(url)
    if len(rows):
        load(url, rows, "parquet")
    return url


Kind = Callable[[Path, pl.DataFrame], str]
KINDS: dict[str, Kind] = {
    "csv": _one_csv,
    "parquet": _one_parquet,
    "glob of csv": _glob_of_csv,
    "glob of parquet": _glob_of_parquet,
    "folder of parquet": _folder_of_parquet,
    "file url": _file_url,
}
DATABASES = {"postgres": "database", "bigquery, faked": "dataset"}
"""Each with the fixture that gives the address of an empty one."""


@pytest.fixture(params=[*KINDS, *DATABASES])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param in KINDS:
        return KINDS[request.param]
    return partial(_database, request.getfixturevalue(DATABASES[request.param]))


@pytest.fixture
def table(kind: Kind, tmp_path: Path) -> DataSource:
    return open_source(kind(tmp_path, ROWS))


def _texts(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    """The rows as csv would write them, without the columns a table adds."""
    own = rows.select(name for name in rows.columns if name not in READER_COLUMNS)
    return own.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")).cast(pl.String).rows()


def test_the_frame_has_every_row_and_column_in_order(table: DataSource) -> None:
    frame = table.frame()
    assert table.columns == tuple(ROWS.columns)
    assert _texts(frame) == _texts(ROWS)


def test_each_row_says_where_it_stands(table: DataSource) -> None:
    frame = table.frame()
    for (file,), rows in frame.group_by([FILE_COLUMN], maintain_order=True):
        assert rows[ROW_COLUMN].to_list() == list(range(1, len(rows) + 1))
        assert open_source(str(file)).frame().height == len(rows)


@pytest.mark.parametrize("rows", [1_000_000, 97, 7])
def test_batches_are_the_frame_in_bounded_pieces(table: DataSource, rows: int) -> None:
    batches = list(table.batches(rows))
    assert all(0 < len(batch) <= rows for batch in batches)
    assert pl.concat(batches).equals(table.frame())


def test_partitions_add_up(table: DataSource) -> None:
    parts = [part.frame() for part in table.partitions()]
    assert [row for part in parts for row in _texts(part)] == _texts(ROWS)
    assert all(part.columns == table.columns for part in table.partitions())


def test_reading_twice_gives_the_same(table: DataSource) -> None:
    assert table.frame().equals(table.frame())


def test_every_kind_is_audited_alike(table: DataSource) -> None:
    expected = audit_orders(ROWS, directory(), need_label=True).frame.drop("order_id")
    assert (
        audit_orders(table.frame(), directory(), need_label=True)
        .frame.drop("order_id", ROW_COLUMN, FILE_COLUMN)
        .equals(expected)
    )


def test_a_table_without_rows_is_refused(kind: Kind, tmp_path: Path) -> None:
    table = open_source(kind(tmp_path, ROWS[:0]))
    with pytest.raises(DataError, match="no rows"):
        table.frame()
    with pytest.raises(DataError, match="no rows"):
        list(table.batches(10))
