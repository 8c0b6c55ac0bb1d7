"""Reading orders back: the restaurant's clock, one moment's database, and everything that can be wrong on the way."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg import sql

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.sources.registry import open_source
from preptime.sources.source import batches_for_dates
from preptime.validation.audit import audit_orders
from tests.postgres import CLERKS_WORD, Postgres
from tests.sources.loading import load, prepared
from tests.validation.factories import directory, month, order, orders

# What a cell may say on and around the days when clocks change. Restaurant 10 is in London, 30 in Paris.
MOMENTS = [
    "2015-10-25 01:30:00+01:00",
    "2015-10-25 01:30:00+00:00",
    "2015-10-25 01:30:00",
    "2015-10-25T00:30:00Z",
    "2015-10-25T01:30:00Z",
    "2015-10-25 00:30:00.123456+01:00",
    "2015-03-29 02:30:00",
    "2015-03-29 01:30:00",
    "2015-03-29 02:30:00+01:00",
    "2015-06-01 12:28:28.952789+01:00",
    "2015-06-01 23:30:00Z",
    "2015-06-02 00:30:00+05:30",
    "1433181600250",
    " 2015-12-31 23:59:59.999999 ",
]


@pytest.fixture
def url(database: str) -> str:
    return prepared(database)


def test_an_order_reads_back_as_it_was_written_clock_and_offset_included(url: str) -> None:
    rows = orders(
        *(
            order(
                order_id=f"{number:02}-{place}", order_acknowledged_at=moment, order_ready_at=None, restaurant_id=place
            )
            for number, moment in enumerate(MOMENTS)
            for place in ("10", "30", "999")
        )
    )
    load(url, rows)
    back = open_source(url).frame().sort("order_id")
    assert back["order_acknowledged_at"].to_list() == rows["order_acknowledged_at"].to_list()
    moments = ["acknowledged_local", "acknowledged_utc"]
    expected = audit_orders(rows, directory(), need_label=False).frame.select(moments)
    assert audit_orders(back, directory(), need_label=False).frame.select(moments).equals(expected)
    with psycopg.connect(url) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        stored = connection.execute(
            "SELECT acknowledged_local, acknowledged_at AT TIME ZONE 'UTC', order_date "
            "FROM preptime.orders ORDER BY order_id"
        ).fetchall()
    assert [row[:2] for row in stored] == expected.rows()
    assert [row[2] for row in stored] == [local.date() for local, _ in expected.rows()]


def test_a_day_is_the_restaurants_day(url: str) -> None:
    """23:30 UTC on 1 June is the 2nd in London; both half past ones of the long day are of that day."""
    load(
        url, orders(*(order(order_id=moment, order_acknowledged_at=moment, order_ready_at=None) for moment in MOMENTS))
    )
    parts = {part.name.rpartition("=")[2]: part.frame()["order_id"].to_list() for part in open_source(url).partitions()}
    assert "2015-06-01 23:30:00Z" in parts["2015-06-02"]
    assert len(parts["2015-10-25"]) == 6
    assert list(parts) == sorted(parts)


def test_only_the_days_asked_for_are_read(url: str) -> None:
    load(url, month(days=5))
    table = open_source(url)
    first, last = dt.date(2015, 6, 2), dt.date(2015, 6, 3)
    chunks = list(batches_for_dates(table, first, last, 25))
    assert all(len(chunk) <= 25 for chunk in chunks)
    local = audit_orders(pl.concat(chunks), directory(), need_label=False).frame["acknowledged_local"]
    assert local.dt.date().unique().sort().to_list() == [first, last]
    address = f"{url}&day=2015-06-02..2015-06-03"
    assert open_source(address).frame().equals(pl.concat(chunks))
    assert list(batches_for_dates(table, dt.date(2015, 7, 1), dt.date(2015, 7, 1), 10)) == []
    assert list(batches_for_dates(open_source(address), dt.date(2015, 6, 5), dt.date(2015, 6, 5), 10)) == []
    with pytest.raises(DataError, match="day=2015-07-01 has no rows"):
        open_source(f"{url}&day=2015-07-01").frame()


def test_one_days_reading_touches_one_partition(url: str) -> None:
    load(url, month(days=5))
    with psycopg.connect(url) as connection:
        plan = connection.execute(
            "EXPLAIN SELECT * FROM preptime.orders WHERE order_date = '2015-06-02' ORDER BY acknowledged_at, order_key"
        ).fetchall()
    text = "\n".join(str(line) for (line,) in plan)
    assert "orders_20150602" in text
    assert "orders_20150603" not in text


def test_a_server_that_goes_while_it_is_read_is_said(url: str) -> None:
    load(url, month(days=4, per_day=2000))
    reading = open_source(url).batches(100)
    next(reading)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(OperationError) as lost:
        list(reading)
    assert "was lost while it was read: " in lost.value.facts
    assert lost.value.hint == "Nothing was lost and nothing half-written; run again when the server answers."
    assert len(open_source(url).frame()) > 7000


def test_a_read_holds_one_chunk_while_the_server_waits(url: str) -> None:
    """Memory does not grow with the day: what has not been asked for has not been sent."""
    load(url, month(days=1, per_day=30_000))
    reading = open_source(url).batches(100)
    next(reading)
    waiting = (
        "SELECT wait_event FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE 'COPY%'"
    )
    deadline = time.monotonic() + 10
    with psycopg.connect(url, autocommit=True) as connection:
        while (found := connection.execute(waiting).fetchall()) != [("ClientWrite",)] and time.monotonic() < deadline:
            time.sleep(0.05)
    assert found == [("ClientWrite",)]
    assert sum(len(chunk) for chunk in reading) > 29_000


def test_a_reader_that_stops_early_leaves_no_connection(url: str) -> None:
    load(url, month(days=2, per_day=2000))
    reading = open_source(url).batches(10)
    next(reading)
    del reading
    with psycopg.connect(url) as connection:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        assert connection.execute(others).fetchone() == (0,)


def _refused(kind: type[PreptimeError], url: str) -> str:
    with pytest.raises(kind) as refused:
        open_source(url)
    return str(refused.value)


def test_a_database_that_is_not_ours_yet_says_which_command_makes_it(database: str) -> None:
    said = _refused(DataError, database)
    assert "has no tables of preptime. Make and fill them: preptime ingest ORDERS --restaurants RESTAURANTS" in said


def test_a_database_that_is_not_there(postgres: Postgres) -> None:
    assert _refused(UsageError, postgres.url("nowhere")).startswith("There is no database 'nowhere' at postgresql://")


def test_a_user_who_is_not_there(postgres: Postgres) -> None:
    said = _refused(UsageError, postgres.url("postgres", user="nobody"))
    assert 'role "nobody" does not exist' in said


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1"])
def test_a_server_that_does_not_answer(host: str) -> None:
    said = _refused(OperationError, f"postgresql://me:s3cret@{host}/food")
    assert f"postgresql://me@{host}/food cannot be reached: " in said
    assert "run again when the server answers" in said
    assert "s3cret" not in said


def test_an_address_that_is_none() -> None:
    assert "is no address" in _refused(UsageError, "postgresql://me@db/food?no_such_setting=1")


class TestPasswords:
    """As libpq does: in the address, in PGPASSWORD, in a file."""

    @pytest.fixture
    def name(self, url: str) -> str:
        """The address for the role that needs a password, without it."""
        load(url, month(days=1))
        with psycopg.connect(url) as connection:
            for statement in (
                "GRANT USAGE ON SCHEMA preptime TO clerk",
                "GRANT SELECT ON ALL TABLES IN SCHEMA preptime TO clerk",
            ):
                connection.execute(statement.encode())
        return url.replace("postgres@", "clerk@")

    def test_in_the_address(self, name: str, url: str) -> None:
        table = open_source(name.replace("clerk@", "clerk:its%20own%2C%20p%40ss%3Aword%2F%3F@"))
        assert len(table.frame()) == len(open_source(url).frame())
        assert "word" not in table.name
        assert "word" not in str(table.frame()["_file"][0])

    def test_in_the_environment(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", CLERKS_WORD)
        assert len(open_source(name).frame())

    def test_in_a_file(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / ".pgpass"
        escaped = CLERKS_WORD.replace(":", "\\:")
        file.write_text(f"*:*:*:clerk:{escaped}\n", encoding="utf-8")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
        assert len(open_source(name).frame())

    def test_none_and_a_wrong_one(self, name: str) -> None:
        for url in (name, name.replace("clerk@", "clerk:wrong@")):
            said = _refused(UsageError, url)
            assert "refused the password" in said
            assert "Give it in the address, in PGPASSWORD or in ~/.pgpass." in said
            assert "wrong" not in said

    def test_a_user_who_may_not_read(self, name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", CLERKS_WORD)
        with psycopg.connect(url) as connection:
            connection.execute("REVOKE SELECT ON preptime.orders FROM clerk")
            connection.execute(
                sql.SQL("REVOKE ALL ON preptime.{} FROM clerk").format(sql.Identifier("orders_20150601"))
            )
        with pytest.raises(UsageError, match="permission denied for table orders"):
            open_source(name).frame()
