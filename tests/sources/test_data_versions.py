from __future__ import annotations

import datetime as dt
import errno
import shutil
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.errors import DataError
from preptime.models.catalogue import models_of
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_file import read_schema
from preptime.schema.toml_text import schema_to_toml
from preptime.sources.data_versions import (
    ORDERS_FILE,
    RESTAURANTS_FILE,
    SCHEMA_FILE,
    VALIDATION_FILE,
    SnapshotDocument,
    write_snapshot,
)
from preptime.sources.registry import open_source
from preptime.validation.audit_report import CheckReport
from tests.models import custom_models
from tests.sources.loading import load_rows, prepare_database
from tests.validation.factories import RESTAURANTS, make_month, make_order, make_orders, make_restaurant_index

FIRST, LAST = dt.date(2015, 6, 2), dt.date(2015, 6, 3)


def _write_snapshot(source: str, folder: Path) -> SnapshotDocument:
    RESTAURANTS.write_csv(folder.parent / "restaurants.csv")
    restaurants = open_source(folder.parent / "restaurants.csv")
    return write_snapshot(open_source(source), restaurants, make_restaurant_index(), first=FIRST, last=LAST, out=folder)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "orders.csv"
    rows = pl.concat(
        [make_month(days=4).cast(pl.String), make_orders(make_order(order_acknowledged_at="tomorrow"))], how="diagonal"
    )
    rows.write_csv(path)
    return str(path)


def test_snapshot_contains_requested_days_unchanged(source: str, tmp_path: Path) -> None:
    document = _write_snapshot(source, tmp_path / "out")
    all_orders = open_source(source).frame()
    day = all_orders["order_acknowledged_at"].str.head(10)
    expected = all_orders.filter(day.is_in(["2015-06-02", "2015-06-03", "tomorrow"])).drop("_row", "_file")
    assert pl.read_parquet(tmp_path / "out" / ORDERS_FILE).equals(expected)
    assert (document.orders, document.undated, document.restaurants) == (len(expected), 1, 4)
    assert len(pl.read_parquet(tmp_path / "out" / RESTAURANTS_FILE)) == 4
    validation = msgspec.json.decode((tmp_path / "out" / VALIDATION_FILE).read_bytes(), type=CheckReport)
    assert validation.orders == len(expected)
    assert "tomorrow" not in (tmp_path / "out" / VALIDATION_FILE).read_text(encoding="utf-8")


def test_snapshot_same_contents_write_the_same_bytes(source: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        _write_snapshot(source, tmp_path / name)
    for name in (ORDERS_FILE, RESTAURANTS_FILE, VALIDATION_FILE):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_snapshot_is_unaffected_by_orders_of_other_days(database: str, tmp_path: Path) -> None:
    load_rows(prepare_database(database), make_month(days=4))
    _write_snapshot(database, tmp_path / "first")
    load_rows(database, make_month(days=1, start=dt.datetime(2015, 7, 1)))
    _write_snapshot(database, tmp_path / "second")
    assert (tmp_path / "first" / ORDERS_FILE).read_bytes() == (tmp_path / "second" / ORDERS_FILE).read_bytes()
    load_rows(database, make_month(days=4, per_day=5, seed=9))
    assert _write_snapshot(database, tmp_path / "third").orders > len(pl.read_parquet(tmp_path / "first" / ORDERS_FILE))


def test_snapshot_of_other_types_keeps_the_meaning(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    folder.mkdir()
    rows = make_month(days=4).with_columns(order_id=pl.int_range(pl.len()) + 10**18)
    rows.write_parquet(folder / "1.parquet")
    selected = rows.filter(rows["order_acknowledged_at"].dt.date().is_between(FIRST, LAST))
    selected[:2].with_columns(order_id=pl.Series([7.0, 8.0])).write_parquet(folder / "2.parquet")
    _write_snapshot(str(folder), tmp_path / "out")
    expected = [*selected["order_id"].cast(pl.String), "7", "8"]
    assert pl.read_parquet(tmp_path / "out" / ORDERS_FILE)["order_id"].to_list() == expected
    epochs = rows.with_columns(pl.col("order_acknowledged_at").dt.epoch("us"))
    epochs.write_parquet(folder / "2.parquet")
    with pytest.raises(
        DataError, match=r"order_acknowledged_at is Datetime.* in .*1\.parquet and Int64 in .*2\.parquet"
    ):
        _write_snapshot(str(folder), tmp_path / "again")


def _write_with_schema(source: str, path: Path, folder: Path) -> None:
    sources = open_source(source, schema=read_schema(path))
    write_snapshot(sources, None, make_restaurant_index(), first=FIRST, last=LAST, out=folder)


def test_snapshot_schema_finds_the_class_of_a_model(source: str, tmp_path: Path) -> None:
    """The class is code, not data, so it stays where it is."""
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    shutil.copy(custom_models.__file__, project / "models" / "mine.py")
    text = schema_to_toml(TAKE_HOME_SCHEMA) + '\n[models]\nmine = "models/mine.py:Scaled"\n'
    (project / "schema.toml").write_text(text, encoding="utf-8")
    _write_with_schema(source, project / "schema.toml", tmp_path / "data" / "prepared")
    written = read_schema(tmp_path / "data" / "prepared" / SCHEMA_FILE)
    assert written.models["mine"].source == "../../project/models/mine.py:Scaled"
    assert "mine" in models_of(written.models, names=["mine"])


def test_snapshot_that_fails_keeps_complete_files(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its report, a folder isn't taken for a complete snapshot."""
    out = tmp_path / "out"
    _write_snapshot(source, out)
    before = (out / SCHEMA_FILE).read_bytes()

    def replace(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr("preptime.atomic_write.Path.replace", replace)
    with pytest.raises(OSError, match="the disk is gone"):
        _write_snapshot(source, out)
    assert (out / SCHEMA_FILE).read_bytes() == before
    assert not (out / VALIDATION_FILE).exists()
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_snapshot_without_orders_raises(database: str, tmp_path: Path) -> None:
    load_rows(prepare_database(database), make_month(days=1))
    with pytest.raises(DataError, match="has no orders from 2015-06-02 to 2015-06-03"):
        _write_snapshot(database, tmp_path / "out")
    assert not (tmp_path / "out").exists()
