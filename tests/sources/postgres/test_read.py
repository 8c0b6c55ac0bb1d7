"""Tests of reading orders from PostgreSQL: local time, consistent snapshots, and errors."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from preptime.errors import DataError, OperationError, PreptimeError, UsageError
from preptime.sources.postgres.connection import PostgresAddress
from preptime.sources.registry import open_source
from preptime.sources.source import batches_for_dates
from preptime.validation.audit import audit_orders
from tests.postgres import CLERK_CREDENTIAL, Postgres
from tests.sources.loading import STORED_SCHEMA, load_rows, prepare_database
from tests.validation.factories import make_month, make_order, make_orders, make_restaurant_index

# Timestamps on and around the days when clocks change. Restaurant 10 is in London, and 30 is in Paris.
TIMESTAMPS = [
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
    return prepare_database(database)


def test_frame_returns_timestamps_as_written(url: str) -> None:
    rows = make_orders(
        *(
            make_order(
                order_id=f"{number:02}-{restaurant_id}",
                order_acknowledged_at=timestamp,
                order_ready_at=None,
                restaurant_id=restaurant_id,
            )
            for number, timestamp in enumerate(TIMESTAMPS)
            for restaurant_id in ("10", "30", "999")
        )
    )
    load_rows(url, rows)
    back = open_source(url).frame().sort("order_id")
    assert back["order_acknowledged_at"].to_list() == rows["order_acknowledged_at"].to_list()
    time_columns = ["acknowledged_local", "acknowledged_utc"]
    expected = audit_orders(rows, make_restaurant_index(), need_label=False).frame.select(time_columns)
    assert (
        audit_orders(back, make_restaurant_index(), need_label=False, schema=STORED_SCHEMA)
        .frame.select(time_columns)
        .equals(expected)
    )
    with psycopg.connect(url) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        stored = connection.execute(
            "SELECT acknowledged_local, acknowledged_at AT TIME ZONE 'UTC', order_date "
            "FROM preptime.orders ORDER BY order_id"
        ).fetchall()
    assert [row[:2] for row in stored] == expected.rows()
    assert [row[2] for row in stored] == [local.date() for local, _ in expected.rows()]


def test_partitions_are_local_days_of_the_restaurant(url: str) -> None:
    """23:30 UTC on 1 June is 2 June in London. On the day with 25 hours, both 01:30 times belong to that day."""
    load_rows(
        url,
        make_orders(
            *(
                make_order(order_id=timestamp, order_acknowledged_at=timestamp, order_ready_at=None)
                for timestamp in TIMESTAMPS
            )
        ),
    )
    ids_by_day = {
        part.name.rpartition("=")[2]: part.frame()["order_id"].to_list() for part in open_source(url).partitions()
    }
    assert "2015-06-01 23:30:00Z" in ids_by_day["2015-06-02"]
    assert len(ids_by_day["2015-10-25"]) == 6
    assert list(ids_by_day) == sorted(ids_by_day)


def test_batches_for_dates_reads_only_these_days(url: str) -> None:
    load_rows(url, make_month(days=5))
    source = open_source(url)
    first, last = dt.date(2015, 6, 2), dt.date(2015, 6, 3)
    chunks = list(batches_for_dates(source, first, last, 25))
    assert all(len(chunk) <= 25 for chunk in chunks)
    local = audit_orders(pl.concat(chunks), make_restaurant_index(), need_label=False, schema=STORED_SCHEMA).frame[
        "acknowledged_local"
    ]
    assert local.dt.date().unique().sort().to_list() == [first, last]
    address = f"{url}&day=2015-06-02..2015-06-03"
    assert open_source(address).frame().equals(pl.concat(chunks))
    assert list(batches_for_dates(source, dt.date(2015, 7, 1), dt.date(2015, 7, 1), 10)) == []
    assert list(batches_for_dates(open_source(address), dt.date(2015, 6, 5), dt.date(2015, 6, 5), 10)) == []
    with pytest.raises(DataError, match="day=2015-07-01 has no rows"):
        open_source(f"{url}&day=2015-07-01").frame()


def test_query_of_a_day_reads_one_partition(url: str) -> None:
    load_rows(url, make_month(days=5))
    with psycopg.connect(url) as connection:
        plan = connection.execute(
            "EXPLAIN SELECT * FROM preptime.orders WHERE order_date = '2015-06-02' ORDER BY acknowledged_at, order_key"
        ).fetchall()
    text = "\n".join(str(line) for (line,) in plan)
    assert "orders_20150602" in text
    assert "orders_20150603" not in text


def test_batches_lost_connection_raises(url: str) -> None:
    load_rows(url, make_month(days=4, per_day=2000))
    reading = open_source(url).batches(100)
    next(reading)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(OperationError) as caught:
        list(reading)
    assert "was lost while it was read: " in caught.value.facts
    assert caught.value.hint.startswith("No data was lost or partially written.")
    assert len(open_source(url).frame()) > 7000


def test_batches_hold_one_chunk_while_server_waits(url: str) -> None:
    """Memory doesn't grow with the day, because the server sends only the requested rows."""
    load_rows(url, make_month(days=1, per_day=30_000))
    reading = open_source(url).batches(100)
    next(reading)
    wait_query = (
        "SELECT wait_event FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE 'COPY%'"
    )
    deadline = time.monotonic() + 10
    with psycopg.connect(url, autocommit=True) as connection:
        while (wait_events := connection.execute(wait_query).fetchall()) != [
            ("ClientWrite",)
        ] and time.monotonic() < deadline:
            time.sleep(0.05)
    assert wait_events == [("ClientWrite",)]
    assert sum(len(chunk) for chunk in reading) > 29_000


def test_batches_abandoned_reader_closes_connection(url: str) -> None:
    load_rows(url, make_month(days=2, per_day=2000))
    reading = open_source(url).batches(10)
    next(reading)
    del reading
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    deadline = time.monotonic() + 10  # the server notices a closed connection with a delay
    with psycopg.connect(url, autocommit=True) as connection:
        while (count := connection.execute(others).fetchone()) != (0,) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert count == (0,)


def _open_error(kind: type[PreptimeError], url: str) -> str:
    with pytest.raises(kind) as caught:
        open_source(url)
    return str(caught.value)


def test_open_source_without_schema_raises_with_command(database: str) -> None:
    message = _open_error(DataError, database)
    assert "has no tables of preptime. To create them, run: preptime ingest ORDERS --restaurants RESTAURANTS" in message


def test_open_source_unknown_database_raises(postgres: Postgres) -> None:
    assert _open_error(UsageError, postgres.url("nowhere")).startswith(
        "There is no database 'nowhere' at postgresql://"
    )


def test_open_source_unknown_user_raises(postgres: Postgres) -> None:
    message = _open_error(UsageError, postgres.url("postgres", user="no_such_user"))
    assert 'role "no_such_user" does not exist' in message


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1"])
def test_open_source_unreachable_server_raises(host: str) -> None:
    message = _open_error(OperationError, f"postgresql://me:s3cret@{host}/food")
    assert f"postgresql://me@{host}/food can't be reached: " in message
    assert "Start the server or check the address" in message
    assert "s3cret" not in message


def test_open_source_invalid_parameter_raises() -> None:
    message = _open_error(UsageError, "postgresql://me@db/food?no_such_setting=1")
    assert "postgresql://me@db/food?*** isn't a valid address: unknown parameter no_such_setting." in message


@pytest.mark.parametrize("character", "/?@#% ")
def test_open_source_unescaped_password_raises_before_connecting(character: str) -> None:
    """Otherwise, libpq takes a part of the password for the host, and its message shows that part."""
    message = _open_error(UsageError, f"postgresql://me:s3{character}cret@127.0.0.1:1/food")
    assert "isn't percent-encoded. Write @ as %40, / as %2F, ? as %3F, # as %23, % as %25" in message
    assert "cret" not in message


def test_open_source_plus_sign_in_parameter_is_not_a_space() -> None:
    address = PostgresAddress.parse("postgresql://db/food?application_name=a+b%20c")
    assert conninfo_to_dict(address.conninfo)["application_name"] == "a+b c"


def test_open_source_scheme_is_case_insensitive() -> None:
    assert "postgresql://me@127.0.0.1:1/food can't be reached" in _open_error(
        OperationError, "PostgreSQL://me@127.0.0.1:1/food"
    )


def test_address_representation_has_no_password() -> None:
    assert "s3cret" not in repr(PostgresAddress.parse("postgresql://me:s3cret@db/food"))


class TestPasswords:
    """Passwords as in libpq: in the address, in PGPASSWORD, or in a file."""

    @pytest.fixture
    def name(self, url: str) -> str:
        """The address for the role that needs a password, without the password."""
        load_rows(url, make_month(days=1))
        with psycopg.connect(url) as connection:
            for statement in (
                "GRANT USAGE ON SCHEMA preptime TO clerk",
                "GRANT SELECT ON ALL TABLES IN SCHEMA preptime TO clerk",
            ):
                connection.execute(statement.encode())
        return url.replace("postgres@", "clerk@")

    def test_password_in_address_works_and_is_hidden(self, name: str, url: str) -> None:
        source = open_source(name.replace("clerk@", "clerk:its%20own%2C%20p%40ss%3Aword%2F%3F@"))
        assert len(source.frame()) == len(open_source(url).frame())
        assert "word" not in source.name
        assert "word" not in str(source.frame()["_file"][0])

    def test_password_in_environment_works(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", CLERK_CREDENTIAL)
        assert len(open_source(name).frame())

    def test_password_in_file_works(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / ".pgpass"
        escaped = CLERK_CREDENTIAL.replace(":", "\\:")
        file.write_text(f"*:*:*:clerk:{escaped}\n", encoding="utf-8")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
        assert len(open_source(name).frame())

    def test_password_in_service_works(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with psycopg.connect(name.replace("clerk@", "postgres@")) as connection:
            host, database = connection.info.host, connection.info.dbname
        file = tmp_path / "services.conf"
        lines = ("[food]", f"host={host}", f"dbname={database}", "user=clerk", f"password={CLERK_CREDENTIAL}")
        file.write_text("\n".join(lines), encoding="utf-8")
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        source = open_source("postgresql://?service=food")
        assert source.name == "postgresql://?service=food"
        assert len(source.frame())

    def test_password_missing_or_wrong_raises(self, name: str) -> None:
        for url in (name, name.replace("clerk@", "clerk:wrong@")):
            message = _open_error(UsageError, url)
            assert "rejected the password" in message
            assert "Set the password in ~/.pgpass, in PGPASSWORD, or in the address." in message
            assert "wrong" not in message

    def test_user_without_permission_raises(self, name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", CLERK_CREDENTIAL)
        with psycopg.connect(url) as connection:
            connection.execute("REVOKE SELECT ON preptime.orders FROM clerk")
            connection.execute(
                sql.SQL("REVOKE ALL ON preptime.{} FROM clerk").format(sql.Identifier("orders_20150601"))
            )
        with pytest.raises(UsageError, match="permission denied for table orders"):
            open_source(name).frame()
