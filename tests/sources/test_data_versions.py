from __future__ import annotations

import datetime as dt
from pathlib import Path

import msgspec
import polars as pl
import pytest

from preptime.errors import DataError
from preptime.sources.data_versions import (
    ORDERS_FILE,
    RESTAURANTS_FILE,
    VALIDATION_FILE,
    SnapshotDocument,
    write_snapshot,
)
from preptime.sources.registry import open_source
from preptime.validation.audit_report import CheckReport
from tests.sources.loading import load, prepared
from tests.validation.factories import RESTAURANTS as LISTED
from tests.validation.factories import directory, month, order, orders

FIRST, LAST = dt.date(2015, 6, 2), dt.date(2015, 6, 3)


def _taken(source: str, folder: Path) -> SnapshotDocument:
    LISTED.write_csv(folder.parent / "restaurants.csv")
    listed = open_source(folder.parent / "restaurants.csv")
    return write_snapshot(open_source(source), listed, directory(), first=FIRST, last=LAST, out=folder)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "orders.csv"
    rows = pl.concat([month(days=4).cast(pl.String), orders(order(order_acknowledged_at="tomorrow"))], how="diagonal")
    rows.write_csv(path)
    return str(path)


def test_it_holds_the_days_asked_for_as_they_came(source: str, tmp_path: Path) -> None:
    document = _taken(source, tmp_path / "out")
    everything = open_source(source).frame()
    day = everything["order_acknowledged_at"].str.head(10)
    expected = everything.filter(day.is_in(["2015-06-02", "2015-06-03", "tomorrow"])).drop("_row", "_file")
    assert pl.read_parquet(tmp_path / "out" / ORDERS_FILE).equals(expected)
    assert (document.orders, document.undated, document.restaurants) == (len(expected), 1, 4)
    assert len(pl.read_parquet(tmp_path / "out" / RESTAURANTS_FILE)) == 4
    verdicts = msgspec.json.decode((tmp_path / "out" / VALIDATION_FILE).read_bytes(), type=CheckReport)
    assert verdicts.orders == len(expected)
    assert "tomorrow" not in (tmp_path / "out" / VALIDATION_FILE).read_text(encoding="utf-8")


def test_the_same_contents_give_the_same_bytes(source: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        _taken(source, tmp_path / name)
    for name in (ORDERS_FILE, RESTAURANTS_FILE, VALIDATION_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_database_goes_on_changing_and_a_snapshot_of_it_does_not(database: str, tmp_path: Path) -> None:
    load(prepared(database), month(days=4))
    _taken(database, tmp_path / "one")
    load(database, month(days=1, start=dt.datetime(2015, 7, 1)))
    _taken(database, tmp_path / "two")
    assert (tmp_path / "one" / ORDERS_FILE).read_bytes() == (tmp_path / "two" / ORDERS_FILE).read_bytes()
    load(database, month(days=4, per_day=5, seed=9))
    assert _taken(database, tmp_path / "three").orders > len(pl.read_parquet(tmp_path / "one" / ORDERS_FILE))


def test_days_without_orders_are_refused(database: str, tmp_path: Path) -> None:
    load(prepared(database), month(days=1))
    with pytest.raises(DataError, match="has no orders from 2015-06-02 to 2015-06-03"):
        _taken(database, tmp_path / "out")
    assert not (tmp_path / "out").exists()
