from __future__ import annotations

import datetime as dt
import shlex
import subprocess
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from preptime.errors import OperationError, UsageError
from preptime.sources.database import DateRange
from preptime.sources.postgres.connection import PostgresAddress, open_transaction
from preptime.sources.registry import open_source
from tests.postgres import Postgres


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me@db.example:5433/food", "postgresql://me@db.example:5433/food"),
        ("postgresql://me:s3cret@db/food", "postgresql://me@db/food"),
        ("postgresql://me:s3cret%40x@db/food?sslmode=require", "postgresql://me@db/food?sslmode=require"),
        ("postgresql:///food?password=s3cret&user=me", "postgresql:///food?user=me"),
        ("postgresql:///food?host=/run/postgresql&table=orders", "postgresql:///food?host=/run/postgresql"),
        ("postgresql://db/food?table=restaurants", "postgresql://db/food?table=restaurants"),
        ("postgresql://db/food?day=2015-06-24", "postgresql://db/food?day=2015-06-24"),
        ("postgresql://db/food?day=2015-06-01..2015-06-07", "postgresql://db/food?day=2015-06-01..2015-06-07"),
        ("postgres://me:s3cret@one,two:5433/food", "postgresql://me@one,two:5433/food"),
        ("postgresql://", "postgresql://"),
    ],
)
def test_address_name_is_equivalent_and_has_no_secret(url: str, name: str) -> None:
    address = PostgresAddress.parse(url)
    assert address.name == name
    reparsed = PostgresAddress.parse(address.name)
    assert (reparsed.name, reparsed.table, reparsed.days) == (address.name, address.table, address.days)
    assert "s3cret" not in address.name + address.database_url + address.table_url("restaurants")


def test_address_removes_own_parameters_for_libpq() -> None:
    address = PostgresAddress.parse("postgresql://db/food?table=orders&day=2015-06-24&sslmode=require")
    assert address.conninfo == "postgresql://db/food?sslmode=require"
    assert address.days == DateRange(dt.date(2015, 6, 24), dt.date(2015, 6, 24))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("table=order", "There is no table=order. The tables are orders, restaurants, predictions."),
        ("day=today", "day=today isn't a date or a range of dates. Use day=2015-06-24 or day=2015-06-01..2015-06-07."),
        ("day=2015-06-24..", "day=2015-06-24.. isn't a date or a range of dates."),
    ],
)
def test_address_invalid_table_or_day_raises(query: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        PostgresAddress.parse(f"postgresql://db/food?{query}")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("write", [False, True])
def test_settings_of_server_and_environment_have_no_effect(
    database: str, write: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_for_database(database, "timezone = 'America/New_York'", "datestyle = 'SQL, DMY'", "extra_float_digits = 0")
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    monkeypatch.setenv("PGDATESTYLE", "German")
    with open_transaction(PostgresAddress.parse(database), write=write) as connection:
        texts = connection.execute(
            "SELECT '2015-06-01 12:00'::timestamptz::text, '2015-06-24'::date::text, (0.1::float8 + 0.2::float8)::text"
        ).fetchone()
    assert texts == ("2015-06-01 12:00:00+00", "2015-06-24", "0.30000000000000004")


def set_for_database(url: str, *settings: str) -> None:
    """Set the default of settings for new connections to a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in settings:
            connection.execute(f"ALTER DATABASE {connection.info.dbname} SET {setting}".encode())


def execute_and_return_error(url: str, statements: str, *, write: bool) -> OperationError:
    """Return the error for statements that the server refuses."""
    with (
        pytest.raises(OperationError) as caught,
        open_transaction(PostgresAddress.parse(url), write=write) as connection,
    ):
        connection.execute(statements.encode())
    return caught.value


@pytest.mark.parametrize(("write", "action"), [(False, "read"), (True, "written")])
def test_refusal_of_a_running_server_has_its_remedy(database: str, write: bool, action: str) -> None:
    error = execute_and_return_error(database, "SET LOCAL statement_timeout = 10; SELECT pg_sleep(10)", write=write)
    assert error.facts.endswith(f" couldn't be {action}: canceling statement due to statement timeout.")
    remedy = "If the message names a timeout, increase that setting for the user."
    assert error.hint == f"Nothing was stored. {remedy} Then run the command again."
    remedy = "You might need to increase max_locks_per_transaction."
    statement = f"DO $$ BEGIN RAISE 'out of shared memory' USING ERRCODE = '53200', HINT = '{remedy}'; END $$"
    error = execute_and_return_error(database, statement, write=write)
    assert error.facts.endswith(f" couldn't be {action}: out of shared memory.")
    assert error.hint == f"Nothing was stored. {remedy} Then run the command again."


def test_limit_of_a_running_server_is_no_lost_connection(database: str) -> None:
    statements = (
        "CREATE TEMP TABLE long (key text PRIMARY KEY); "
        "INSERT INTO long SELECT string_agg(md5(n::text), '') FROM generate_series(1, 250) n"
    )
    error = execute_and_return_error(database, statements, write=True)
    assert " couldn't be written: index row size " in error.facts
    assert error.hint.startswith("Nothing was stored. Values larger than 1/3 of a buffer page cannot be indexed. ")


@pytest.mark.parametrize("name", ["new", "two words", "it's"])
def test_missing_database_hint_creates_it_on_its_server(postgres: Postgres, name: str) -> None:
    url = postgres.url(quote(name))
    with pytest.raises(UsageError) as caught:
        open_source(url)
    program, *arguments = shlex.split(caught.value.hint.removeprefix("To create it, run: "))
    with psycopg.connect(postgres.url("postgres")) as connection:
        (folder,) = connection.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone() or ("",)
    subprocess.run([Path(folder) / program, *arguments], check=True)
    with psycopg.connect(url) as connection:
        assert connection.info.dbname == name
