"""Orders on their way into PostgreSQL: again, late, half, twice, at once, and through a crash."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest

from preptime.errors import DataError, OperationError
from preptime.sources import ingest as ingesting
from preptime.sources.ingest import prepare_chunk
from preptime.sources.postgres import connection
from preptime.sources.postgres.migrate import SCHEMA_LOCK_KEY
from preptime.sources.registry import open_database, open_source
from preptime.validation.audit import audit_orders
from tests.sources.loading import load, load_file, prepared
from tests.validation.factories import directory, month, order, orders

DAY = month(days=1, per_day=40)
EVENING = ("order_ready_at", "prep_time_seconds")


@pytest.fixture
def url(database: str) -> str:
    return prepared(database)


def _contents(url: str) -> list[tuple[object, ...]]:
    """Every row as it is stored, with everything that is derived."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT * FROM preptime.orders ORDER BY order_key").fetchall()


def _counts(url: str, rows: pl.DataFrame, suffix: str = "csv") -> tuple[int, int, int]:
    loaded = load(url, rows, suffix)
    assert loaded.rows == loaded.inserted + loaded.updated + loaded.unchanged + loaded.duplicates
    return loaded.inserted, loaded.updated, loaded.unchanged


def test_a_day_delivered_twice_changes_nothing(url: str) -> None:
    assert _counts(url, DAY) == (len(DAY), 0, 0)
    before = _contents(url)
    assert _counts(url, DAY) == (0, 0, len(DAY))
    assert _contents(url) == before


def test_an_order_delivered_late_is_completed_and_stays_one_row(url: str) -> None:
    assert _counts(url, DAY.drop(EVENING)) == (len(DAY), 0, 0)
    assert _counts(url, DAY) == (0, len(DAY), 0)
    late = _contents(url)
    assert _counts(url, DAY.drop(EVENING)) == (0, 0, len(DAY)), "an empty cell says nothing"
    assert _contents(url) == late


def test_half_a_days_orders_become_the_whole_day(url: str) -> None:
    half = DAY[: len(DAY) // 2]
    assert _counts(url, half) == (len(half), 0, 0)
    assert _counts(url, DAY) == (len(DAY) - len(half), 0, len(half))
    assert len(open_source(url).frame()) == len(DAY)


def test_an_order_given_twice_in_one_file_is_one_row_with_all_that_is_said_of_it(url: str) -> None:
    morning = order(order_id="A", order_ready_at=None, prep_time_seconds=None, city="London")
    evening = order(order_id="A", order_value_gbp="22.00")
    loaded = load(url, orders(morning, order(order_id="B", city=None), evening | {"city": None}))
    assert (loaded.rows, loaded.inserted, loaded.duplicates) == (3, 2, 1)
    found = open_source(url).frame().filter(order_id="A").row(0, named=True)
    assert (found["prep_time_seconds"], found["order_value_gbp"], found["city"]) == (600, 22.0, "London")


def test_a_corrected_time_moves_the_order_to_its_day(url: str) -> None:
    load(url, orders(order(order_id="A"), order(order_id="B")))
    moved = order(order_id="A", order_acknowledged_at="2015-06-02 19:00:00+01:00", order_ready_at=None)
    assert _counts(url, orders(moved)) == (0, 1, 0)
    days = [part.frame()["order_id"].to_list() for part in open_source(url).partitions()]
    assert days == [["B"], ["A"]]
    assert _counts(url, orders(moved)) == (0, 0, 1)


def test_orders_of_a_day_that_was_dropped_can_be_loaded_again(url: str) -> None:
    """To keep fewer days their partitions are dropped; what comes again is not taken for known."""
    rows = month(days=2)
    load(url, rows)
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE preptime.orders_20150601")
    left = len(open_source(url).frame())
    assert _counts(url, rows) == (len(rows) - left, 0, left)


def test_a_column_that_comes_later_is_there_for_all(url: str) -> None:
    load(url, orders(order(order_id="A", note="first")))
    load(url, orders(order(order_id="B", courier="bike"), order(order_id="A", courier="car")))
    frame = open_source(url).frame().sort("order_id")
    assert frame.select("order_id", "note", "courier").rows() == [("A", "first", "car"), ("B", None, "bike")]


def test_csv_and_parquet_of_the_same_orders_are_the_same_orders(url: str) -> None:
    _counts(url, DAY, "parquet")
    assert _counts(url, DAY, "csv") == (0, 0, len(DAY))


def test_rows_that_cannot_be_stored_are_reported_and_can_be_repaired(url: str, tmp_path: Path) -> None:
    """One bad row does not keep the others out, and none is dropped."""
    bad = [
        order(order_acknowledged_at="tomorrow"),
        order(order_acknowledged_at=None),
        order(order_ready_at="later"),
        order(order_value_gbp="a lot"),
        order(restaurant_id=None, order_value_gbp="12"),
    ]
    path, rejects = tmp_path / "orders.csv", tmp_path / "rejects.csv"
    pl.concat([month(days=2).cast(pl.String), orders(*bad)], how="diagonal").write_csv(path)
    loaded, refused = load_file(url, path, rejects)
    assert refused == len(bad)
    good = loaded.rows
    written = pl.read_csv(rejects, infer_schema=False)
    assert written["reject_row"].to_list() == [str(good + number) for number in range(1, 6)]
    assert written["reject_reasons"].to_list() == [
        "unparsable_time",
        "missing_value",
        "unparsable_time",
        "unparsable_number",
        "missing_value",
    ]
    mended = written.with_columns(
        order_acknowledged_at=pl.Series([f"2015-06-01 20:0{minute}:00+01:00" for minute in range(5)]),
        order_ready_at=pl.lit(None, pl.String),
        order_value_gbp=pl.lit("20"),
        restaurant_id=pl.lit("10"),
    )
    mended.write_csv(rejects)
    assert load_file(url, rejects, tmp_path / "again.csv")[0].inserted == len(bad)
    assert not (tmp_path / "again.csv").exists()
    assert open_source(url).columns == tuple(order())


def test_a_file_with_nothing_but_bad_rows_is_refused(url: str, tmp_path: Path) -> None:
    orders(order(order_acknowledged_at="tomorrow")).write_csv(tmp_path / "orders.csv")
    with pytest.raises(DataError, match="No row could be stored"):
        load_file(url, tmp_path / "orders.csv")
    assert len(pl.read_csv(tmp_path / "rejects.csv")) == 1, "to be repaired, like any other"
    assert not list(tmp_path.glob(".*"))


def test_what_a_column_can_hold_is_stored_whatever_is_wrong_with_it(url: str) -> None:
    """Odd values are for the audit to judge, wherever it reads them."""
    odd = [
        order(order_id="1", order_value_gbp="-3"),
        order(order_id="2", order_value_gbp="inf"),
        order(order_id="3", number_of_items=None),
        order(order_id="4", restaurant_id="999"),
        order(order_id="5", prep_time_seconds="-5", order_ready_at=None),
    ]
    load(url, orders(*odd))
    stored = audit_orders(open_source(url).frame().sort("order_id"), directory(), need_label=True)
    assert stored.reasons.tolist() == audit_orders(orders(*odd), directory(), need_label=True).reasons.tolist()


def test_a_load_that_breaks_off_leaves_what_was_there(url: str) -> None:
    load(url, DAY)
    before = _contents(url)
    more = prepare_chunk(month(days=3, seed=2), directory()).storable

    def breaking() -> Iterator[pl.DataFrame]:
        yield more
        raise OperationError("The disk is gone.")

    with pytest.raises(OperationError, match="The disk is gone"):
        open_database(url).load_orders(breaking(), DAY.columns)
    assert _contents(url) == before
    assert len(open_source(url).partitions()) == 1


def test_a_server_that_goes_in_the_middle_is_said_and_leaves_what_was_there(url: str) -> None:
    load(url, DAY)
    before = _contents(url)
    more = prepare_chunk(month(days=3, seed=2), directory()).storable

    def interrupted() -> Iterator[pl.DataFrame]:
        yield more
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        yield more

    with pytest.raises(OperationError) as lost:
        open_database(url).load_orders(interrupted(), DAY.columns)
    assert "was lost while it was written" in lost.value.facts
    assert lost.value.hint == "Nothing was lost and nothing half-written; run again when the server answers."
    assert _contents(url) == before
    assert load(url, month(days=3, seed=2)).inserted == len(more)


def test_two_schedulers_that_load_at_once_leave_each_order_once(url: str) -> None:
    rows = month(days=3, per_day=400)
    results: list[tuple[int, int, int]] = []
    threads = [threading.Thread(target=lambda: results.append(_counts(url, rows))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(0, 0, len(rows)), (0, 0, len(rows)), (len(rows), 0, 0)]
    assert len(open_source(url).frame()) == len(rows)


def test_a_load_waits_for_another_one_and_gives_up_in_the_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LOCK_TIMEOUT", "200ms")
    said: list[str] = []
    rows = prepare_chunk(DAY, directory()).storable
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])
        with pytest.raises(OperationError) as late:
            open_database(url).load_orders([rows], DAY.columns, lambda stage, _: said.append(stage))
    assert said == ["Merging", "Waiting for another load"]
    assert "is being changed by someone else" in late.value.facts
    assert late.value.hint == "Nothing of this run was kept; run again."
    assert load(url, DAY).inserted == len(DAY)


def test_one_bad_row_of_many_is_found_by_its_number(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever chunk it is in, and the other chunks are loaded."""
    monkeypatch.setattr(ingesting, "CHUNK_ROWS", 50)
    rows = month(days=3, per_day=100).cast(pl.String)
    place = len(rows) * 2 // 3
    bad = pl.int_range(pl.len()) == place
    changed = pl.when(bad).then(pl.lit("2015-13-01 12:00")).otherwise("order_acknowledged_at")
    rows.with_columns(changed.alias("order_acknowledged_at")).write_csv(tmp_path / "orders.csv")
    loaded, refused = load_file(url, tmp_path / "orders.csv", tmp_path / "rejects.csv")
    assert (loaded.inserted, refused) == (len(rows) - 1, 1)
    written = pl.read_csv(tmp_path / "rejects.csv", infer_schema=False).row(0, named=True)
    assert written["reject_row"] == str(place + 1)
    assert written["order_acknowledged_at"] == "2015-13-01 12:00"
    assert written["reject_expected"].startswith("order_acknowledged_at: a time between 2000 and 2099")


def test_loading_waits_for_no_reader_and_a_reader_sees_one_moment(url: str) -> None:
    load(url, DAY)
    reading = open_source(url).batches(10)
    seen = len(next(reading))
    load(url, month(days=3, seed=2, start=datetime(2015, 7, 1)))
    assert seen + sum(len(chunk) for chunk in reading) == len(DAY)


@pytest.mark.parametrize(
    "cell", ["\\.", 'a "quoted", b', "line\nbreak", "\r", "", " ", "\\N", "é ☕ \U0001f355", "null"]
)
def test_any_text_comes_back_as_it_was(url: str, cell: str) -> None:
    load(url, orders(order(note=cell, city=cell)).with_columns(order_id=pl.lit("A")), "parquet")
    found = open_source(url).frame().row(0, named=True)
    assert (found["note"], found["city"]) == (cell, cell)


def test_text_that_no_database_holds_is_refused_by_name(url: str, tmp_path: Path) -> None:
    orders(order(note="a\0b"), order(note="fine", order_value_gbp="3")).write_parquet(tmp_path / "orders.parquet")
    loaded, refused = load_file(url, tmp_path / "orders.parquet")
    assert (loaded.inserted, refused) == (1, 1)
    assert "note: text without a NUL character" in (tmp_path / "rejects.csv").read_text(encoding="utf-8")
