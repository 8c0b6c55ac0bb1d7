from __future__ import annotations

import threading

import psycopg
import pytest

from preptime.errors import DataError
from preptime.sources.postgres.connection import PostgresAddress
from preptime.sources.postgres.migrate import list_migrations, migrate
from preptime.sources.registry import open_database, open_source
from tests.postgres import CLERKS_WORD


def test_migrations_are_numbered_without_gaps() -> None:
    assert [one.number for one in list_migrations()] == list(range(1, len(list_migrations()) + 1))


def test_applied_migrations_never_change() -> None:
    """A new file for every change: databases out there were made from these."""
    assert {one.name: one.digest[:12] for one in list_migrations()} == {
        "0001_orders.sql": "255628841fa8",
        "0002_predictions.sql": "1e93b9c4550c",
    }


def test_the_second_time_there_is_nothing_to_do(database: str) -> None:
    names = tuple(one.name for one in list_migrations())
    assert open_database(database).prepare() == names
    assert open_database(database).prepare() == ()


def test_the_schemas_owner_needs_no_right_on_the_database(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", CLERKS_WORD)
    with psycopg.connect(database) as connection:
        connection.execute("CREATE SCHEMA preptime AUTHORIZATION clerk")
    assert migrate(PostgresAddress.parse(database.replace("postgres@", "clerk@"))) == tuple(
        one.name for one in list_migrations()
    )
    with psycopg.connect(database) as connection:
        connection.execute("REASSIGN OWNED BY clerk TO postgres")


def test_three_at_once_apply_each_migration_once(database: str) -> None:
    applied: list[tuple[str, ...]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate(PostgresAddress.parse(database)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, applied)) == [0, 0, len(list_migrations())]


def test_a_database_that_lacks_a_migration_says_how_to_apply_it(database: str) -> None:
    migrate(PostgresAddress.parse(database))
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM preptime.migrations WHERE number = 2")
    with pytest.raises(DataError, match=r"lacks the migration 0002_predictions.sql. Apply them: preptime ingest --to "):
        open_source(database)


def test_a_database_of_a_newer_preptime_is_left_alone(database: str) -> None:
    migrate(PostgresAddress.parse(database))
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO preptime.migrations (number, name, sha256) VALUES (99, '0099_x.sql', '')")
    with pytest.raises(DataError, match="made by a newer preptime"):
        open_source(database)
    with pytest.raises(DataError, match="made by a newer preptime"):
        migrate(PostgresAddress.parse(database))


def test_a_database_made_from_another_file_is_left_alone(database: str) -> None:
    migrate(PostgresAddress.parse(database))
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE preptime.migrations SET sha256 = 'other' WHERE number = 1")
    with pytest.raises(DataError, match=r"made from another 0001_orders\.sql"):
        migrate(PostgresAddress.parse(database))
