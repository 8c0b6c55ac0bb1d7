"""Tests of loading orders into PostgreSQL: repeated, late, partial, concurrent, and interrupted deliveries."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
import psycopg
import pytest

from preptime.errors import DataError, OperationError
from preptime.schema.schema import TAKE_HOME_SCHEMA
from preptime.schema.toml_file import parse_schema
from preptime.sources import ingest as ingest_module
from preptime.sources.ingest import RejectsWriter, prepare_chunk
from preptime.sources.postgres import connection
from preptime.sources.postgres.migrate import SCHEMA_LOCK_KEY
from preptime.sources.registry import open_database, open_source
from preptime.validation.audit import audit_orders
from preptime.validation.restaurants import audit_restaurants
from tests.sources.loading import STORED_SCHEMA, load_file, load_rows, prepare_database
from tests.validation.factories import make_month, make_order, make_orders, make_restaurant_index

DAY = make_month(days=1, per_day=40)
OUTCOMES = ("order_ready_at", "prep_time_seconds")


@pytest.fixture
def url(database: str) -> str:
    return prepare_database(database)


def _stored_rows(url: str) -> list[tuple[object, ...]]:
    """Return every stored row, with its derived columns."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT * FROM preptime.orders ORDER BY order_key").fetchall()


def _load_counts(url: str, rows: pl.DataFrame, suffix: str = "csv") -> tuple[int, int, int]:
    loaded = load_rows(url, rows, suffix)
    assert loaded.rows == loaded.inserted + loaded.updated + loaded.unchanged + loaded.duplicates
    return loaded.inserted, loaded.updated, loaded.unchanged


def test_load_same_day_twice_changes_nothing(url: str) -> None:
    assert _load_counts(url, DAY) == (len(DAY), 0, 0)
    before = _stored_rows(url)
    assert _load_counts(url, DAY) == (0, 0, len(DAY))
    assert _stored_rows(url) == before


def test_load_result_is_independent_of_the_servers_time_zone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks change in London between acknowledgement and ready time, and between the first two acknowledgements."""
    delivered = {
        "a": ("2015-10-25T00:55:00Z", "2015-10-25T01:10:00Z"),
        "b": ("2015-10-25T01:05:00Z", "2015-10-25T01:20:00Z"),
        "c": ("2015-03-29T00:55:00Z", "2015-03-29T01:10:00Z"),
    }
    rows = make_orders(
        *(
            make_order(order_id=key, order_acknowledged_at=start, order_ready_at=end, prep_time_seconds=None)
            for key, (start, end) in delivered.items()
        )
    )
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(f"ALTER DATABASE {session.info.dbname} SET timezone = 'Europe/London'".encode())
    assert _load_counts(url, rows) == (3, 0, 0)
    with psycopg.connect(url) as session:
        session.execute("SET TIME ZONE 'UTC'")
        outcomes = session.execute(
            "SELECT order_key, acknowledged_at, ready_at, prep_time_seconds FROM preptime.outcomes ORDER BY order_key"
        ).fetchall()
    expected = [(key, *map(datetime.fromisoformat, times), 900) for key, times in delivered.items()]
    assert outcomes == expected
    monkeypatch.setenv("PGTZ", "America/New_York")
    assert _load_counts(url, rows) == (0, 0, 3)
    assert open_source(url).frame()["order_id"].to_list() == ["c", "a", "b"]


def test_load_long_order_id_has_a_short_key(url: str) -> None:
    order_id = secrets.token_hex(4_000)
    rows = make_orders(make_order(order_id=order_id), make_order(order_id="B"))
    assert _load_counts(url, rows) == (2, 0, 0)
    assert _load_counts(url, rows) == (0, 0, 2)
    assert sorted(open_source(url).frame()["order_id"]) == sorted(rows["order_id"])


def test_load_later_outcome_completes_the_order(url: str) -> None:
    assert _load_counts(url, DAY.drop(OUTCOMES)) == (len(DAY), 0, 0)
    assert _load_counts(url, DAY) == (0, len(DAY), 0)
    completed = _stored_rows(url)
    assert _load_counts(url, DAY.drop(OUTCOMES)) == (0, 0, len(DAY)), "empty cells must not erase values"
    assert _stored_rows(url) == completed


def test_load_rest_of_a_day_adds_missing_orders(url: str) -> None:
    half = DAY[: len(DAY) // 2]
    assert _load_counts(url, half) == (len(half), 0, 0)
    assert _load_counts(url, DAY) == (len(DAY) - len(half), 0, len(half))
    assert len(open_source(url).frame()) == len(DAY)


def test_load_duplicate_in_one_file_merges_its_values(url: str) -> None:
    first_row = make_order(order_id="A", order_ready_at=None, prep_time_seconds=None, city="London")
    last_row = make_order(order_id="A", order_value_gbp="22.00")
    loaded = load_rows(url, make_orders(first_row, make_order(order_id="B", city=None), last_row | {"city": None}))
    assert (loaded.rows, loaded.inserted, loaded.duplicates) == (3, 2, 1)
    stored = open_source(url).frame().filter(order_id="A").row(0, named=True)
    assert (stored["prep_time_seconds"], stored["order_value"], stored["city"]) == (600, 22.0, "London")


def test_load_corrected_time_moves_order_to_its_day(url: str) -> None:
    load_rows(url, make_orders(make_order(order_id="A"), make_order(order_id="B")))
    moved = make_order(order_id="A", order_acknowledged_at="2015-06-02 19:00:00+01:00", order_ready_at=None)
    assert _load_counts(url, make_orders(moved)) == (0, 1, 0)
    days = [part.frame()["order_id"].to_list() for part in open_source(url).partitions()]
    assert days == [["B"], ["A"]]
    assert _load_counts(url, make_orders(moved)) == (0, 0, 1)


def test_load_after_dropped_partition_inserts_again(url: str) -> None:
    """Partitions are dropped to keep fewer days. Orders of these days are new when they are delivered again."""
    rows = make_month(days=2)
    load_rows(url, rows)
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE preptime.orders_20150601")
    remaining = len(open_source(url).frame())
    assert _load_counts(url, rows) == (len(rows) - remaining, 0, remaining)


def test_load_new_column_exists_for_all_orders(url: str) -> None:
    load_rows(url, make_orders(make_order(order_id="A", note="first")))
    load_rows(url, make_orders(make_order(order_id="B", courier="bike"), make_order(order_id="A", courier="car")))
    frame = open_source(url).frame().sort("order_id")
    assert frame.select("order_id", "note", "courier").rows() == [("A", "first", "car"), ("B", None, "bike")]


def test_load_csv_and_parquet_are_equivalent(url: str) -> None:
    _load_counts(url, DAY, "parquet")
    assert _load_counts(url, DAY, "csv") == (0, 0, len(DAY))


def test_load_rejects_unstorable_rows_for_repair(url: str, tmp_path: Path) -> None:
    """A bad row doesn't prevent other rows from being stored, and no row is lost."""
    bad = [
        make_order(order_acknowledged_at="tomorrow"),
        make_order(order_acknowledged_at=None),
        make_order(order_ready_at="later"),
        make_order(order_value_gbp="a lot"),
        make_order(restaurant_id=None, order_value_gbp="12"),
    ]
    path, rejects = tmp_path / "orders.csv", tmp_path / "rejects.csv"
    pl.concat([make_month(days=2).cast(pl.String), make_orders(*bad)], how="diagonal").write_csv(path)
    loaded, refused = load_file(url, path, rejects)
    assert refused == len(bad)
    stored_count = loaded.rows
    written = pl.read_csv(rejects, infer_schema=False)
    assert written["reject_row"].to_list() == [str(stored_count + number) for number in range(1, 6)]
    assert written["reject_reasons"].to_list() == [
        "unparsable_time",
        "missing_value",
        "unparsable_time",
        "unparsable_number",
        "missing_value",
    ]
    repaired = written.with_columns(
        order_acknowledged_at=pl.Series([f"2015-06-01 20:0{minute}:00+01:00" for minute in range(5)]),
        order_ready_at=pl.lit(None, pl.String),
        order_value_gbp=pl.lit("20"),
        restaurant_id=pl.lit("10"),
    )
    repaired.write_csv(rejects)
    assert load_file(url, rejects, tmp_path / "again.csv")[0].inserted == len(bad)
    assert not (tmp_path / "again.csv").exists()
    assert open_source(url).columns == tuple(name.removesuffix("_gbp") for name in make_order())


def test_load_without_storable_rows_raises(url: str, tmp_path: Path) -> None:
    make_orders(make_order(order_acknowledged_at="tomorrow")).write_csv(tmp_path / "orders.csv")
    with pytest.raises(DataError, match="No row could be stored"):
        load_file(url, tmp_path / "orders.csv")
    assert len(pl.read_csv(tmp_path / "rejects.csv")) == 1, "the row must be available for repair"
    assert not list(tmp_path.glob(".*"))


def test_load_stores_invalid_values_for_the_audit(url: str) -> None:
    """Invalid values that a column can store are checked by the audit when they are read."""
    odd = [
        make_order(order_id="1", order_value_gbp="-3"),
        make_order(order_id="2", order_value_gbp="inf"),
        make_order(order_id="3", number_of_items=None),
        make_order(order_id="4", restaurant_id="999"),
        make_order(order_id="5", prep_time_seconds="-5", order_ready_at=None),
    ]
    load_rows(url, make_orders(*odd))
    stored = audit_orders(
        open_source(url).frame().sort("order_id"), make_restaurant_index(), need_label=True, schema=STORED_SCHEMA
    )
    assert (
        stored.reasons.tolist()
        == audit_orders(make_orders(*odd), make_restaurant_index(), need_label=True).reasons.tolist()
    )


def test_load_error_leaves_database_unchanged(url: str) -> None:
    load_rows(url, DAY)
    before = _stored_rows(url)
    more = prepare_chunk(make_month(days=3, seed=2), make_restaurant_index(), TAKE_HOME_SCHEMA).storable

    def breaking() -> Iterator[pl.DataFrame]:
        yield more
        raise OperationError("The disk is gone.")

    with pytest.raises(OperationError, match="The disk is gone"):
        open_database(url).load_orders(breaking(), DAY.columns)
    assert _stored_rows(url) == before
    assert len(open_source(url).partitions()) == 1


def test_load_lost_connection_leaves_database_unchanged(url: str) -> None:
    load_rows(url, DAY)
    before = _stored_rows(url)
    more = prepare_chunk(make_month(days=3, seed=2), make_restaurant_index(), TAKE_HOME_SCHEMA).storable

    def interrupted() -> Iterator[pl.DataFrame]:
        yield more
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        yield more

    with pytest.raises(OperationError) as caught:
        open_database(url).load_orders(interrupted(), DAY.columns)
    assert "was lost while it was written" in caught.value.facts
    assert caught.value.hint.startswith("No data was lost or partially written.")
    assert _stored_rows(url) == before
    assert load_rows(url, make_month(days=3, seed=2)).inserted == len(more)


def test_load_concurrently_inserts_each_order_once(url: str) -> None:
    rows = make_month(days=3, per_day=400)
    results: list[tuple[int, int, int]] = []
    threads = [threading.Thread(target=lambda: results.append(_load_counts(url, rows))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(0, 0, len(rows)), (0, 0, len(rows)), (len(rows), 0, 0)]
    assert len(open_source(url).frame()) == len(rows)


def test_load_waits_for_another_load_until_timeout(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LOCK_TIMEOUT", "200ms")
    stages: list[str] = []
    rows = prepare_chunk(DAY, make_restaurant_index(), TAKE_HOME_SCHEMA).storable
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [SCHEMA_LOCK_KEY])
        with pytest.raises(OperationError) as caught:
            open_database(url).load_orders([rows], DAY.columns, lambda stage, _: stages.append(stage))
    assert stages == ["Merging", "Waiting for another load"]
    assert "is being changed by another process" in caught.value.facts
    assert caught.value.hint == "Nothing was stored. Run the command again."
    assert load_rows(url, DAY).inserted == len(DAY)


def test_load_bad_row_of_many_is_rejected_by_number(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row can be in any chunk, and the other rows are loaded."""
    monkeypatch.setattr(ingest_module, "CHUNK_ROWS", 50)
    rows = make_month(days=3, per_day=100).cast(pl.String)
    bad_row = len(rows) * 2 // 3
    changed = (
        pl.when(pl.int_range(pl.len()) == bad_row).then(pl.lit("2015-13-01 12:00")).otherwise("order_acknowledged_at")
    )
    rows.with_columns(changed.alias("order_acknowledged_at")).write_csv(tmp_path / "orders.csv")
    loaded, refused = load_file(url, tmp_path / "orders.csv", tmp_path / "rejects.csv")
    assert (loaded.inserted, refused) == (len(rows) - 1, 1)
    written = pl.read_csv(tmp_path / "rejects.csv", infer_schema=False).row(0, named=True)
    assert written["reject_row"] == str(bad_row + 1)
    assert written["order_acknowledged_at"] == "2015-13-01 12:00"
    assert written["reject_expected"].startswith("order_acknowledged_at: a time between 2000 and 2099")


def test_load_during_read_keeps_the_reader_consistent(url: str) -> None:
    load_rows(url, DAY)
    reading = open_source(url).batches(10)
    first_rows = len(next(reading))
    load_rows(url, make_month(days=3, seed=2, start=datetime(2015, 7, 1)))
    assert first_rows + sum(len(chunk) for chunk in reading) == len(DAY)


@pytest.mark.parametrize(
    "cell", ["\\.", 'a "quoted", b', "line\nbreak", "\r", "", " ", "\\N", "é ☕ \U0001f355", "null"]
)
def test_load_any_text_round_trips(url: str, cell: str) -> None:
    load_rows(url, make_orders(make_order(note=cell, city=cell)).with_columns(order_id=pl.lit("A")), "parquet")
    stored = open_source(url).frame().row(0, named=True)
    assert (stored["note"], stored["city"]) == (cell, cell if cell.strip() else None)


def test_load_text_with_nul_is_rejected(url: str, tmp_path: Path) -> None:
    make_orders(make_order(note="a\0b"), make_order(note="valid", order_value_gbp="3")).write_parquet(
        tmp_path / "orders.parquet"
    )
    loaded, refused = load_file(url, tmp_path / "orders.parquet")
    assert (loaded.inserted, refused) == (1, 1)
    assert "note: text without a NUL character" in (tmp_path / "rejects.csv").read_text(encoding="utf-8")


COMPANY_SCHEMA = parse_schema("""
[orders]
order_acknowledged_at = { column = "created", format = "%d/%m/%Y %I:%M %p", time_zone = "UTC" }
prep_time = { column = "minutes", unit = "min" }
restaurant_id = "store"
order_value = { column = "subtotal", unit = "cents", currency = "USD" }
number_of_items = "items"
order_id = "id"
[restaurants]
restaurant_id = "store"
time_zone = "America/Los_Angeles"
""")


def test_load_with_schema_stores_text_ids_and_canonical_values(url: str, tmp_path: Path) -> None:
    """Reading the database with the canonical schema gives the same orders as reading the file."""
    orders = pl.DataFrame(
        {
            "created": ["01/06/2015 07:00 PM", "02/06/2015 06:59 AM", "13/06/2015 12:00 AM"],
            "minutes": ["8.2", "", "30"],
            "store": ["007", " 7.0", "3f2504e0-4f89"],
            "subtotal": ["2140", "999", "1"],
            "items": ["3", "1", "2"],
            "id": ["a", "b", "c"],
            "city": ["unmapped"] * 3,
        }
    )
    orders.write_csv(tmp_path / "orders.csv")
    restaurants = audit_restaurants(pl.DataFrame({"store": ["007", "7", "3f2504e0-4f89", ""]}), COMPANY_SCHEMA)
    source, database = open_source(tmp_path / "orders.csv", COMPANY_SCHEMA), open_database(url)
    with RejectsWriter(tmp_path / "rejects.csv") as rejects:
        assert ingest_module.ingest_orders(source, restaurants.index, database, rejects).inserted == 3
        assert ingest_module.ingest_orders(source, restaurants.index, database, rejects).unchanged == 3
    assert rejects.row_count == 0
    stored = open_source(url, COMPANY_SCHEMA)
    frame = stored.frame().sort("order_id")
    assert frame["restaurant_id"].to_list() == ["007", "7", "3f2504e0-4f89"]
    assert frame["order_value"].to_list() == [21.4, 9.99, 0.01]
    assert frame["prep_time_seconds"].to_list() == [492, None, 1800]
    assert frame["city_other"].to_list() == ["unmapped"] * 3
    expected = audit_orders(source.frame(), restaurants.index, need_label=True, schema=COMPANY_SCHEMA).frame
    audited = audit_orders(frame, restaurants.index, need_label=True, schema=stored.schema).frame
    assert audited.select(expected.columns).drop("_row", "_file").equals(expected.drop("_row", "_file"))
